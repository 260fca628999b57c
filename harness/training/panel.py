"""The panel: prices (and other columns) of symbols by date, and its digest.

What a panel holds does not depend on the order of a file's rows or columns, nor on its format: dates and symbols are
sorted, numbers are float64, one kind of NaN means "missing", and dates on which no symbol has a value don't exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.record.hashing import digest_of_array, signature
from harness.spec.digest import Digest
from harness.spec.documents import suggestion
from harness.spec.experiment import Data, Experiment, Layout, View
from harness.spec.names import check_names
from harness.spec.resolution import day_number
from harness.training.tables import Table, column_names, read_table

SCHEMA = "harness.panel/1"

Dates = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """`columns` are arrays (dates by symbols), NaN where missing; `dates` are days since 1970-01-01, rising.

    `price_column` names the column that features and targets are made from. `notes` say what reading it changed.
    """

    dates: Dates
    symbols: tuple[str, ...]
    columns: Mapping[str, Values]
    price_column: str
    notes: tuple[str, ...] = ()

    @property
    def prices(self) -> Values:
        """The prices (dates by symbols)."""
        return self.columns[self.price_column]

    def symbol_index(self, symbol: str) -> int:
        """The place of a symbol on the second axis.

        Raises:
            UsageError: the panel has no such symbol.
        """
        if symbol not in self.symbols:
            raise UsageError(f"The panel has no symbol {symbol!a}", hint=suggestion(symbol, self.symbols))
        return self.symbols.index(symbol)


def load_panel(path: Path, data: Data) -> Panel:
    """The panel in the file `path` (CSV, gzipped CSV or Parquet; or a folder with that one file), as `data` selects it.

    Raises:
        UsageError: the file cannot be read as a panel, lacks a column, symbol or date that `data` asks for, holds a
            (date, symbol) twice, an infinity, or a price that isn't positive. The message says where.
    """
    file = _the_file(path)
    try:
        panel = _read(file, data)
    except UsageError as error:
        raise UsageError(error.message, hint=_layout_hint(file, data) or error.hint) from error
    return _checked(_selected(panel, data, file), data, file)


def dataset_signature(panel: Panel) -> Digest:
    """The digest of everything in the panel: every date, symbol, column and value, exact."""
    return signature(
        {
            "schema": SCHEMA,
            "dates": digest_of_array(panel.dates),
            "symbols": panel.symbols,
            "columns": {name: digest_of_array(values) for name, values in panel.columns.items()},
        }
    )


def check_panel(panel: Panel, experiment: Experiment) -> None:
    """Refuse an experiment that this panel can't serve, before anything is computed.

    Raises:
        UsageError: a symbol of `symbol_specific` is missing, or the view CROSS_SECTIONAL would have one symbol.
    """
    if View.SYMBOL_SPECIFIC in experiment.views:
        for symbol in experiment.symbol_specific:
            if symbol not in panel.symbols:
                raise UsageError(
                    f"The panel has no symbol {symbol!a}, which symbol_specific names",
                    hint=f"{suggestion(symbol, panel.symbols)} `--symbols {','.join(panel.symbols[:3])}` picks both: "
                    "the symbols of the panel, and those that are trained alone.",
                )
    if View.CROSS_SECTIONAL in experiment.views and len(panel.symbols) < 2:
        raise UsageError(
            f"The panel has one symbol ({panel.symbols[0]}), and the view CROSS_SECTIONAL needs at least two",
            hint="Add symbols, or use the view SYMBOL_SPECIFIC alone.",
        )


def date_text(day: int) -> str:
    """A day number as `YYYY-MM-DD`."""
    return str(np.datetime64(int(day), "D"))


def _the_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"There is no data file {path}", hint="Give a CSV, CSV.gz or Parquet file.")
    files = sorted(entry.name for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if len(files) == 1:
        return path / files[0]
    shown = ", ".join(files[:10]) + (", …" if len(files) > 10 else "")
    problem = f"holds {len(files)} files ({shown})" if files else "holds no file"
    raise UsageError(f"The data folder {path} {problem}", hint="Name the one data file.")


def _read(file: Path, data: Data) -> Panel:
    if data.layout is Layout.WIDE:
        return _from_wide(read_table(file, data.date_column, (), data.symbols), data, file)
    table = read_table(file, data.date_column, (data.symbol_column,), (data.price_column,), extras=True)
    return _from_long(table, data, file)


def _layout_hint(file: Path, data: Data) -> str | None:
    """What to do about a file that is read as wide and plainly is long; null where that isn't so."""
    try:
        names = column_names(file)
    except UsageError:
        return None
    symbol, price = data.symbol_column, data.price_column
    if data.layout is Layout.LONG or symbol not in names or price not in names:
        return None
    also = "" if data.date_column in names else ", and its data.date_column,"
    return f"It has the columns {symbol} and {price}: write `data.layout: long`{also} in the experiment's file."


def _from_wide(table: Table, data: Data, file: Path) -> Panel:
    symbols = check_names(sorted(table.numbers), "symbol")
    if not symbols:
        raise UsageError(f"{file.name} has no column but {data.date_column}", hint="A wide panel has one a symbol.")
    order = np.argsort(table.dates, kind="stable")
    dates = table.dates[order]
    repeated = np.flatnonzero(dates[1:] == dates[:-1])
    if repeated.size:
        first, second = sorted(order[repeated[0] : repeated[0] + 2] + 1)
        _refuse_twice(file, date_text(dates[repeated[0]]), int(first), int(second))
    values = np.column_stack([table.numbers[symbol][order] for symbol in symbols])
    return Panel(dates, symbols, {data.price_column: values}, data.price_column, _sorting_note(table.dates))


def _from_long(table: Table, data: Data, file: Path) -> Panel:
    names, symbol_of_row = np.unique(table.keys[data.symbol_column], return_inverse=True)
    symbols = check_names(sorted(names.tolist() if data.symbols is None else data.symbols), "symbol")
    for symbol in symbols:
        if symbol not in names:
            raise UsageError(f"{file.name} has no symbol {symbol!a}", hint=suggestion(symbol, names.tolist()))
    dates, date_of_row = np.unique(table.dates, return_inverse=True)
    cell = date_of_row * len(names) + symbol_of_row
    order = np.argsort(cell, kind="stable")
    repeated = np.flatnonzero(cell[order][1:] == cell[order][:-1])
    if repeated.size:
        first, second = sorted(order[repeated[0] : repeated[0] + 2] + 1)
        what = f"{date_text(dates[date_of_row[first - 1]])} {names[symbol_of_row[first - 1]]}"
        _refuse_twice(file, what, int(first), int(second))
    kept = [int(np.flatnonzero(names == symbol)[0]) for symbol in symbols]
    columns = {}
    for name in sorted(table.numbers):
        values = np.full(len(dates) * len(names), np.nan)
        values[cell] = table.numbers[name]
        columns[name] = np.ascontiguousarray(values.reshape(len(dates), len(names))[:, kept])
    notes = list(_sorting_note(table.dates))
    if table.other:
        notes.append(f"ignored columns that do not hold numbers: {', '.join(table.other)}")
    return Panel(dates, symbols, columns, data.price_column, tuple(notes))


def _refuse_twice(file: Path, what: str, first: int, second: int) -> NoReturn:
    raise UsageError(f"{file.name} holds {what} twice, in data rows {first} and {second}", hint="Keep one of the two.")


def _sorting_note(dates: Dates) -> tuple[str, ...]:
    return () if bool(np.all(dates[1:] >= dates[:-1])) else ("rows were not in the order of their dates: sorted",)


def _selected(panel: Panel, data: Data, file: Path) -> Panel:
    """Only the symbols and dates that `data` asks for, without dates and unnamed symbols that hold nothing."""
    start = None if data.start is None else day_number(data.start, "data.start")
    end = None if data.end is None else day_number(data.end, "data.end")
    if start is not None and end is not None and start > end:
        raise UsageError(f"data.start {data.start} is after data.end {data.end}", hint="Exchange the two.")
    inside = np.ones(len(panel.dates), dtype=bool)
    inside &= True if start is None else panel.dates >= start
    inside &= True if end is None else panel.dates <= end
    if not inside.any():
        known = f"{date_text(panel.dates[0])} to {date_text(panel.dates[-1])}"
        asked = f"from {data.start or 'the beginning'} to {data.end or 'the end'}"
        raise UsageError(f"{file.name} has no date {asked}", hint=f"It covers {known}.")
    present = ~np.isnan(panel.prices)
    filled: NDArray[np.bool_] = np.asarray(present[inside].any(axis=0))
    for symbol, has_values in zip(panel.symbols, filled, strict=True):
        if data.symbols is not None and not has_values:
            raise UsageError(f"{file.name} has no value for {symbol} in the dates asked for", hint="Leave it out.")
    if not filled.any():
        raise UsageError(
            f"{file.name} holds no price in the dates asked for", hint="Widen data.start and data.end, or name others."
        )
    used = inside & present[:, filled].any(axis=1)
    notes = list(panel.notes)
    if not filled.all():
        empty = [symbol for symbol, has_values in zip(panel.symbols, filled, strict=True) if not has_values]
        notes.append(f"left out symbols without any price: {', '.join(empty)}")
    if used.sum() < inside.sum():
        notes.append(f"left out {int(inside.sum() - used.sum())} dates without any price")
    symbols = tuple(symbol for symbol, has_values in zip(panel.symbols, filled, strict=True) if has_values)
    columns = {name: np.ascontiguousarray(values[used][:, filled]) for name, values in panel.columns.items()}
    return replace(panel, dates=panel.dates[used], symbols=symbols, columns=columns, notes=tuple(notes))


def _checked(panel: Panel, data: Data, file: Path) -> Panel:
    """The panel with one kind of NaN, if all its values make sense; constant symbols are noted."""
    columns = {}
    for name, values in panel.columns.items():
        _refuse_where(np.isinf(values), values, name, panel, file, "Missing values are empty cells.")
        columns[name] = np.where(np.isnan(values), np.nan, values)
    prices = panel.prices
    _refuse_where(prices <= 0.0, prices, data.price_column, panel, file, "Prices must be above zero.")
    notes = list(panel.notes)
    constant = _constant(prices, panel.symbols)
    if constant:
        notes.append(f"the price never changes for {', '.join(constant)}")
    return replace(panel, columns=columns, notes=tuple(notes))


def _constant(prices: Values, symbols: Sequence[str]) -> list[str]:
    lowest, highest = np.nanmin(prices, axis=0), np.nanmax(prices, axis=0)
    return [symbol for symbol, low, high in zip(symbols, lowest, highest, strict=True) if low == high]


def _refuse_where(bad: NDArray[np.bool_], values: Values, name: str, panel: Panel, file: Path, hint: str) -> None:
    places = np.argwhere(bad)
    if not len(places):
        return
    row, column = places[0]
    where = f"{panel.symbols[column]} on {date_text(panel.dates[row])}"
    count = f" ({len(places)} such values in all)" if len(places) > 1 else ""
    raise UsageError(f"{file.name}: {name} of {where} is {values[row, column]}{count}", hint=hint)
