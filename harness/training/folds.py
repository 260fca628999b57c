"""Purged walk-forward folds: train on the past, test on what comes after, and no label reaches from one to the other.

López de Prado, Advances in Financial Machine Learning (2018), chapter 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.record.hashing import signature
from harness.spec.digest import Digest
from harness.spec.experiment import Folds
from harness.training.panel import Dates, date_text

SCHEMA = "harness.folds/1"
MIN_TEST_DATES = 5

Indices = NDArray[np.int32]


@dataclass(frozen=True)
class Fold:
    """`train` and `test` are (first, last) date indices into the panel, both included; `index` counts from 0."""

    index: int
    train: tuple[int, int]
    test: tuple[int, int]

    def train_mask(self, date_index: Indices) -> NDArray[np.bool_]:
        """Which rows are trained on."""
        return (date_index >= self.train[0]) & (date_index <= self.train[1])

    def test_mask(self, date_index: Indices) -> NDArray[np.bool_]:
        """Which rows are predicted."""
        return (date_index >= self.test[0]) & (date_index <= self.test[1])


def make_folds(dates_in_use: Indices, folds: Folds, horizon: int) -> tuple[Fold, ...]:
    """The folds over the date indices in use (different, rising).

    Fold k is trained on all dates from the first one (at least `min_train`) and tested on the k-th of `count` windows
    of nearly equal length that cover every later date. Between a fold's training and test dates lie at least `purge`
    (the horizon unless given) and `embargo` further rows of the panel, so the label of a training date d, which uses
    prices up to d + horizon, ends before the test window begins.

    Raises:
        UsageError: `purge` is shorter than the horizon, or there are too few dates.
    """
    gap = gap_of(folds, horizon)
    start = folds.min_train + gap
    needed = start + folds.count * MIN_TEST_DATES
    if len(dates_in_use) < needed:
        raise UsageError(
            f"{folds.count} folds need {needed} dates with all features and the target "
            f"({folds.min_train} to train, {gap} between, {MIN_TEST_DATES} to test each); "
            f"there are {len(dates_in_use)}",
            hint="Take a longer panel, or lower folds.min_train or folds.count.",
        )
    windows = np.array_split(dates_in_use[start:], folds.count)
    return tuple(
        Fold(index, _train(dates_in_use, int(window[0]), gap), (int(window[0]), int(window[-1])))
        for index, window in enumerate(windows)
    )


def gap_of(folds: Folds, horizon: int) -> int:
    """How many rows of the panel lie between what is trained on and what judges it: purge and embargo.

    Raises:
        UsageError: `purge` is shorter than the horizon.
    """
    purge = horizon if folds.purge is None else folds.purge
    if purge < horizon:
        raise UsageError(
            f"folds.purge is {purge}, shorter than the target's horizon of {horizon}: labels would leak into the test",
            hint="Leave folds.purge out, or make it at least the longest horizon.",
        )
    return purge + folds.embargo


def split_signature(folds: Sequence[Fold], dates: Dates) -> Digest:
    """The digest of the folds by their dates; `dates` are the panel's."""
    spans = [[[date_text(dates[day]) for day in span] for span in (fold.train, fold.test)] for fold in folds]
    return signature([SCHEMA, spans])


def _train(dates_in_use: Indices, test_start: int, gap: int) -> tuple[int, int]:
    """The first and last date that lies more than `gap` rows before the test."""
    last = int(np.searchsorted(dates_in_use, test_start - gap, side="left")) - 1
    return int(dates_in_use[0]), int(dates_in_use[last])
