"""The grammar of feature and target names: what a name in an experiment means, with nothing computed.

All lengths are in rows of the panel (trading dates), not calendar days; P_t is the price at row t.

Targets:
    fwd_ret_<N>d      P_{t+N} / P_t - 1                               regression
    fwd_up_<N>d       1 if that is positive, else 0                   classification
Features:
    ret_<N>d          P_t / P_{t-N} - 1
    mom_<N>d          P_{t-21} / P_{t-N} - 1, N > 21: momentum that skips the last month
    vol_<N>d          standard deviation (N - 1) of the last N daily returns, N > 1
    sma_<N>d          P_t over the mean of the last N prices, less 1, N > 1
    col_<column>      a column of the panel as it is
    lag_<K>_<f>       one of the above as it was K rows earlier
    rank_<f>          any of the above, as its rank among the symbols of that date, in (0, 1)
"""

import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from harness.errors import UsageError

MAX_LENGTH = 5000
MOMENTUM_SKIP = 21

TARGET_FORMS = ("fwd_ret_<N>d", "fwd_up_<N>d")
FEATURE_FORMS = ("ret_<N>d", "mom_<N>d", "vol_<N>d", "sma_<N>d", "col_<column>", "lag_<K>_<feature>", "rank_<feature>")


class TargetKind(StrEnum):
    """What a target asks for: a number, or one of two classes."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target by its parts; the label at row t uses prices up to row t + `horizon`."""

    name: str
    kind: TargetKind
    horizon: int


class Measure(StrEnum):
    """What a feature measures, before it is lagged and ranked."""

    RETURN = "ret"
    MOMENTUM = "mom"
    VOLATILITY = "vol"
    MOVING_AVERAGE = "sma"
    COLUMN = "col"


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A feature by its parts: `measure` over `window` rows (0 for a column), `lag` rows ago, ranked or not.

    `column` is the panel's column for `col_<column>`, else null.
    """

    name: str
    measure: Measure
    window: int = 0
    column: str | None = None
    lag: int = 0
    rank: bool = False

    @property
    def history(self) -> int:
        """How many rows before t the feature at row t looks back."""
        return self.lag + (self.window - 1 if self.measure is Measure.MOVING_AVERAGE else self.window)


_TARGET = re.compile(r"(fwd_ret|fwd_up)_([1-9][0-9]{0,5})d")
_FEATURE = re.compile(
    r"(?P<rank>rank_)?(?:lag_(?P<lag>[1-9][0-9]{0,5})_)?"
    r"(?:(?P<measure>ret|mom|vol|sma)_(?P<window>[1-9][0-9]{0,5})d|col_(?P<column>[A-Za-z0-9_.]{1,100}))"
)
_KINDS = {"fwd_ret": TargetKind.REGRESSION, "fwd_up": TargetKind.CLASSIFICATION}
_SHORTEST = {
    Measure.RETURN: 1,
    Measure.MOMENTUM: MOMENTUM_SKIP + 1,
    Measure.VOLATILITY: 2,
    Measure.MOVING_AVERAGE: 2,
}


def parse_target(name: str) -> Target:
    """The target that `name` stands for.

    Raises:
        UsageError: there is no such target; the error lists the forms that there are.
    """
    match = _TARGET.fullmatch(name)
    if match is None:
        raise UsageError(f"There is no target {name[:60]!a}", hint=f"Targets are {', '.join(TARGET_FORMS)}.")
    horizon = _bounded(int(match[2]), name, 1)
    return Target(name=name, kind=_KINDS[match[1]], horizon=horizon)


def parse_feature(name: str) -> Feature:
    """The feature that `name` stands for.

    Raises:
        UsageError: there is no such feature; the error lists the forms that there are.
    """
    match = _FEATURE.fullmatch(name)
    if match is None:
        swapped = re.fullmatch(r"(lag_[0-9]+_)(rank_)(.+)", name)
        meant = f"Write {swapped[2]}{swapped[1]}{swapped[3]}: the rank goes first. " if swapped else ""
        hint = f"{meant}Features are {', '.join(FEATURE_FORMS)}, in the order rank, lag, measure."
        raise UsageError(f"There is no feature {name[:60]!a}", hint=hint)
    lag = _bounded(int(match["lag"]), name, 1) if match["lag"] else 0
    ranked = match["rank"] is not None
    if match["column"]:
        return Feature(name=name, measure=Measure.COLUMN, column=match["column"], lag=lag, rank=ranked)
    measure = Measure(match["measure"])
    window = _bounded(int(match["window"]), name, _SHORTEST[measure])
    return Feature(name=name, measure=measure, window=window, lag=lag, rank=ranked)


def parse_targets(names: Iterable[str]) -> tuple[Target, ...]:
    """The targets of an experiment, in its order."""
    return tuple(parse_target(name) for name in names)


def parse_features(names: Iterable[str]) -> tuple[Feature, ...]:
    """The features of an experiment, in its order: the order of a design matrix's columns."""
    return tuple(parse_feature(name) for name in names)


def _bounded(length: int, name: str, shortest: int) -> int:
    if not shortest <= length <= MAX_LENGTH:
        raise UsageError(f"{name} asks for {length} rows", hint=f"It takes from {shortest} to {MAX_LENGTH}.")
    return length
