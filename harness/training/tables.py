"""Tables as they lie in files: CSV, gzipped CSV and Parquet, read in one thread into arrays of plain types."""

import codecs
import contextlib
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.spec.documents import suggestion

MAX_BYTES = 1 << 30

_ISO_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?")
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A"]
_NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_PARQUET_SUFFIXES = (".parquet", ".pq")
_EXPORT = "Export it again, as CSV in UTF-8, as gzipped CSV or as Parquet."


@dataclass(frozen=True)
class Table:
    """One array an entry of a row: `dates` in days since 1970-01-01, text `keys`, float64 `numbers` (NaN: missing).

    `other` names the columns that were left out because they hold no numbers.
    """

    dates: NDArray[np.int64]
    keys: dict[str, NDArray[np.str_]]
    numbers: dict[str, NDArray[np.float64]]
    other: tuple[str, ...] = ()


def read_table(
    file: Path, date_column: str, keys: Sequence[str], numbers: Sequence[str] | None, *, extras: bool = False
) -> Table:
    """The table in `file`: the date column, the text columns `keys`, and the columns `numbers` (null: all others).

    With `extras` the remaining columns are read too, those that hold numbers. The format is told by the content; a
    name may not say Parquet of what isn't.

    Raises:
        UsageError: the file is empty, damaged, too large, lacks a column or has one twice, or a cell isn't what its
            column must hold.
    """
    with _reading(file):
        source, is_parquet = _open(file)
        names = _names(source, is_parquet)
        known = {date_column, *keys}
        rest = [name for name in names if name not in known]
        numbers = rest if numbers is None else list(numbers)
        wanted = [date_column, *keys, *(rest if extras else numbers)]
        _check_header(file, names, [date_column, *keys, *numbers], wanted)
        source.seek(0)
        if is_parquet:
            table = _read_parquet(file, source, wanted, (date_column, *keys))
        else:
            types = {
                date_column: pa.string(),
                **dict.fromkeys(keys, pa.string()),
                **dict.fromkeys(numbers, pa.float64()),
            }
            table = _read_csv(source, wanted, types)
        return _table(file, table, date_column, keys, numbers, wanted)


def column_names(file: Path) -> tuple[str, ...]:
    """The names of the columns of the table in `file`.

    Raises:
        UsageError: the file is empty, damaged or too large.
    """
    with _reading(file):
        return tuple(_names(*_open(file)))


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise UsageError(f"{file.name} holds text that is not UTF-8", hint=_EXPORT) from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        reason = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(error).split()))[:300]
        raise UsageError(f"{file.name} cannot be read as a table: {reason}", hint=_EXPORT) from error


def _table(
    file: Path, table: pa.Table, date_column: str, keys: Sequence[str], numbers: Sequence[str], wanted: Sequence[str]
) -> Table:
    """The columns `wanted` as arrays; those in `numbers` must hold them."""
    if table.num_rows == 0:
        raise UsageError(f"{file.name} is empty: it has a header and no rows", hint=_EXPORT)
    columns = {name: _numbers(table[name]) for name in wanted if name not in (date_column, *keys)}
    for name in numbers:
        if columns[name] is None:
            raise UsageError(
                f"The column {name!a} of {file.name} holds {table[name].type}, not numbers",
                hint="Store it as numbers, an empty field where one is missing, or leave the column out.",
            )
    return Table(
        dates=_dates(file, date_column, table[date_column]),
        keys={name: _text(file, name, table[name]) for name in keys},
        numbers={name: values for name, values in columns.items() if values is not None},
        other=tuple(sorted(name for name, values in columns.items() if values is None)),
    )


def _open(file: Path) -> tuple[pa.NativeFile, bool]:
    """A reader over the plain bytes of a file, and whether they are Parquet."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(4096)
        if not start:
            raise UsageError(f"{file.name} is empty", hint=_EXPORT)
        stream.seek(0)
        if start.startswith(_GZIP):
            with gzip.GzipFile(fileobj=stream) as unpacked:
                data = unpacked.read(MAX_BYTES + 1)
            start, size = data[:4096], len(data)
        else:
            data = stream.read(MAX_BYTES + 1)
    if size > MAX_BYTES:
        raise UsageError(f"{file.name} holds more than {MAX_BYTES} bytes", hint="Split it, or keep fewer columns.")
    if not data.strip():
        raise UsageError(f"{file.name} is empty", hint=_EXPORT)
    is_parquet = start.startswith(_PARQUET)
    if not is_parquet and file.suffix.lower() in _PARQUET_SUFFIXES:
        raise UsageError(f"{file.name} is not Parquet: it does not begin with PAR1", hint="Export it again.")
    if b"\0" in start and not is_parquet:
        raise UsageError(f"{file.name} is neither CSV, gzipped CSV nor Parquet", hint="Export it as one of these.")
    if not is_parquet:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # a parser's errors would quote the bytes
    return pa.BufferReader(data), is_parquet


def _names(source: pa.NativeFile, is_parquet: bool) -> list[str]:
    if is_parquet:
        parquet: list[str] = pa_parquet.read_schema(source).names
        return parquet
    options = pa_csv.ReadOptions(use_threads=False)
    names: list[str] = pa_csv.open_csv(source, read_options=options).schema.names
    return names


def _check_header(file: Path, names: Sequence[str], needed: Sequence[str], wanted: Sequence[str]) -> None:
    for name in needed:
        if name not in names:
            raise UsageError(f"{file.name} has no column {name!a}", hint=suggestion(name, names))
    for name in wanted:
        if names.count(name) > 1 or wanted.count(name) > 1:
            raise UsageError(f"{file.name} has the column {name!a} twice", hint="Rename or drop one of the two.")


def _read_csv(source: pa.NativeFile, wanted: list[str], types: dict[str, pa.DataType]) -> pa.Table:
    return pa_csv.read_csv(
        source,
        read_options=pa_csv.ReadOptions(use_threads=False),
        convert_options=pa_csv.ConvertOptions(
            column_types=types, include_columns=wanted, null_values=_MISSING, strings_can_be_null=False
        ),
    )


def _read_parquet(file: Path, source: pa.NativeFile, wanted: list[str], text: Sequence[str]) -> pa.Table:
    reader = pa_parquet.ParquetFile(source, read_dictionary=list(text))
    if reader.metadata.num_rows * len(wanted) * 8 > MAX_BYTES:
        raise UsageError(f"{file.name} holds more than {MAX_BYTES} bytes", hint="Split it, or keep fewer columns.")
    return reader.read(columns=wanted, use_threads=False).select(wanted)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64] | None:
    """A column as float64 with NaN for missing values, or null where it holds no numbers."""
    kind = column.type
    if pa.types.is_decimal(kind):
        # Arrow's own conversion is not correctly rounded, and a CSV of the same numbers must give the same bits.
        return np.array([np.nan if value is None else float(value) for value in column.to_pylist()], dtype=np.float64)
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.uint8())
    elif not any(test(kind) for test in _NUMERIC):
        return None
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float64)


def _text(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.str_]:
    codes, values = _encoded(file, name, column)
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        raise UsageError(
            f"The column {name!a} of {file.name} holds {values.type}, not text",
            hint="Store it as text: numbers lose leading zeros, and are written in more ways than one.",
        )
    return np.array(values.to_pylist(), dtype=np.str_)[codes]


def _dates(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column as days since 1970-01-01: dates, midnights without a time zone or in UTC, or text in ISO 8601."""
    codes, values = _encoded(file, name, column)
    days = np.empty(len(values), dtype=np.int64)
    for place, value in enumerate(_plain_dates(file, name, values)):
        match = _ISO_DATE.fullmatch(value)
        try:
            days[place] = np.datetime64(match[1] if match else "?", "D").astype(np.int64)
        except ValueError as error:
            row = int(np.flatnonzero(codes == place)[0]) + 1
            raise UsageError(
                f"{file.name}: the date {value[:40]!a} in data row {row} cannot be read",
                hint="Write dates as YYYY-MM-DD, a row a day.",
            ) from error
    return days[codes]


def _plain_dates(file: Path, name: str, values: pa.Array) -> list[str]:
    """Dates as ISO 8601 text."""
    kind = values.type
    if pa.types.is_timestamp(kind) and kind.tz not in (None, "UTC", "Etc/UTC", "+00:00"):
        raise UsageError(
            f"The column {name!a} of {file.name} holds times in {kind.tz}",
            hint="Store plain dates: which day a time belongs to depends on the time zone.",
        )
    if pa.types.is_timestamp(kind):
        return [np.datetime_as_string(value) for value in values.to_numpy(zero_copy_only=False)]
    if pa.types.is_date(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [str(value) for value in values.to_pylist()]
    raise UsageError(
        f"The column {name!a} of {file.name} holds {kind}, not dates", hint="data.date_column names the dates."
    )


def _encoded(file: Path, name: str, column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """A column as indices into its different values."""
    if column.null_count:
        row = pc.index(pc.is_null(column), value=True).as_py() + 1
        raise UsageError(f"{file.name}: {name} is missing in data row {row}", hint="Fill it in, or drop the row.")
    whole: Any = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.unify_dictionaries().chunks)
    encoded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary
