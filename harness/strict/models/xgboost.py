"""XGBoost through its core API: trees on the CPU, the same for every number of threads.

Parameters: https://xgboost.readthedocs.io/en/stable/parameter.html
"""

import json
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from harness.errors import UsageError
from harness.record.files import write_atomically
from harness.spec.columns import TargetKind
from harness.strict.models.interface import Floats, Settings, check_features, check_rows, probabilities
from harness.strict.models.parameters import Parameters, integer

# XGBoost only warns of a name that it doesn't know, and has no call that lists those it does.
_NAMES = (
    "alpha", "base_score", "booster", "colsample_bylevel", "colsample_bynode", "colsample_bytree", "device",
    "disable_default_eval_metric", "early_stopping_rounds", "eta", "eval_metric", "feature_selector", "gamma",
    "grow_policy", "huber_slope", "interaction_constraints", "lambda", "max_bin", "max_cached_hist_node",
    "max_cat_threshold", "max_cat_to_onehot", "max_delta_step", "max_depth", "max_leaves", "min_child_weight",
    "monotone_constraints", "normalize_type", "nthread", "num_boost_round", "num_parallel_tree", "objective",
    "one_drop", "process_type", "quantile_alpha", "rate_drop", "refresh_leaf", "sample_type", "sampling_method",
    "scale_pos_weight", "seed", "seed_per_iteration", "skip_drop", "subsample", "top_k", "tree_method",
    "tweedie_variance_power", "updater", "validate_parameters", "verbosity",
)  # fmt: skip
_ALIASES = {
    **{name: name for name in _NAMES},
    "learning_rate": "eta",
    "min_split_loss": "gamma",
    "n_estimators": "num_boost_round",
    "n_jobs": "nthread",
    "random_state": "seed",
    "reg_alpha": "alpha",
    "reg_lambda": "lambda",
}
_REPEATING_UPDATERS = ("coord_descent",)


class XGBoost:
    """Gradient-boosted trees. Hyperparameters are XGBoost's, in the spelling of its core or scikit-learn API."""

    imports = ("xgboost",)
    thread_invariant = True
    unsigned = frozenset({"seed", "random_state", "nthread", "n_jobs"})

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        parameters = Parameters("xgboost", config, _ALIASES)
        parameters.refuse(
            ("early_stopping_rounds",), "the folds have no rows to stop on", "Set num_boost_round to what it found."
        )
        if parameters.get("process_type", "default") != "default":
            parameters.refuse(("process_type",), "a fit starts from nothing", "Leave it out.")
        parameters.drop(("eval_metric",), "metrics are computed from predictions")
        _objective(parameters, settings.kind)
        parameters.drop(("seed",), "the seed is the run's")
        parameters.default("seed", settings.seed)
        parameters.default("verbosity", 1)
        if settings.threads is not None:
            parameters.force("nthread", settings.threads, "threads_per_fit decides")
        if settings.strict:
            _pin(parameters, settings)
        self._rounds = integer("xgboost", "num_boost_round", parameters.pop("num_boost_round", 100), least=1)
        self._parameters = {**parameters.values(), "disable_default_eval_metric": True}
        self._linear = self._parameters.get("booster") == "gblinear"
        self._settings = settings
        self.overrides = tuple(parameters.overrides)
        self._booster: Any = None

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row (see `Estimator.fit`).

        Raises:
            UsageError: the rows cannot be learnt from, or XGBoost refuses or ignores a hyperparameter.
        """
        import xgboost

        check_rows(features, target, sample_weight, self._settings.kind)
        data = xgboost.DMatrix(
            np.asarray(features), np.asarray(target), weight=sample_weight, nthread=self._settings.threads
        )
        try:
            # Recorded, not turned into errors: they come out of a callback from C, which swallows what is raised in it.
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                self._booster = xgboost.train(dict(self._parameters), data, num_boost_round=self._rounds)
        except xgboost.core.XGBoostError as error:
            reason = " ".join(str(error).split("Stack trace")[0].split())
            hint = "Check the family's hyperparameters."
            raise UsageError(f"XGBoost refuses to train: {reason}", hint=hint) from error
        self._judge([str(warning.message) for warning in said])
        return self

    def _judge(self, messages: list[str]) -> None:
        """Refuse in strict what XGBoost only warned of: hyperparameters that it did not use."""
        for message in messages:
            unused = re.search(r"Parameters: \{ (.*) \} are not used", message)
            if unused and self._settings.strict:
                raise UsageError(f"XGBoost does not use {unused[1]} with these settings", hint="Leave it out.")
            sys.stderr.write(f"{message.strip()}\n")

    def predict(self, features: Floats) -> Floats:
        """The value, or the probability of class 1; XGBoost computes it in float32."""
        import xgboost

        check_features(features, self._booster.num_features())
        data = xgboost.DMatrix(np.asarray(features), nthread=self._settings.threads)
        return np.asarray(self._booster.predict(data), dtype=np.float64)

    def predict_proba(self, features: Floats) -> Floats:
        """(rows, 2)."""
        return probabilities(self._settings.kind, self.predict(features))

    def feature_importances(self) -> Floats:
        """The gain of all splits on each column; for a linear booster the absolute weights."""
        scores = self._booster.get_score(importance_type="weight" if self._linear else "total_gain")
        columns = range(self._booster.num_features())
        return np.abs(np.array([scores.get(f"f{column}", 0.0) for column in columns], dtype=np.float64))

    def canonical(self) -> bytes:
        """XGBoost's JSON with sorted keys and no library version; its numbers are exact (shortest float32)."""
        model = json.loads(bytes(self._booster.save_raw("json")))
        del model["version"]
        return json.dumps(model, sort_keys=True, separators=(",", ":")).encode()

    def save(self, folder: Path, name: str = "model") -> Path:
        """XGBoost's own binary JSON, `name.ubj`."""
        path = folder / f"{name}.ubj"
        write_atomically(path, bytes(self._booster.save_raw("ubj")))
        return path


def _objective(parameters: Parameters, kind: TargetKind) -> None:
    classification = kind is TargetKind.CLASSIFICATION
    default = "binary:logistic" if classification else "reg:squarederror"
    parameters.default("objective", default)
    objective = str(parameters.get("objective"))
    allowed = objective in ("binary:logistic", "reg:logistic") if classification else _is_regression(objective)
    if not allowed:
        raise UsageError(f"xgboost: objective={objective!r} is not for {kind}", hint=f"The default is {default}.")


def _is_regression(objective: str) -> bool:
    return objective.startswith(("reg:", "count:")) and objective != "reg:logistic"


def _pin(parameters: Parameters, settings: Settings) -> None:
    """What strict adds."""
    if parameters.get("tree_method") == "gpu_hist":
        parameters.force("tree_method", "hist", "it is chosen by device")
        parameters.default("device", "cuda")
    if not settings.gpu_trees:
        parameters.force("device", "cpu", "strict.disable_gpu_tree_models")
    parameters.default("tree_method", "hist")
    updater = parameters.get("updater")
    if parameters.get("booster", "gbtree") == "gblinear":
        parameters.pop("tree_method")
        if updater not in _REPEATING_UPDATERS:
            raise UsageError(
                f"xgboost: booster='gblinear' with updater={updater or 'shotgun'!r} is refused: its threads race",
                hint="Set updater: coord_descent.",
            )
    elif updater is not None and "shotgun" in str(updater):
        parameters.refuse(("updater",), "its threads race", "Set updater: coord_descent, or leave it out.")
    parameters.force("validate_parameters", True, "an unused hyperparameter must not be ignored")
    parameters.force("verbosity", 1, "an unused hyperparameter must not be ignored")
