"""The signature of a table's content: equal for equal values, in whatever file, type, chunk or order they are stored.

Every value becomes a cell of 33 bytes: a letter for its kind, then its value or the sha256 of it. Rows are their cells
in the order of the columns' names. Ordered, the signature is over the rows; unordered, over the rows' sorted digests,
so that a row that is there twice counts twice.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.record.hashing import signature
from harness.spec.digest import Digest, digest_from_hex

SCHEMA = "harness.table/1"

_WIDTH = 33
_ROWS = 1 << 14
_RUN = 1 << 21  # row digests of 32 bytes that are held in memory
_ARROW = b"ARROW1"
_PARQUET = b"PAR1"
_NAN = np.frombuffer(np.float64(np.nan).tobytes(), np.uint64)[0]
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY = 86_400

Cells = NDArray[np.uint8]


def table_signature(
    source: Any, *, ordered: bool = False, types: Mapping[str, pa.DataType] | None = None, batch_rows: int = _ROWS
) -> Digest:
    """The digest of the values in a table, in a table's file (CSV, gzipped CSV, Parquet, Feather), or in several parts.

    `source` is an Arrow table, record batch or reader of batches, a path, or a list of these, which are one table in
    parts. Memory is bounded by the batches, but for CSV files whose types are to be found out (`types` names them) and
    Arrow tables, which are in memory already. The order of columns never counts, that of rows where `ordered`.

    What is one value: a number in every width, whole or not (1 and 1.0; not -0.0 and 0); text, bytes and lists in every
    layout, dictionary-encoded or not; a date and the midnight that it begins with; a time in every unit; a moment in
    every time zone; nulls of every type; all NaNs. NaN is no null, text no number, a time without a zone no moment.

    Raises:
        UsageError: the source is none of these or cannot be read, the parts have other columns, a column is there
            twice, or is of a type that has no canonical form (unions, intervals, extension types).
    """
    rows: _Ordered | _Unordered = _Ordered() if ordered else _Unordered()
    names: list[str] | None = None
    try:
        for part in source if isinstance(source, list | tuple) else [source]:
            found, batches = _open(part, types or {}, batch_rows)
            if len(set(found)) < len(found):
                raise UsageError(
                    f"The table has a column twice: {', '.join(sorted(found))}", hint="Rename one of the two."
                )
            if names is not None and names != sorted(found):
                raise UsageError(f"The parts of the table have other columns: {sorted(found)}, not {names}")
            names = sorted(found)
            for batch in batches:
                rows.add(_cells_of_rows(batch, names))
        if names is None:
            raise UsageError("There is no table to sign", hint="Give at least one part.")
        return signature(
            {"schema": SCHEMA, "columns": names, "ordered": ordered, "rows": rows.count, "content": rows.digest()}
        )
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"The table cannot be read: {' '.join(str(error).split())[:300]}") from error
    finally:
        rows.close()


class _Ordered:
    """The digest of rows one after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, rows: Cells) -> None:
        self._hash.update(rows.tobytes())
        self.count += len(rows)

    def digest(self) -> Digest:
        return digest_from_hex(self._hash.hexdigest())

    def close(self) -> None:
        pass


class _Unordered:
    """The digest of a multiset of rows: of their digests, sorted. Beyond 2**21 rows these wait sorted in a file."""

    def __init__(self) -> None:
        self.count = 0
        self._held: list[bytes] = []
        self._waiting = 0
        self._file: IO[bytes] | None = None
        self._runs: list[NDArray[np.uint8]] = []

    def add(self, rows: Cells) -> None:
        digests = b"".join([hashlib.sha256(row).digest() for row in np.ascontiguousarray(rows)])
        self._held.append(digests)
        self.count += len(rows)
        self._waiting += len(rows)
        if self._waiting >= _RUN:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        offset = 32 * sum(map(len, self._runs))
        self._file.write(self._sorted().tobytes())
        self._file.flush()
        self._runs.append(np.memmap(self._file, np.uint8, "r", offset, (self._waiting, 32)))
        self._held, self._waiting = [], 0

    def _sorted(self) -> NDArray[np.uint8]:
        return _sort(np.frombuffer(b"".join(self._held), np.uint8).reshape(-1, 32))

    def digest(self) -> Digest:
        hashed = hashlib.sha256()
        runs = [*self._runs, self._sorted()]
        for first in range(256):  # one 256th of the digests at a time
            parts = [run[slice(*np.searchsorted(run[:, 0], [first, first + 1]))] for run in runs]
            hashed.update(_sort(np.concatenate(parts)).tobytes())
        return digest_from_hex(hashed.hexdigest())

    def close(self) -> None:
        self._runs = []
        if self._file is not None:
            self._file.close()


def _sort(digests: NDArray[np.uint8]) -> NDArray[np.uint8]:
    words = np.ascontiguousarray(digests).view(">u8")
    ordered: NDArray[np.uint8] = digests[np.lexsort(words.T[::-1])]
    return ordered


def _open(part: Any, types: Mapping[str, pa.DataType], size: int) -> tuple[list[str], Iterable[pa.RecordBatch]]:
    """The names of the columns of one part, and its rows in batches."""
    if isinstance(part, str | Path):
        return _open_file(Path(part), types, size)
    if isinstance(part, pa.RecordBatch):
        part = pa.Table.from_batches([part])
    if isinstance(part, pa.Table):
        return part.column_names, part.to_batches(max_chunksize=size)
    if isinstance(part, pa.RecordBatchReader):
        return part.schema.names, _cut(part, size)
    raise UsageError(
        f"A {type(part).__name__} is no table that can be signed",
        hint="Give a path or an Arrow table: pyarrow.Table.from_pandas(frame, preserve_index=False).",
    )


def _open_file(path: Path, types: Mapping[str, pa.DataType], size: int) -> tuple[list[str], Iterable[pa.RecordBatch]]:
    with path.open("rb") as file:
        start = file.read(len(_ARROW))
    if start.startswith(_PARQUET):
        parquet = pa_parquet.ParquetFile(path)
        return parquet.schema_arrow.names, parquet.iter_batches(batch_size=size, use_threads=False)
    if start.startswith(_ARROW):
        feather = pa.ipc.open_file(path)
        batches = (feather.get_batch(number) for number in range(feather.num_record_batches))
        return feather.schema.names, _cut(batches, size)
    if not start:
        raise UsageError(f"{path} is empty")
    return _open_csv(path, types, size)


def _open_csv(path: Path, types: Mapping[str, pa.DataType], size: int) -> tuple[list[str], Iterable[pa.RecordBatch]]:
    """A CSV file: an empty field is null, an empty text in quotes is text, `nan` is a NaN."""
    reading = pa_csv.ReadOptions(use_threads=False)
    converting = pa_csv.ConvertOptions(
        column_types=dict(types),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true", "True", "TRUE"],
        false_values=["false", "False", "FALSE"],
    )
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    with pa.input_stream(path, compression="detect") as stream:
        names = pa_csv.open_csv(stream, read_options=reading, parse_options=parsing).schema.names
    for name in types:
        if name not in names:
            raise UsageError(f"{path} has no column {name!a}, which types names")
    stream = pa.input_stream(path, compression="detect")
    if set(names) <= set(types):
        opened = pa_csv.open_csv(stream, read_options=reading, parse_options=parsing, convert_options=converting)
        return names, _cut(opened, size)
    table = pa_csv.read_csv(stream, read_options=reading, parse_options=parsing, convert_options=converting)
    return names, table.to_batches(max_chunksize=size)


def _cut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, size):
            yield batch.slice(start, size)


def _cells_of_rows(batch: pa.RecordBatch, names: Sequence[str]) -> Cells:
    """The rows of a batch as bytes (rows by 33 a column)."""
    columns = [_cells(batch.column(batch.schema.get_field_index(name)), name) for name in names]
    if not columns:
        return np.zeros((batch.num_rows, 0), dtype=np.uint8)
    return np.concatenate(columns, axis=1)


def _cells(array: pa.Array, name: str) -> Cells:
    """Each value of a column as 33 bytes; a null is all zeros."""
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
    cells = np.zeros((len(values), _WIDTH), dtype=np.uint8)
    cells[:, 0] = kind[0]
    cells[:, 1:9] = np.ascontiguousarray(values).astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, 8)
    return cells


def _hashed(kind: bytes, contents: Iterable[bytes | memoryview], count: int) -> Cells:
    """Cells of one kind that hold the sha256 of contents of any length."""
    cells = np.zeros((count, _WIDTH), dtype=np.uint8)
    cells[:, 0] = kind[0]
    digests = b"".join([hashlib.sha256(content).digest() for content in contents])
    cells[:, 1:] = np.frombuffer(digests, np.uint8).reshape(-1, 32)
    return cells


def _plain(array: pa.Array, kind: pa.DataType, fill: Any) -> NDArray[Any]:
    """The storage of an array as NumPy has it, with `fill` for nulls, which are masked later."""
    values: NDArray[Any] = pc.fill_null(array.cast(kind), fill).to_numpy(zero_copy_only=False)
    return values


def _nulls(array: pa.Array, _: str) -> Cells:
    return np.zeros((len(array), _WIDTH), dtype=np.uint8)


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
    cells = np.zeros((len(array), _WIDTH), dtype=np.uint8)
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
        return np.zeros((len(array), _WIDTH), dtype=np.uint8)
    cells: Cells = values[_plain(encoded.indices, pa.int64(), 0)]
    return cells


def _lists(array: pa.Array, name: str) -> Cells:
    lengths = _plain(pc.list_value_length(array), pa.int64(), 0)
    items = _cells(pc.list_flatten(array), f"{name}[]")
    ends = np.cumsum(lengths)
    parts = (items[end - length : end].tobytes() for end, length in zip(ends, lengths, strict=True))
    return _hashed(b"l", parts, len(array))


def _structs(array: pa.Array, name: str) -> Cells:
    fields = [array.type.field(number).name for number in range(array.type.num_fields)]
    if len(set(fields)) < len(fields):
        raise UsageError(f"The column {name!a} has a field twice", hint="Rename one of the two.")
    parts = dict(zip(fields, array.flatten(), strict=True))
    head = b"".join(len(field.encode()).to_bytes(8, "big") + field.encode() for field in sorted(parts))
    columns = [_cells(parts[field], f"{name}.{field}") for field in sorted(parts)]
    rows = np.concatenate(columns, axis=1) if columns else np.zeros((len(array), 0), dtype=np.uint8)
    return _hashed(b"r", (head + row.tobytes() for row in rows), len(array))


def _maps(array: pa.Array, name: str) -> Cells:
    """The pairs sorted by their bytes: the order of a map's keys says nothing."""
    cells = np.zeros((len(array), _WIDTH), dtype=np.uint8)
    for place in range(len(array)):
        if not array[place].is_valid:
            continue
        one = array.slice(place, 1)
        offsets = one.offsets.to_numpy()
        pairs = np.concatenate(
            [
                _cells(column.slice(offsets[0], offsets[-1] - offsets[0]), f"{name}{{}}")
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
