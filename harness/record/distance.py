"""How far apart the predictions of two runs are: what bits that differ mean in numbers."""

import sys
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

import msgspec

from harness.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np


class Distance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two arrays of predictions. Differences are absolute, in the predictions' own unit.

    `relative` is the root mean square of the differences over the standard deviation of `before` (null where that is
    constant), `correlation` is Pearson's (null where either side is constant).
    """

    predictions: int
    differing: int
    largest: float
    root_mean_square: float
    relative: float | None
    correlation: float | None


def distance(before: Path, after: Path) -> Distance | None:
    """The distance between two `.npy` files of predictions; null where rows do not pair up.

    Raises:
        IntegrityError: a file is no array of finite numbers.
    """
    import numpy as np  # a tenth of a second, which commands that compare no predictions need not wait

    old, new = _load(before), _load(after)
    if old.shape != new.shape:
        return None
    old, new = old.ravel(), new.ravel()
    differences = np.abs(new - old)
    square = np.sqrt(np.mean(differences**2)) if old.size else np.longdouble(0)
    # A constant's standard deviation need not come out as 0: its mean is rounded.
    constant, flat = (bool((side == side[:1]).all()) for side in (old, new))
    return Distance(
        predictions=int(old.size),
        differing=int(np.count_nonzero(differences)),
        largest=_finite(differences.max(initial=0)),
        root_mean_square=_finite(square),
        relative=None if constant else _finite(square / np.std(old)),
        correlation=None if constant or flat else float(np.corrcoef(old, new)[0, 1]),
    )


def _load(path: Path) -> "np.typing.NDArray[np.longdouble]":
    """The numbers in the order of rows; with the exponents of an extended float, so that no square overflows."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, MemoryError) as error:
        raise IntegrityError(f"{path} is no array of predictions: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise IntegrityError(f"{path} is no array of finite numbers")
    return array.astype(np.longdouble)


def _finite(number: "np.longdouble") -> float:
    """A float for JSON, which has no infinity: the largest there is, where it is larger than that."""
    return min(float(number), sys.float_info.max)
