"""The signature of a table's content: equal for equal values, in whatever file, type, chunk or order they are stored.

Every value becomes a cell of 33 bytes (`cells`). Rows are their cells in the order of the columns' names. Ordered, the
signature is over the rows; unordered, over the rows' sorted digests, so that a row that is there twice counts twice.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from harness.spec.documents import suggestion
from harness.training.cells import Cells, cells_of

SCHEMA = "harness.table/1"

_ROWS = 1 << 14
_RUN = 1 << 21  # row digests of 32 bytes that are held in memory
_ARROW = b"ARROW1"
_PARQUET = b"PAR1"
_EXACT = 2.0**53  # below it float64 has every whole number
_WHOLE = "^[+-]?[0-9]+$"
_DIGITS = 76  # of Arrow's longest decimals


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
            twice, or is of a type that has no canonical form (unions, intervals, extension types); or numbers of a CSV
            file have no type that holds them all exactly.
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
                raise UsageError(
                    f"The parts of the table have other columns: {sorted(found)}, not {names}",
                    hint="Sign parts of one table together, and other tables each by itself.",
                )
            names = sorted(found)
            for batch in batches:
                rows.add(_cells_of_rows(batch, names))
        if names is None:
            raise UsageError("There is no table to sign", hint="Give at least one part.")
        return signature(
            {"schema": SCHEMA, "columns": names, "ordered": ordered, "rows": rows.count, "content": rows.digest()}
        )
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"The table cannot be read: {' '.join(str(error).split())[:300]}",
            hint="Give CSV in UTF-8, Parquet or an Arrow file; export it again if it is damaged.",
        ) from error
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
        raise UsageError(f"{path} is empty", hint="Export it again, with its header even where it has no rows.")
    return _open_csv(path, types, size)


def _open_csv(path: Path, types: Mapping[str, pa.DataType], size: int) -> tuple[list[str], Iterable[pa.RecordBatch]]:
    """A CSV file: an empty field is null, an empty text in quotes is text, `nan` is a NaN.

    An empty line is a null where there is one column, for that is how one is written there, and nothing elsewhere.
    """
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
    names = _csv_names(path, parsing)
    if len(names) == 1:
        parsing.ignore_empty_lines = False
        if _csv_names(path, parsing) != names:
            raise UsageError(f"{path} begins with an empty line", hint="Begin it with the name of its column.")
    for name in types:
        if name not in names:
            raise UsageError(f"{path} has no column {name!a}, which types names", hint=suggestion(name, names))
    stream = pa.input_stream(path, compression="detect")
    if set(names) <= set(types):
        opened = pa_csv.open_csv(stream, read_options=reading, parse_options=parsing, convert_options=converting)
        return names, _cut(opened, size)
    table = pa_csv.read_csv(stream, read_options=reading, parse_options=parsing, convert_options=converting)
    rounded = [name for name in names if name not in types and _may_be_rounded(table, name)]
    if rounded:
        converting.include_columns = rounded
        converting.column_types = dict.fromkeys(rounded, pa.string())
        stream = pa.input_stream(path, compression="detect")
        texts = pa_csv.read_csv(stream, read_options=reading, parse_options=parsing, convert_options=converting)
        for name in rounded:
            table = table.set_column(names.index(name), name, _exact(path, name, table[name], texts[name]))
    return names, table.to_batches(max_chunksize=size)


def _csv_names(path: Path, parsing: pa_csv.ParseOptions) -> list[str]:
    with pa.input_stream(path, compression="detect") as stream:
        options = pa_csv.ReadOptions(use_threads=False)
        names: list[str] = pa_csv.open_csv(stream, read_options=options, parse_options=parsing).schema.names
        return names


def _may_be_rounded(table: pa.Table, name: str) -> bool:
    """Whether a column that was taken for float64 holds numbers of which float64 has not every whole one."""
    if table.column_names.count(name) > 1 or not pa.types.is_float64(table[name].type):
        return False
    return bool(pc.any(pc.greater_equal(pc.abs(table[name]), _EXACT)).as_py())


def _exact(path: Path, name: str, floats: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of large numbers as what its texts say: whole numbers where all are whole, else float64.

    Raises:
        UsageError: a whole number is none of float64's where others are not whole, or has more than 76 digits.
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    whole = pc.match_substring_regex(trimmed, _WHOLE)
    every = pc.all(whole).as_py()
    written = pc.filter(trimmed, whole).to_pylist()  # a null is neither
    if max(map(len, written), default=0) <= _DIGITS:
        if every:
            numbers = [None if text is None else int(text) for text in trimmed.to_pylist()]
            known = [number for number in numbers if number is not None]
            small = min(known) >= 0 and max(known) < 1 << 64
            return pa.chunked_array([pa.array(numbers, pa.uint64() if small else pa.decimal256(76, 0))])
        if all(int(text) == float(text) for text in written):
            return floats
    raise UsageError(
        f"The column {name!a} of {path} holds whole numbers that float64 has not",
        hint=f"Name its type: types={{{name!a}: pyarrow.float64()}} rounds them, pyarrow.string() keeps them.",
    )


def _cut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, size):
            yield batch.slice(start, size)


def _cells_of_rows(batch: pa.RecordBatch, names: Sequence[str]) -> Cells:
    """The rows of a batch as bytes (rows by 33 a column)."""
    columns = [cells_of(batch.column(batch.schema.get_field_index(name)), name) for name in names]
    if not columns:
        return np.zeros((batch.num_rows, 0), dtype=np.uint8)
    return np.concatenate(columns, axis=1)
