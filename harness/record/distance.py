"""How far apart the predictions of two runs are: what bits that differ mean in numbers."""

from pathlib import Path

import msgspec
import numpy as np

from harness.errors import IntegrityError


class Distance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two arrays of predictions. Differences are absolute, in the predictions' own unit.

    `relative` is the root mean square of the differences over the standard deviation of `before` (null where that is
    0), `correlation` is Pearson's (null where either side is constant).
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
    old, new = _load(before), _load(after)
    if old.shape != new.shape:
        return None
    differences = np.abs(new - old)
    spread, other = float(np.std(old)) if old.size else 0.0, float(np.std(new)) if new.size else 0.0
    square = float(np.sqrt(np.mean(differences**2))) if old.size else 0.0
    return Distance(
        predictions=int(old.size),
        differing=int(np.count_nonzero(differences)),
        largest=float(differences.max(initial=0.0)),
        root_mean_square=square,
        relative=square / spread if spread else None,
        correlation=float(np.corrcoef(old.ravel(), new.ravel())[0, 1]) if spread and other else None,
    )


def _load(path: Path) -> "np.typing.NDArray[np.float64]":
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IntegrityError(f"{path} is no array of predictions: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise IntegrityError(f"{path} is no array of finite numbers")
    return array.astype(np.float64)
