"""Which rows a model is fitted to, and which are held out of them to tell when to stop."""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from harness.errors import UsageError

Floats = npt.NDArray[np.float64]


class Timeline(msgspec.Struct, frozen=True):
    """When the rows of a fit are: `moments` (rows,) are whole numbers that don't fall, such as a panel's dates.

    A label reaches into what comes after it, so between rows that are trained on and rows that judge them must lie
    `gap` moments that are neither: purge and embargo, as between a fold's training and test rows.
    """

    moments: npt.NDArray[np.int32]
    gap: int = 0


class Rows(NamedTuple):
    """`features` (rows, columns), `target` and `weight` (rows,), the last of which may be null."""

    features: Floats
    target: Floats
    weight: Floats | None

    def part(self, first: int, end: int) -> "Rows":
        """The rows from `first` to before `end`."""
        weight = None if self.weight is None else self.weight[first:end]
        return Rows(self.features[first:end], self.target[first:end], weight)


def hold_out(rows: Rows, fraction: float, timeline: Timeline | None) -> tuple[Rows, Rows]:
    """The rows to train on, and the last `fraction` of the rows, held out.

    With a timeline no moment is split, and the last moments before the held-out rows (its gap) are in neither.

    Raises:
        UsageError: nothing would be left to train on, or the timeline is not one of these rows.
    """
    count = len(rows.target)
    first = count - max(1, int(count * fraction))
    last = first
    if timeline is not None:
        moments = timeline.moments
        if moments.shape != (count,) or (np.diff(moments) < 0).any():
            raise UsageError(
                f"A timeline of the shape {moments.shape} is none of {count} rows in the order of time",
                hint="Give a moment a row, and sort the rows by it.",
            )
        first = int(np.searchsorted(moments, moments[first], side="left"))
        last = int(np.searchsorted(moments, moments[first] - timeline.gap, side="left"))
    if last < 1:
        gap = "" if timeline is None else f" and {timeline.gap} moments before them"
        raise UsageError(
            f"Nothing is left to train on: of {count} rows the last {count - first} are held out{gap}",
            hint="Lower validation_fraction, or give the folds more rows.",
        )
    return rows.part(0, last), rows.part(first, count)
