"""Linear models with an L2 penalty, in NumPy alone: ridge regression, and logistic regression by Newton's method."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np

from harness.errors import UsageError
from harness.record.canonical import canonical_json
from harness.record.files import write_atomically
from harness.spec.columns import TargetKind
from harness.strict.models.interface import Floats, Settings, check_features, check_rows, probabilities
from harness.strict.models.objective import logistic
from harness.strict.models.parameters import Parameters, integer, number
from harness.strict.models.scaling import Scaling

_ALIASES = {"alpha": "alpha", "max_iterations": "max_iterations", "n_jobs": "threads", "random_state": "seed"}
_SMALLEST_STEP = 1e-10


class Ridge:
    """Minimises the mean loss over rows plus `alpha` / rows times the squared coefficients of standardised columns.

    Hyperparameters: `alpha` (default 1), `max_iterations` of Newton's method (default 25; classification only).
    """

    imports = ("numpy",)
    thread_invariant = False
    segmented = False
    unsigned = frozenset({"n_jobs", "random_state"})

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        parameters = Parameters("ridge", config, _ALIASES)
        parameters.drop(("threads",), "threads_per_fit decides")
        parameters.drop(("seed",), "nothing in it is random")
        self._alpha = number("ridge", "alpha", parameters.get("alpha", 1.0), least=0.0)
        self._max_iterations = integer("ridge", "max_iterations", parameters.get("max_iterations", 25), least=1)
        self._settings = settings
        self.overrides = tuple(parameters.overrides)
        self._scaling: Scaling
        self._weights: Floats

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row (see `Estimator.fit`).

        Raises:
            UsageError: the rows cannot be learnt from, or Newton's method does not converge.
        """
        check_rows(features, target, sample_weight, self._settings.kind)
        weight = np.ones(len(target)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        with _threads(self._settings.threads):
            self._scaling = Scaling.of(features)
            design = np.column_stack([self._scaling.apply(features), np.ones(len(features))])
            penalty = np.full(design.shape[1], self._alpha)
            penalty[-1] = 0.0
            if self._settings.kind is TargetKind.REGRESSION:
                self._weights = _solve(design, target, weight, penalty)
            else:
                self._weights = self._newton(design, target, weight, penalty)
        return self

    def predict(self, features: Floats) -> Floats:
        """The value, or the probability of class 1."""
        check_features(features, len(self._weights) - 1)
        with _threads(self._settings.threads):
            score = self._scaling.apply(features) @ self._weights[:-1] + self._weights[-1]
        return score if self._settings.kind is TargetKind.REGRESSION else logistic(score)

    def predict_proba(self, features: Floats) -> Floats:
        """(rows, 2)."""
        return probabilities(self._settings.kind, self.predict(features))

    def feature_importances(self) -> Floats:
        """The absolute coefficients of the standardised columns."""
        return np.abs(self._weights[:-1])

    def canonical(self) -> bytes:
        """The coefficients, the intercept and the scaling, exactly."""
        return canonical_json(
            {
                "weights": self._weights.tolist(),
                "center": self._scaling.center.tolist(),
                "scale": self._scaling.scale.tolist(),
            }
        )

    def save(self, folder: Path, name: str = "model") -> Path:
        """The canonical form, `name.json`."""
        path = folder / f"{name}.json"
        write_atomically(path, self.canonical())
        return path

    def _newton(self, design: Floats, target: Floats, weight: Floats, penalty: Floats) -> Floats:
        weights = np.zeros(design.shape[1])
        for _ in range(self._max_iterations):
            positive = logistic(design @ weights)
            curvature = weight * np.maximum(positive * (1.0 - positive), 1e-12)
            gradient = design.T @ (weight * (positive - target)) + penalty * weights
            step = _solve_positive((design.T * curvature) @ design + np.diag(penalty), gradient)
            weights = weights - step
            if np.max(np.abs(step)) < _SMALLEST_STEP:
                return weights
        raise UsageError(
            f"ridge: Newton's method has not converged after {self._max_iterations} iterations",
            hint="Raise alpha or max_iterations.",
        )


def _solve(design: Floats, target: Floats, weight: Floats, penalty: Floats) -> Floats:
    weighted = design.T * weight
    return _solve_positive(weighted @ design + np.diag(penalty), weighted @ target)


def _solve_positive(matrix: Floats, vector: Floats) -> Floats:
    """The solution, or the smallest least-squares solution where columns are linear in each other and alpha is 0."""
    try:
        np.linalg.cholesky(matrix)
        return np.asarray(np.linalg.solve(matrix, vector), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, vector)[0], dtype=np.float64)


def _threads(count: int | None) -> AbstractContextManager[Any]:
    if count is None:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(count, user_api="blas")
    return limits
