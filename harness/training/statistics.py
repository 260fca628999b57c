"""What the data of a cohort looks like: what `metadata.json` tells of it. Enters no digest.

Sums run down the rows in their order, column by column, so that they too repeat.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.spec.columns import Feature, Target, TargetKind
from harness.training.folds import Fold
from harness.training.matrix import Matrix
from harness.training.panel import Panel, Values, date_text


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One feature, or the target. `missing` counts the (date, symbol) pairs without it; the rest is over complete rows.

    `deviation` has the denominator n; `kurtosis` is the excess over the normal distribution's; both shapes are null for
    a column that is `constant`.
    """

    name: str
    missing: int
    constant: bool
    minimum: float
    maximum: float
    mean: float
    deviation: float
    skewness: float | None
    kurtosis: float | None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The training or test rows of a fold; `classes` counts rows by class, null for regression."""

    first_date: str
    last_date: str
    dates: int
    rows: int
    classes: dict[str, int] | None


class Split(msgspec.Struct, frozen=True):
    """One fold."""

    fold: int
    train: Part
    test: Part


class DataStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A cohort's data. `rows` are complete (date, symbol) pairs, `dropped` the others.

    `missing_prices` counts by symbol, over all dates of the panel; `notes` say what reading the panel changed and which
    columns say nothing.
    """

    first_date: str
    last_date: str
    dates: int
    symbols: tuple[str, ...]
    missing_prices: dict[str, int]
    rows: int
    dropped: int
    columns: tuple[Column, ...]
    target: Column
    splits: tuple[Split, ...]
    notes: tuple[str, ...]


def describe(
    panel: Panel,
    features: Sequence[Feature],
    built: NDArray[np.float64],
    target: Target,
    labels: Values,
    matrix: Matrix,
    folds: Sequence[Fold],
    symbol_index: int | None = None,
) -> DataStatistics:
    """The statistics of one cohort.

    `built` (dates by symbols by features) and `labels` (dates by symbols) are what `matrix` was made from, with the
    same `symbol_index`.
    """
    members = slice(None) if symbol_index is None else slice(symbol_index, symbol_index + 1)
    symbols = panel.symbols[members]
    gaps = np.isnan(panel.prices[:, members]).sum(axis=0)
    missing = np.isnan(built[:, members]).sum(axis=(0, 1))
    columns = _columns([feature.name for feature in features], matrix.x, missing)
    label = _columns([target.name], matrix.y[:, np.newaxis], np.isnan(labels[:, members]).sum(keepdims=True)[0])[0]
    constant = [column.name for column in (*columns, label) if column.constant]
    return DataStatistics(
        first_date=date_text(panel.dates[0]),
        last_date=date_text(panel.dates[-1]),
        dates=len(panel.dates),
        symbols=symbols,
        missing_prices={symbol: int(count) for symbol, count in zip(symbols, gaps, strict=True)},
        rows=len(matrix.y),
        dropped=matrix.dropped,
        columns=columns,
        target=label,
        splits=tuple(_split(fold, panel, target, matrix) for fold in folds),
        notes=(*panel.notes, *(f"{name} is constant" for name in constant)),
    )


def _columns(names: Sequence[str], table: NDArray[np.float64], missing: NDArray[Any]) -> tuple[Column, ...]:
    """The columns of `table` (rows by columns)."""
    table = np.ascontiguousarray(table)
    rows = len(table)
    lowest, highest = table.min(axis=0), table.max(axis=0)
    constant = lowest == highest
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = np.where(constant, lowest, np.add.reduce(table, axis=0) / rows)
        centred = table - mean
        squares = centred * centred
        variance = np.add.reduce(squares, axis=0) / rows
        skewness = np.add.reduce(squares * centred, axis=0) / rows / variance**1.5
        kurtosis = np.add.reduce(squares * squares, axis=0) / rows / variance**2 - 3.0
    return tuple(
        Column(
            name=name,
            missing=int(missing[place]),
            constant=bool(constant[place]),
            minimum=float(lowest[place]),
            maximum=float(highest[place]),
            mean=float(mean[place]),
            deviation=float(np.sqrt(variance[place])),
            skewness=_finite(skewness[place]),
            kurtosis=_finite(kurtosis[place]),
        )
        for place, name in enumerate(names)
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _split(fold: Fold, panel: Panel, target: Target, matrix: Matrix) -> Split:
    return Split(
        fold.index,
        _part(fold.train, fold.train_mask(matrix.date_index), panel, target, matrix),
        _part(fold.test, fold.test_mask(matrix.date_index), panel, target, matrix),
    )


def _part(span: tuple[int, int], mask: NDArray[np.bool_], panel: Panel, target: Target, matrix: Matrix) -> Part:
    classes = None
    if target.kind is TargetKind.CLASSIFICATION:
        ones = int(np.count_nonzero(matrix.y[mask]))
        classes = {"0": int(np.count_nonzero(mask)) - ones, "1": ones}
    return Part(
        first_date=date_text(panel.dates[span[0]]),
        last_date=date_text(panel.dates[span[1]]),
        dates=len(np.unique(matrix.date_index[mask])),
        rows=int(np.count_nonzero(mask)),
        classes=classes,
    )
