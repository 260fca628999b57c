"""Values of a table as cells of 33 bytes, a row of them a value: a letter for its kind, then it or the sha256 of it.

Equal values have equal cells, in whatever type Arrow stores them.
"""

import hashlib
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.errors import UsageError

WIDTH = 33
"""How many bytes a cell has."""

_NAN = np.frombuffer(np.float64(np.nan).tobytes(), np.uint64)[0]
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY = 86_400

Cells = NDArray[np.uint8]


def cells_of(array: pa.Array, name: str) -> Cells:
    """Each value of the column `name` as 33 bytes (values by 33); a null is all zeros.

    Raises:
        UsageError: it is of a type that has no canonical form.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    elif hasattr(pa.types, "is_run_end_encoded") and pa.types.is_run_end_encoded(kind):
        array = pc.run_end_decode(array)
        kind = array.type
    encode = next((encode for is_kind, encode in _ENCODERS if is_kind(kind)), None)
    if encode is None:
        raise UsageError(
            f"The column {name!a} holds {kind}, which has no canonical form", hint="Cast it, or leave it out."
        )
    cells = encode(array, name)
    cells[_mask(array)] = 0
    return cells


def _mask(array: pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = pc.is_null(array).to_numpy(zero_copy_only=False)
    return mask


def _words(kind: bytes, values: NDArray[Any]) -> Cells:
    """Cells of one kind that hold numbers of 8 bytes."""
    cells = np.zeros((len(values), WIDTH), dtype=np.uint8)
    cells[:, 0] = kind[0]
    cells[:, 1:9] = np.ascontiguousarray(values).astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, 8)
    return cells


def _hashed(kind: bytes, contents: Iterable[bytes | memoryview], count: int) -> Cells:
    """Cells of one kind that hold the sha256 of contents of any length."""
    cells = np.zeros((count, WIDTH), dtype=np.uint8)
    cells[:, 0] = kind[0]
    digests = b"".join([hashlib.sha256(content).digest() for content in contents])
    cells[:, 1:] = np.frombuffer(digests, np.uint8).reshape(-1, 32)
    return cells


def _plain(array: pa.Array, kind: pa.DataType, fill: Any) -> NDArray[Any]:
    """The storage of an array as NumPy has it, with `fill` for nulls, which are masked later."""
    values: NDArray[Any] = pc.fill_null(array.cast(kind), fill).to_numpy(zero_copy_only=False)
    return values


def _nulls(array: pa.Array, _: str) -> Cells:
    return np.zeros((len(array), WIDTH), dtype=np.uint8)


def _booleans(array: pa.Array, _: str) -> Cells:
    return _words(b"b", _plain(array, pa.int64(), 0))


def _integers(array: pa.Array, _: str) -> Cells:
    if pa.types.is_uint64(array.type):
        values = _plain(array, pa.uint64(), 0)
        cells = _words(b"i", values)
        cells[values >= 1 << 63, 0] = b"u"[0]
        return cells
    return _words(b"i", _plain(array, pa.int64(), 0))


def _floats(array: pa.Array, _: str) -> Cells:
    return _cells_of_floats(_plain(array, pa.float64(), 0.0))


def _cells_of_floats(values: NDArray[np.float64]) -> Cells:
    """A whole number that fits into 64 bits has the cell of that integer, any other its float64's bits."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    cells = _words(b"f", np.where(np.isnan(values), _NAN, bits))
    with np.errstate(invalid="ignore"):
        whole = (np.floor(values) == values) & (np.abs(values) < 2.0**64) & (bits != np.uint64(1 << 63))
    small = whole & (values >= -(2.0**63)) & (values < 2.0**63)
    large = whole & (values >= 2.0**63)
    cells[small] = _words(b"i", values[small].astype(np.int64))
    cells[large] = _words(b"u", values[large].astype(np.uint64))
    return cells


def _decimals(array: pa.Array, _: str) -> Cells:
    cells = np.zeros((len(array), WIDTH), dtype=np.uint8)
    for place, value in enumerate(array.to_pylist()):
        if value is not None:
            cells[place] = _cell_of_decimal(value)[0]
    return cells


def _cell_of_decimal(value: Decimal) -> Cells:
    """One cell: that of the integer or float64 which is exactly this number, else the sha256 of its lowest terms."""
    numerator, denominator = value.as_integer_ratio()
    if denominator == 1 and -(1 << 63) <= numerator < 1 << 64:
        kind = np.int64 if numerator < 1 << 63 else np.uint64
        return _words(b"i" if kind is np.int64 else b"u", np.array([numerator], dtype=kind))
    if Decimal(float(value)) == value:
        return _cells_of_floats(np.array([float(value)]))
    return _hashed(b"d", [f"{numerator}/{denominator}".encode()], 1)


def _dates(array: pa.Array, _: str) -> Cells:
    days = _plain(array.cast(pa.date32()), pa.int32(), 0)
    return _times_of(b"n", days.astype(np.int64), _DAY * 10**9)


def _timestamps(array: pa.Array, _: str) -> Cells:
    return _times_of(b"n" if array.type.tz is None else b"z", _plain(array, pa.int64(), 0), _UNITS[array.type.unit])


def _times(array: pa.Array, _: str) -> Cells:
    storage = pa.int32() if pa.types.is_time32(array.type) else pa.int64()
    return _times_of(b"c", _plain(array, storage, 0).astype(np.int64), _UNITS[array.type.unit])


def _durations(array: pa.Array, _: str) -> Cells:
    return _times_of(b"e", _plain(array, pa.int64(), 0), _UNITS[array.type.unit])


def _times_of(kind: bytes, counts: NDArray[np.int64], unit: int) -> Cells:
    """Seconds since the epoch and nanoseconds within them: nanoseconds alone would not reach far enough."""
    per_second = max(10**9 // unit, 1)
    seconds, rest = (
        (counts // per_second, counts % per_second * unit) if unit <= 10**9 else (counts * (unit // 10**9), 0)
    )
    cells = _words(kind, seconds)
    cells[:, 9:17] = _words(kind, np.broadcast_to(np.asarray(rest, dtype=np.int64), counts.shape))[:, 1:9]
    return cells


def _texts(array: pa.Array, _: str) -> Cells:
    return _contents(b"s", array, pa.large_binary())


def _binaries(array: pa.Array, _: str) -> Cells:
    return _contents(b"y", array, pa.large_binary())


def _contents(kind: bytes, array: pa.Array, storage: pa.DataType) -> Cells:
    encoded = array.cast(storage).dictionary_encode()
    values = _hashed(kind, encoded.dictionary.to_pylist(), len(encoded.dictionary))
    if not len(values):
        return np.zeros((len(array), WIDTH), dtype=np.uint8)
    cells: Cells = values[_plain(encoded.indices, pa.int64(), 0)]
    return cells


def _lists(array: pa.Array, name: str) -> Cells:
    lengths = _plain(pc.list_value_length(array), pa.int64(), 0)
    items = cells_of(pc.list_flatten(array), f"{name}[]")
    ends = np.cumsum(lengths)
    parts = (items[end - length : end].tobytes() for end, length in zip(ends, lengths, strict=True))
    return _hashed(b"l", parts, len(array))


def _structs(array: pa.Array, name: str) -> Cells:
    fields = [array.type.field(number).name for number in range(array.type.num_fields)]
    if len(set(fields)) < len(fields):
        raise UsageError(f"The column {name!a} has a field twice", hint="Rename one of the two.")
    parts = dict(zip(fields, array.flatten(), strict=True))
    head = b"".join(len(field.encode()).to_bytes(8, "big") + field.encode() for field in sorted(parts))
    columns = [cells_of(parts[field], f"{name}.{field}") for field in sorted(parts)]
    rows = np.concatenate(columns, axis=1) if columns else np.zeros((len(array), 0), dtype=np.uint8)
    return _hashed(b"r", (head + row.tobytes() for row in rows), len(array))


def _maps(array: pa.Array, name: str) -> Cells:
    """The pairs sorted by their bytes: the order of a map's keys says nothing."""
    cells = np.zeros((len(array), WIDTH), dtype=np.uint8)
    for place in range(len(array)):
        if not array[place].is_valid:
            continue
        one = array.slice(place, 1)
        offsets = one.offsets.to_numpy()
        pairs = np.concatenate(
            [
                cells_of(column.slice(offsets[0], offsets[-1] - offsets[0]), f"{name}{{}}")
                for column in (array.keys, array.items)
            ],
            axis=1,
        )
        cells[place] = _hashed(b"m", [b"".join(sorted(pair.tobytes() for pair in pairs))], 1)[0]
    return cells


def _any(*names: str) -> Callable[[pa.DataType], bool]:
    tests = [getattr(pa.types, f"is_{name}") for name in names if hasattr(pa.types, f"is_{name}")]
    return lambda kind: any(test(kind) for test in tests)


_ENCODERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, str], Cells]], ...] = (
    (_any("null"), _nulls),
    (_any("boolean"), _booleans),
    (_any("integer"), _integers),
    (_any("floating"), _floats),
    (_any("decimal"), _decimals),
    (_any("date"), _dates),
    (_any("timestamp"), _timestamps),
    (_any("time"), _times),
    (_any("duration"), _durations),
    (_any("string", "large_string", "string_view"), _texts),
    (_any("binary", "large_binary", "fixed_size_binary", "binary_view"), _binaries),
    (_any("map"), _maps),
    (_any("struct"), _structs),
    (_any("list", "large_list", "fixed_size_list", "list_view", "large_list_view"), _lists),
)
