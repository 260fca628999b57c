"""Early stopping from predictions: the loss of rows that were held out, summed in one fixed way by code of our own.

A library's own metric is a sum over threads (LightGBM's differs from run to run at three threads or more), so a fit
that stopped on it could stop elsewhere each time. Here the losses of all rows are computed one by one in float64, and
their sum is `math.fsum`'s, rounded once: it depends on no order.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from harness.errors import UsageError
from harness.spec.columns import TargetKind
from harness.spec.documents import suggestion
from harness.strict.models.interface import Floats
from harness.strict.models.parameters import Parameters, number

FRACTION = "validation_fraction"
METRIC = "early_stopping_metric"
MIN_DELTA = "early_stopping_min_delta"
NAMES = (FRACTION, METRIC, MIN_DELTA)

_METRICS = {TargetKind.REGRESSION: ("rmse", "mae"), TargetKind.CLASSIFICATION: ("log_loss", "rmse", "mae")}
# Probabilities are clipped to [e, 1 - e] with float64's e, as scikit-learn's log_loss does.
_SMALLEST = float(np.finfo(np.float64).eps)


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """Stop where `metric` has not fallen by more than `min_delta` for `rounds` rounds (a network's epochs).

    `fraction` is the share of the training rows, the last ones, that is held out to tell.
    """

    rounds: int
    fraction: float
    metric: str
    min_delta: float


class Watch:
    """What a fit with early stopping remembers: the best round so far, counted from 1, and its loss."""

    def __init__(
        self, stopping: Stopping, target: Floats, weight: Floats | None, state: Mapping[str, Any] | None = None
    ) -> None:
        """`target` and `weight` (rows,) are those of the rows held out; `state` is where to go on."""
        self._stopping = stopping
        self._target = target
        self._weight = weight
        self.best_round: int = 0 if state is None else state["best_round"]
        self.best_loss: float = math.inf if state is None else state["best_loss"]
        self.last_round: int = 0 if state is None else state["last_round"]

    def see(self, round_number: int, predictions: Floats) -> bool:
        """Take in what the model predicts for the held-out rows (rows,) after a round; whether it is the best yet."""
        self.last_round = round_number
        loss = held_out_loss(self._stopping.metric, self._target, predictions, self._weight)
        better = loss < self.best_loss - self._stopping.min_delta
        if better:
            self.best_round, self.best_loss = round_number, loss
        return better

    @property
    def stops(self) -> bool:
        """Whether it has been long enough without a better round."""
        return self.last_round - self.best_round >= self._stopping.rounds

    def best(self) -> int:
        """The best round.

        Raises:
            UsageError: no round had a finite loss.
        """
        if not self.best_round:
            raise UsageError(
                f"No round predicted the {len(self._target)} held-out rows with a finite {self._stopping.metric}",
                hint="The model diverged: lower its learning rate, or look at the data.",
            )
        return self.best_round

    def state(self) -> dict[str, Any]:
        """What another needs to go on."""
        return {"best_round": self.best_round, "best_loss": self.best_loss, "last_round": self.last_round}


def take_stopping(parameters: Parameters, rounds_name: str, kind: TargetKind) -> Stopping | None:
    """Take the hyperparameters of early stopping out of `parameters`; null where none is asked for.

    `rounds_name` is the library's own name of the number of rounds without improvement.

    Raises:
        UsageError: a value makes no sense, or one is given that nothing would use.
    """
    library = parameters.library
    rounds = parameters.get(rounds_name)
    parameters.pop(rounds_name)
    given = {name: parameters.pop(name) for name in NAMES}
    # LightGBM's way to say "off"; in XGBoost it is null.
    if rounds is None or rounds is False or (isinstance(rounds, int) and not isinstance(rounds, bool) and rounds <= 0):
        if unused := [name for name, value in given.items() if value is not None]:
            raise UsageError(
                f"{library}: {unused[0]} is given, and nothing stops early", hint=f"Set {rounds_name}, or leave it out."
            )
        return None
    if not isinstance(rounds, int) or isinstance(rounds, bool):
        raise UsageError(f"{library}: {rounds_name} is {rounds!r}", hint="It must be a whole number of rounds.")
    fraction = number(library, FRACTION, _or(given[FRACTION], 0.1), above=0.0)
    if fraction >= 1:
        raise UsageError(f"{library}: {FRACTION} is {fraction!r}", hint="It must be below 1.")
    metric = _or(given[METRIC], _METRICS[kind][0])
    if metric not in _METRICS[kind]:
        raise UsageError(
            f"{library}: {METRIC} is {metric!r}, which {kind} has not", hint=suggestion(str(metric), _METRICS[kind])
        )
    min_delta = number(library, MIN_DELTA, _or(given[MIN_DELTA], 0.0), least=0.0)
    return Stopping(rounds=rounds, fraction=fraction, metric=metric, min_delta=min_delta)


def held_out_loss(metric: str, target: Floats, predictions: Floats, weight: Floats | None) -> float:
    """The weighted mean loss of `predictions` for `target` (rows,); infinite where it is beyond float64 or undefined.

    `rmse` is left squared: the order of two is the same.
    """
    with np.errstate(all="ignore"):
        if metric == "log_loss":
            clipped = np.clip(predictions, _SMALLEST, 1.0 - _SMALLEST)
            losses = -np.log(np.where(target == 1.0, clipped, 1.0 - clipped))
        else:
            errors = predictions - target
            losses = np.abs(errors) if metric == "mae" else errors * errors
        if weight is not None:
            losses = losses * weight
    if not np.isfinite(losses).all():
        return math.inf
    try:
        return math.fsum(losses.tolist()) / (len(losses) if weight is None else math.fsum(weight.tolist()))
    except (OverflowError, ZeroDivisionError):
        return math.inf


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
