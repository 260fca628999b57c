"""What every estimator can do, whatever library it comes from, and how it is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import numpy as np

from harness.errors import UsageError
from harness.spec.columns import TargetKind
from harness.strict.checkpoints import Checkpoints
from harness.strict.models.rows import Floats as Floats
from harness.strict.models.rows import Timeline


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How an estimator is made, beside its hyperparameters.

    `threads` is the number of threads of one reduction; null leaves it to the library (`best_effort` only). `gpu_trees`
    allows a GPU to the tree libraries that repeat on one. `timeline` says when the rows are that a fit gets: early
    stopping holds out the last of them. A fit is made in segments of `checkpoint_every` rounds (a network's epochs),
    with a checkpoint after each where there are `checkpoints`.
    """

    seed: int
    kind: TargetKind
    threads: int | None = 1
    strict: bool = True
    gpu_trees: bool = False
    timeline: Timeline | None = None
    checkpoints: Checkpoints | None = None
    checkpoint_every: int | None = None


class Estimator(Protocol):
    """One model, before and after its fit.

    `features` is (rows, columns), `target` (rows,): numbers, or 0 and 1 for classification; all are float64.
    """

    @property
    def overrides(self) -> tuple[str, ...]:
        """What determinism overrode of the caller's hyperparameters, a sentence each."""

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row. `sample_weight` is (rows,)."""

    def predict(self, features: Floats) -> Floats:
        """(rows,): the value for regression, the probability of class 1 for classification."""

    def predict_proba(self, features: Floats) -> Floats:
        """(rows, 2): the probabilities of the classes 0 and 1.

        Raises:
            UsageError: the estimator is for regression.
        """

    def feature_importances(self) -> Floats:
        """(columns,): how much each column counts, not negative; what it measures is the library's own."""

    def canonical(self) -> bytes:
        """The fitted model without time stamps, paths, thread counts and library versions: equal bytes, equal model."""

    def save(self, folder: Path, name: str = "model") -> Path:
        """Write the library's own model file as `name` with the library's suffix into `folder`; the file's path."""


class ModelClass(Protocol):
    """What is known of a library before a model is made; all but `__call__` import nothing."""

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that a fit needs."""

    @property
    def thread_invariant(self) -> bool:
        """Whether, in strict mode, any number of threads was shown to give the same bits."""

    @property
    def segmented(self) -> bool:
        """Whether `checkpoint_every` changes bits: a boosting library starts each segment with another seed."""

    @property
    def unsigned(self) -> frozenset[str]:
        """The hyperparameters that enter no signature: seeds and thread counts."""

    def __call__(self, config: Mapping[str, Any], settings: Settings) -> Estimator:
        """The model, not fitted yet.

        Raises:
            UsageError: a hyperparameter is unknown or cannot be had.
        """


def check_rows(features: Floats, target: Floats, sample_weight: Floats | None, kind: TargetKind) -> None:
    """Refuse training rows that no model can learn from.

    Raises:
        UsageError: shapes don't fit together, there are no rows, something is not finite, or a classification target
            is not 0 and 1 with both present.
    """
    if features.ndim != 2 or target.shape != (len(features),):
        raise UsageError(
            f"features {features.shape} and target {target.shape} don't fit together",
            hint="Features are (rows, columns), the target is (rows,).",
        )
    if sample_weight is not None and sample_weight.shape != target.shape:
        raise UsageError(
            f"sample_weight {sample_weight.shape} doesn't fit the target {target.shape}", hint="Give a weight a row."
        )
    if 0 in features.shape:
        raise UsageError(
            f"There is nothing to train on: the features are {features.shape[0]} x {features.shape[1]}",
            hint="Ask for more dates or other features, or give the folds more rows.",
        )
    if not np.isfinite(target).all():
        raise UsageError("The target holds NaN or infinity", hint="Drop those rows.")
    if np.isinf(features).any():
        raise UsageError("The features hold infinity", hint="Drop those rows, or clip the values.")
    if kind is TargetKind.CLASSIFICATION:
        classes = np.unique(target)
        if not np.isin(classes, (0.0, 1.0)).all():
            raise UsageError(f"The classes are {classes[:5].tolist()}", hint="Classes must be 0 and 1.")
        if len(classes) < 2:
            raise UsageError(
                f"All {len(target)} training rows are of class {classes[0]:.0f}", hint="Give the folds more rows."
            )


def check_features(features: Floats, columns: int) -> None:
    """Refuse rows with another number of columns than the model was fitted to.

    Raises:
        UsageError: the number of columns differs.
    """
    if features.ndim != 2 or features.shape[1] != columns:
        raise UsageError(
            f"features {features.shape} don't fit a model of {columns} columns",
            hint="Give the columns that it was fitted to, in the same order.",
        )


def probabilities(kind: TargetKind, positive: Floats) -> Floats:
    """(rows, 2) from the probability of class 1.

    Raises:
        UsageError: `kind` is regression.
    """
    if kind is not TargetKind.CLASSIFICATION:
        raise UsageError("A regression model has no probabilities", hint="Use predict.")
    return np.column_stack([1.0 - positive, positive])
