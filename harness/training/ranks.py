"""Ranks within rows of a table, ties sharing the mean of their places: exact, whatever the order of evaluation."""

import numpy as np
from numpy.typing import NDArray


def average_ranks(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 within each row of `table` (rows by columns), smallest first; NaN has no rank and stays NaN.

    Ties get the mean of the ranks that they take up, as `scipy.stats.rankdata(method="average", axis=1)` gives.
    """
    rows, columns = table.shape
    if columns == 0:
        return table.copy()
    order = np.argsort(table, axis=1, kind="stable")
    ordered = np.take_along_axis(table, order, axis=1)
    starts = np.ones((rows, columns), dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones((rows, columns), dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    places = np.arange(columns)
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, places, columns)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty((rows, columns), dtype=np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2.0 + 1.0, axis=1)
    ranks[np.isnan(table)] = np.nan
    return ranks
