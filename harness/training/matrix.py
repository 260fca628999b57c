"""The design matrix: features and target of those (date, symbol) pairs that have them all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.training.panel import Values


@dataclass(frozen=True)
class Matrix:
    """Rows in the order of (date, symbol).

    `x` (rows by features) and `y` (rows) are float64 without NaN; `date_index` and `symbol_index` (rows, int32) point
    into the panel's axes; `dropped` counts the pairs that lacked a feature or the target.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    date_index: NDArray[np.int32]
    symbol_index: NDArray[np.int32]
    dropped: int

    @property
    def dates_in_use(self) -> NDArray[np.int32]:
        """The different date indices, rising."""
        return np.unique(self.date_index)


def design_matrix(features: NDArray[np.float64], target: Values, symbol_index: int | None) -> Matrix:
    """The rows of `features` (dates by symbols by features) and `target` (dates by symbols) that are complete.

    `symbol_index` keeps one symbol alone; null keeps all.

    Raises:
        UsageError: no row is complete.
    """
    complete = ~np.isnan(target) & ~np.isnan(features).any(axis=2)
    considered = np.ones_like(complete)
    if symbol_index is not None:
        considered[:] = False
        considered[:, symbol_index] = True
    dates, symbols = np.nonzero(complete & considered)
    if not dates.size:
        raise UsageError(
            "No date has all features and the target",
            hint="The panel is too short for the longest window, or a value is missing on every date.",
        )
    return Matrix(
        x=features[dates, symbols],
        y=target[dates, symbols],
        date_index=dates.astype(np.int32),
        symbol_index=symbols.astype(np.int32),
        dropped=int(considered.sum()) - dates.size,
    )
