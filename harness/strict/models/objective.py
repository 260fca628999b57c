"""A boosting objective from a user's own module: `custom_objective: "module:function"`.

`function(predictions, target)` gives the gradient and the hessian of each row's loss, (rows,) each; `predictions` are
raw scores (for a classification the log odds), all are float64. Weights of rows are multiplied on afterwards.
"""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.errors import HarnessError, UsageError
from harness.strict.models.interface import Floats
from harness.strict.models.plugin import LIBRARIES_KEY, find_callable

KEY = "custom_objective"
KEYS = (KEY, LIBRARIES_KEY)

Objective = Callable[[Floats, Floats, Floats | None], tuple[Floats, Floats]]


def take_objective(library: str, config: dict[str, Any]) -> Objective | None:
    """Take the objective out of `config`: a function of predictions, target and weight; null where none is named.

    Raises:
        UsageError: it cannot be imported, or an objective of the library's own is asked for beside it.
    """
    place = config.pop(KEY, None)
    if place is None:
        if LIBRARIES_KEY in config:
            raise UsageError(f"{library}: {LIBRARIES_KEY} is given without {KEY}", hint="Leave it out.")
        return None
    config.pop(LIBRARIES_KEY, None)
    return _Checked(str(place), find_callable(place, KEY, "function(predictions, target)"))


def has_objective(config: Mapping[str, Any]) -> bool:
    """Whether a user's code is a part of the fit, of which nothing is known."""
    return config.get(KEY) is not None


def logistic(score: Floats) -> Floats:
    """The probability of class 1 from log odds (rows,)."""
    tail = np.exp(-np.abs(score))
    return np.where(score >= 0, 1.0, tail) / (1.0 + tail)


class _Checked:
    """Calls the user's function, and refuses what no library should be given."""

    def __init__(self, place: str, function: Callable[..., Any]) -> None:
        self._place = place
        self._function = function

    def __call__(self, predictions: Floats, target: Floats, weight: Floats | None) -> tuple[Floats, Floats]:
        raw, truth = (np.array(values, dtype=np.float64) for values in (predictions, target))
        try:
            gradient, hessian = (np.asarray(part, dtype=np.float64) for part in self._function(raw, truth))
        except HarnessError:
            raise
        except Exception as error:
            traceback.print_exc()
            raise UsageError(
                f"{KEY}: {self._place} failed: {error}",
                hint="Its traceback is in the run's log; it gets (predictions, target), and gives (gradient, hessian).",
            ) from error
        for name, part in (("gradient", gradient), ("hessian", hessian)):
            if part.shape != truth.shape or not np.isfinite(part).all():
                raise UsageError(
                    f"{KEY}: the {name} of {self._place} is of the shape {part.shape} or not finite",
                    hint=f"It must be {len(truth)} numbers.",
                )
        return (gradient, hessian) if weight is None else (gradient * weight, hessian * weight)
