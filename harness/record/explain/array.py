"""Two NumPy arrays as `.npy` holds them: the first element that differs. An array of objects is never read."""

from collections.abc import Iterator
from io import BytesIO
from math import prod
from tokenize import TokenError
from typing import TYPE_CHECKING

from harness.record.explain.cause import Finding, Kind, Pair, shown
from harness.record.explain.tokens import number_finding, relative

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"\x93NUMPY"
_MOST_SORTED = 2_000_000


def compare_arrays(before: bytes, after: bytes, facts: Pair, *, label: str = "") -> Iterator[Finding] | None:
    """The difference between two arrays, `label` being the name of what they hold; nothing where either is none."""
    old, new = _read(before), _read(after)
    return None if old is None or new is None else _arrays(old, new, facts, label)


def _read(data: bytes) -> "np.typing.NDArray[np.generic] | None":
    import numpy as np
    from numpy.lib import format as form

    stream = BytesIO(data)
    try:
        read = form.read_array_header_1_0 if form.read_magic(stream) == (1, 0) else form.read_array_header_2_0
        shape, fortran, kind = read(stream)
        if kind.hasobject or kind.itemsize == 0 or any(length < 0 for length in shape):
            return None
        count = prod(shape)
        if count * kind.itemsize > len(data) - stream.tell():
            return None
        array = np.frombuffer(data, kind, count, stream.tell())
        return array.reshape(shape, order="F" if fortran else "C")
    except (ValueError, TypeError, SyntaxError, TokenError, EOFError, OverflowError, MemoryError, RecursionError):
        return None


def _arrays(
    old: "np.typing.NDArray[np.generic]", new: "np.typing.NDArray[np.generic]", facts: Pair, label: str
) -> Iterator[Finding]:
    import numpy as np

    for what, is_, was in (("shape", new.shape, old.shape), ("type", new.dtype, old.dtype)):
        if is_ != was:
            yield Finding(f"the {what}", Kind.TEXT, shown(str(was)), shown(str(is_)))
            return
    size = old.dtype.itemsize
    one, other = (np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, size) for array in (old, new))
    differs = np.flatnonzero((one != other).any(axis=1))
    if not len(differs):
        yield Finding("the header", Kind.BYTES, detail="the same elements, written in another way")
        return
    where = _index(int(differs[0]), old.shape)
    first = old.reshape(-1)[differs[0]], new.reshape(-1)[differs[0]]
    texts = shown(str(first[0])), shown(str(first[1]))
    count = f"{len(differs):,} of {old.size:,} elements differ"
    if old.size <= _MOST_SORTED and _same_rows(old, new):
        what = "elements" if old.ndim == 1 else "rows"
        yield Finding(where, Kind.ORDER, *texts, f"the same {what}")
    elif old.dtype.kind in "fiu" and len(differs) == 1:
        yield number_finding(float(first[0]), float(first[1]), where, facts, label=label)
    elif old.dtype.kind in "fiu":
        apart = relative(float(first[0]), float(first[1]))
        yield Finding(where, Kind.NUMBER, *texts, ", ".join(part for part in (apart, count) if part))
    else:
        yield Finding(where, Kind.TEXT, *texts, count)


def _index(flat: int, shape: tuple[int, ...]) -> str:
    import numpy as np

    return "the value" if not shape else f"element [{', '.join(str(index) for index in np.unravel_index(flat, shape))}]"


def _same_rows(old: "np.typing.NDArray[np.generic]", new: "np.typing.NDArray[np.generic]") -> bool:
    """Whether both hold the same rows (elements, of one dimension), each as often."""
    import numpy as np

    if not old.ndim or not old.size:
        return False
    width = old.nbytes // old.shape[0]
    rows = [np.ascontiguousarray(array).reshape(-1).view(f"V{width}") for array in (old, new)]
    one, other = (sorted(array.tolist()) for array in rows)
    return bool(one == other)
