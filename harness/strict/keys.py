"""Stable keys as bytes: one encoding for each value, whatever library, width or container the value comes in."""

import numbers
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from harness.errors import UsageError

_EPOCH = datetime(1970, 1, 1)
_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def encode_key(value: Any) -> bytes:
    """The bytes of one key: text, bytes, whole numbers, booleans, dates, times, UUIDs, and tuples of these.

    Equal are: whole numbers of every width (`1`, `numpy.int32(1)`), a date in every library, a time in every unit,
    and moments with a zone that are the same moment. Not equal are `1`, `"1"`, `b"1"` and `True`, nor a date and the
    midnight it begins with, nor two texts that only look alike (nothing is normalised).

    Raises:
        UsageError: the value is missing (None, NaT), a float, or of a kind that has no one encoding.
    """
    match value:
        case bool() | np.bool_():
            return _tagged(b"b", b"1" if value else b"0")
        case np.datetime64():
            return _encode_datetime64(value)
        case numbers.Integral() if not isinstance(value, np.timedelta64):
            return _tagged(b"i", b"%d" % int(value))
        case str():
            try:
                return _tagged(b"s", value.encode())
            except UnicodeEncodeError as error:
                raise UsageError(
                    f"The key {value!a:.60} holds half a surrogate pair, which is no text",
                    hint="Read it with its own encoding, or take its bytes: os.fsencode(name) for a file's name.",
                ) from error
        case bytes():
            return _tagged(b"y", bytes(value))
        case tuple():
            return _tagged(b"t", b"".join(map(encode_key, value)))
        case UUID():
            return _tagged(b"u", value.bytes)
        case datetime() if value == value:
            return _encode_datetime(value)
        case date() if not isinstance(value, datetime):
            return _tagged(b"d", b"%d" % (value.toordinal() - _DAY))
    raise _refusal(value)


def listed(keys: Any) -> list[Any] | None:
    """The keys of a column (a list, a NumPy array, an Arrow column, a Series) as plain values; null for a single key.

    Raises:
        UsageError: it has more than one axis or column, or no order: a set, a mapping, an iterator.
    """
    if isinstance(keys, list | range):
        return list(keys)
    if isinstance(keys, np.ndarray):
        if keys.ndim == 0:
            return None
        if keys.ndim != 1 or keys.dtype.names:
            raise UsageError(f"Keys of shape {keys.shape} and type {keys.dtype} are no column", hint="Use one axis.")
        return list(keys) if keys.dtype.kind in "Mm" else keys.tolist()
    if _has_columns(keys):
        raise UsageError(f"A {type(keys).__name__} is no column", hint="Give one of its columns.")
    if hasattr(keys, "to_pylist"):
        return list(_arrow_values(keys))
    if hasattr(keys, "to_list"):  # pandas and Polars
        return list(keys.to_list())
    if isinstance(keys, set | frozenset | dict | Iterator):
        raise UsageError(f"A {type(keys).__name__} has no order of its own", hint="Give a list or an array of keys.")
    return None


def _has_columns(keys: Any) -> bool:
    """Whether it is a table, of whatever library: of Arrow, pandas or Polars."""
    return hasattr(keys, "columns") and (hasattr(keys, "to_pylist") or hasattr(keys, "shape"))


def _arrow_values(column: Any) -> Iterator[Any]:
    """The values of an Arrow column; times keep their nanoseconds, which Python's own have not."""
    import pyarrow as pa

    if not isinstance(column, pa.Array | pa.ChunkedArray):
        raise UsageError(f"A {type(column).__name__} is no column of keys", hint="Give a list or an array of keys.")
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        plain = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        if not pa.types.is_timestamp(plain.type):
            yield from plain.to_pylist()
            continue
        for count in plain.cast(pa.int64()).to_pylist():
            if count is None:
                yield None
            elif plain.type.tz is None:
                yield np.datetime64(count, plain.type.unit)
            else:
                yield _Moment(count * _NANOSECONDS[plain.type.unit])


class _Moment(datetime):
    """A moment in UTC, to the nanosecond."""

    nanoseconds: int

    def __new__(cls, nanoseconds: int) -> "_Moment":
        made = super().__new__(cls, 1970, 1, 1, tzinfo=UTC)
        made.nanoseconds = nanoseconds
        return made


def _encode_datetime(value: datetime) -> bytes:
    if isinstance(value, _Moment):
        return _tagged(b"z", b"%d" % value.nanoseconds)
    offset = value.utcoffset()
    plain = value.replace(tzinfo=None, fold=0)
    beyond = getattr(value, "nanosecond", 0)  # pandas'
    since = (plain - _EPOCH) // _MICROSECOND - (0 if offset is None else offset // _MICROSECOND)
    return _tagged(b"n" if offset is None else b"z", b"%d" % (since * 1000 + beyond))


def _encode_datetime64(value: np.datetime64) -> bytes:
    unit, count = np.datetime_data(value.dtype)
    if np.isnat(value) or (unit not in _NANOSECONDS and unit != "D"):
        raise _refusal(value)
    number = int(value.astype(np.int64)) * count
    return _tagged(b"d", b"%d" % number) if unit == "D" else _tagged(b"n", b"%d" % (number * _NANOSECONDS[unit]))


def _tagged(tag: bytes, data: bytes) -> bytes:
    return tag + len(data).to_bytes(8, "big") + data


def _refusal(value: Any) -> UsageError:
    if value is None or value != value:
        return UsageError(
            f"A key is missing: {value!r}", hint="Drop such rows, or give them a key: all would go together."
        )
    if isinstance(value, float | np.floating):
        hint = "Make it whole with int(), or text. (pandas turns whole numbers into floats where one is missing.)"
        return UsageError(f"{value!r} is a float, which is no stable key", hint=hint)
    return UsageError(
        f"{value!r:.60} of type {type(value).__name__} is no stable key",
        hint="Use text, whole numbers, bytes, dates, times, UUIDs, or a tuple of them.",
    )
