"""Cohorts: each (target, view, symbol) of an experiment, with its rows on disk where every fit can map them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError, UsageError
from harness.record.fingerprints import cohort_id, universe_signature
from harness.record.hashing import signature
from harness.record.layout import cohort_folder
from harness.spec.columns import Feature, Target
from harness.spec.digest import Digest
from harness.spec.experiment import Experiment, View
from harness.strict.ordering import stable_sort
from harness.training.arrays import save_array
from harness.training.folds import Fold, gap_of, make_folds, split_signature
from harness.training.matrix import design_matrix
from harness.training.panel import Dates, Panel, Values
from harness.training.statistics import DataStatistics, describe
from harness.training.targets import build_target, task_signature

FEATURES_FILE = "features.npy"
TARGET_FILE = "target.npy"
DATES_FILE = "dates.npy"

Span = tuple[int, int]
Place = tuple[Target, View, str | None]
"""(target, view, symbol); the symbol is null across symbols."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """One cohort. Its rows are in the order of (date, symbol), so a fold's are two spans (first, one past the last).

    `scratch` holds `features.npy` (rows by features) and `target.npy` (rows), both float64, and `dates.npy` (rows), the
    index of each row's date in the panel; `folder` is where results go, relative to the output folder; `universe` are
    the symbols it is trained on; `dates` and `symbols` are the panel's axes; `gap` is purge and embargo together.
    """

    target: Target
    view: View
    symbol: str | None
    universe: tuple[str, ...]
    cohort_id: str
    folder: PurePosixPath
    scratch: Path
    folds: tuple[Fold, ...]
    train: tuple[Span, ...]
    test: tuple[Span, ...]
    gap: int
    y: Values
    date_index: NDArray[np.int32]
    symbol_index: NDArray[np.int32]
    dates: Dates
    symbols: tuple[str, ...]
    statistics: DataStatistics
    signatures: dict[str, Digest]

    @property
    def name(self) -> str:
        """How messages call it."""
        return name_of((self.target, self.view, self.symbol))


@dataclass(frozen=True)
class Inputs:
    """What all cohorts are made from. `built` is (dates, symbols, features) of `panel`, in the order of `features`.

    `signatures` are those that all cohorts have in common.
    """

    panel: Panel
    features: tuple[Feature, ...]
    built: Values
    signatures: dict[str, Digest]


def name_of(place: Place) -> str:
    """How messages call a place."""
    target, view, symbol = place
    return ", ".join(filter(None, (target.name, view.value, symbol)))


def places_of(experiment: Experiment, targets: Sequence[Target]) -> tuple[Place, ...]:
    """The experiment's places, in their order.

    Raises:
        UsageError: nothing is to be trained, or a view lacks its symbols.
    """
    if View.SYMBOL_SPECIFIC in experiment.views and not experiment.symbol_specific:
        raise UsageError("symbol_specific is empty, and the view SYMBOL_SPECIFIC needs symbols", hint="Name one.")
    symbols: dict[View, tuple[str | None, ...]] = {
        View.CROSS_SECTIONAL: (None,),
        View.SYMBOL_SPECIFIC: tuple(stable_sort(set(experiment.symbol_specific))),
    }
    places = tuple(
        (target, view, symbol)
        for target in stable_sort(set(targets), key=lambda target: target.name)
        for view in stable_sort(set(experiment.views))
        for symbol in symbols[view]
    )
    if not places:
        raise UsageError("The experiment has no target or no view", hint="Name at least one of each.")
    return places


def prepare(experiment: Experiment, places: Sequence[Place], inputs: Inputs, scratch: Path) -> Iterator[Cohort]:
    """The cohorts at `places`, one after the other.

    Raises:
        UsageError: a cohort has too few rows for its folds; the message names it.
        PrerequisiteError: the disk is full.
    """
    for number, place in enumerate(places):
        folder = scratch / f"cohort-{number}"
        folder.mkdir()
        try:
            yield _prepare(experiment, place, inputs, folder)
        except HarnessError as error:
            raise type(error)(f"{name_of(place)}: {error.message}", hint=error.hint) from error


def _prepare(experiment: Experiment, place: Place, inputs: Inputs, folder: Path) -> Cohort:
    target, view, symbol = place
    panel = inputs.panel
    index = None if symbol is None else panel.symbol_index(symbol)
    universe = panel.symbols if symbol is None else (symbol,)
    labels = build_target(panel, target)
    matrix = design_matrix(inputs.built, labels, index)
    folds = make_folds(matrix.dates_in_use, experiment.folds, target.horizon)
    save_array(folder / FEATURES_FILE, matrix.x)
    save_array(folder / TARGET_FILE, matrix.y)
    save_array(folder / DATES_FILE, matrix.date_index)
    identity = cohort_id(experiment.name, target.name, view, universe)
    return Cohort(
        target=target,
        view=view,
        symbol=symbol,
        universe=universe,
        cohort_id=identity,
        folder=cohort_folder(target.name, view, symbol, identity),
        scratch=folder,
        folds=folds,
        train=tuple(_span(matrix.date_index, fold.train) for fold in folds),
        test=tuple(_span(matrix.date_index, fold.test) for fold in folds),
        gap=gap_of(experiment.folds, target.horizon),
        y=matrix.y,
        date_index=matrix.date_index,
        symbol_index=matrix.symbol_index,
        dates=panel.dates,
        symbols=panel.symbols,
        statistics=describe(panel, inputs.features, inputs.built, target, labels, matrix, folds, index),
        signatures={
            **inputs.signatures,
            "task_signature": task_signature(target),
            "routing_signature": signature({"view": view.value, "symbol": symbol}),
            "split_signature": split_signature(folds, panel.dates),
            "universe_signature": universe_signature(universe),
        },
    )


def _span(date_index: NDArray[np.int32], dates: tuple[int, int]) -> Span:
    """The rows of the dates from the first to the last, both included."""
    first = int(np.searchsorted(date_index, dates[0], side="left"))
    return first, int(np.searchsorted(date_index, dates[1], side="right"))
