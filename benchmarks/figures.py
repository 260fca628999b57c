"""What was measured, what it should have been, and whether it was."""

from collections.abc import Sequence
from enum import StrEnum
from statistics import median

import msgspec


class Bound(StrEnum):
    """On which side of its target a figure should lie."""

    AT_MOST = "≤"
    AT_LEAST = "≥"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity: one number a pair of runs in `values`. Without `target` it only informs.

    `unit` is `x` for a ratio, else `s` or `GiB`.
    """

    name: str
    statement: str
    unit: str
    values: tuple[float, ...]
    bound: Bound | None = None
    target: float | None = None

    @property
    def median(self) -> float:
        """The middle of the values."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median lies where it should; null where nothing was promised."""
        if self.bound is None or self.target is None:
            return None
        return self.median <= self.target if self.bound is Bound.AT_MOST else self.median >= self.target


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Something that either holds or does not; `detail` says what was seen."""

    name: str
    statement: str
    holds: bool
    detail: str

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.holds


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark that this machine cannot run, and why."""

    name: str
    reason: str


Result = Figure | Check | Skipped


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """Pair by pair; both sequences are of one length."""
    return tuple(one / other for one, other in zip(numerators, denominators, strict=True))


def differences(first: Sequence[float], second: Sequence[float]) -> tuple[float, ...]:
    """Pair by pair, first less second; both sequences are of one length."""
    return tuple(one - other for one, other in zip(first, second, strict=True))


def faster(alternatives: dict[str, list[float]]) -> str:
    """The name of the alternative with the smallest median, in seconds."""
    return min(alternatives, key=lambda name: (median(alternatives[name]), name))
