"""XGBoost through its core API: trees on the CPU, the same for a seed and a number of threads.

Each thread adds up a histogram of its own, in float64, and these are added up after: another number of threads shows
only where that passes float32's rounding, which is rare and was seen (docs/threads.md).

Parameters: https://xgboost.readthedocs.io/en/stable/parameter.html
"""

import json
import re
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from harness.errors import UsageError
from harness.record.files import write_atomically
from harness.spec.columns import TargetKind
from harness.strict.models.interface import Floats, Settings, check_features, check_rows, probabilities
from harness.strict.models.objective import KEY as CUSTOM
from harness.strict.models.objective import Objective, logistic, take_objective
from harness.strict.models.parameters import Parameters, integer
from harness.strict.models.rows import Rows, hold_out
from harness.strict.models.segments import Segments, facts_of
from harness.strict.models.stopping import NAMES as STOPPING_NAMES
from harness.strict.models.stopping import Watch, take_stopping

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
    # What XGBoost takes beside its parameters, and what is our own.
    "enable_categorical", "feature_types", *STOPPING_NAMES,
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
    thread_invariant = False
    segmented = True
    unsigned = frozenset({"seed", "random_state", "nthread", "n_jobs"})

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        own = dict(config)
        self._objective = take_objective("xgboost", own)
        parameters = Parameters("xgboost", own, _ALIASES)
        if parameters.get("process_type", "default") != "default":
            parameters.refuse(("process_type",), "a fit starts from nothing", "Leave it out.")
        parameters.drop(("eval_metric",), "metrics are computed from predictions")
        self._stopping = take_stopping(parameters, "early_stopping_rounds", settings.kind)
        _choose_objective(parameters, settings.kind, self._objective)
        parameters.drop(("seed",), "the seed is the run's")
        parameters.default("seed", settings.seed)
        parameters.default("verbosity", 1)
        if settings.threads is not None:
            parameters.force("nthread", settings.threads, "threads_per_fit decides")
        if settings.strict:
            _pin(parameters, settings)
        if self._stopping is not None and parameters.get("booster", "gbtree") != "gbtree":
            parameters.refuse(("booster",), "its later rounds change earlier ones", "Leave early stopping out.")
        self._rounds = integer("xgboost", "num_boost_round", parameters.pop("num_boost_round", 100), least=1)
        self._types = _take_types(parameters)
        self._parameters = {**parameters.values(), "disable_default_eval_metric": True}
        self._linear = self._parameters.get("booster") == "gblinear"
        self._settings = settings
        self._facts = facts_of("xgboost", config, self.unsigned)
        self.overrides = tuple(parameters.overrides)
        self._booster: Any = None

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row, but for those held out where early stopping is asked for (see `Estimator.fit`).

        Raises:
            UsageError: the rows cannot be learnt from, or XGBoost refuses or ignores a hyperparameter.
            IncomparableError: the checkpoint is of another fit.
            IntegrityError: the newest checkpoint is damaged.
        """
        import xgboost

        check_rows(features, target, sample_weight, self._settings.kind)
        if self._types is not None and len(self._types) != features.shape[1]:
            raise UsageError(
                f"xgboost: feature_types has {len(self._types)} entries for {features.shape[1]} columns",
                hint="Give one for each feature, in their order.",
            )
        rows = Rows(np.asarray(features), np.asarray(target), sample_weight)
        facts = {**self._facts, "version": xgboost.__version__, "threads": self._settings.threads}
        segments = Segments(self._settings, self._rounds, facts, rows)
        try:
            # Recorded, not turned into errors: they come out of a callback from C, which swallows what is raised in it.
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                self._booster = self._boost(rows, segments)
        except xgboost.core.XGBoostError as error:
            reason = " ".join(str(error).split("Stack trace")[0].split())
            hint = "Check the family's hyperparameters."
            raise UsageError(f"XGBoost refuses to train: {reason}", hint=hint) from error
        self._judge([str(warning.message) for warning in said])
        return self

    def _boost(self, rows: Rows, segments: Segments) -> Any:
        """The booster after all segments, cut off at the best round where there is early stopping."""
        done, state = segments.resume()
        saved = None if state is None else state["model"]
        trained, watch, held_out = rows, None, None
        if self._stopping is not None:
            trained, kept = hold_out(rows, self._stopping.fraction, self._settings.timeline)
            check_rows(*trained, self._settings.kind)
            watch = Watch(self._stopping, kept.target, kept.weight, state and state["watch"])
            held_out = self._matrix(kept.features)
        data = self._matrix(trained.features, trained)
        booster = self._made([data], self._settings.seed, saved)
        for seed, first, end in segments.spans(done):
            if watch is not None and watch.stops:
                break
            cache = [data] if held_out is None else [data, held_out]
            booster = self._made(cache, seed, saved)
            self._run(booster, data, range(first, end), trained, None if watch is None else (watch, held_out))
            if segments.segmented:
                saved = bytes(booster.save_raw("ubj"))
                booster = self._made([data], seed, saved)
            segments.save(end, partial(dict, model=saved), watch)
        return booster if watch is None else booster[: watch.best()]

    def _run(self, booster: Any, data: Any, rounds: range, rows: Rows, watched: tuple[Watch, Any] | None) -> None:
        """Boost for `rounds`, or until it is time to stop."""
        custom = self._objective
        objective = None if custom is None else lambda scores, _: custom(scores, rows.target, rows.weight)
        for number in rounds:
            booster.update(data, number, objective)
            if watched is not None:
                watch, held_out = watched
                watch.see(number + 1, self._link(booster.predict(held_out)))
                if watch.stops:
                    return

    def _made(self, cache: list[Any], seed: int, saved: bytes | None) -> Any:
        import xgboost

        parameters = {**self._parameters, "seed": seed}
        return xgboost.Booster(parameters, cache, model_file=None if saved is None else bytearray(saved))

    def _matrix(self, features: Floats, rows: Rows | None = None) -> Any:
        import xgboost

        return xgboost.DMatrix(
            np.asarray(features),
            None if rows is None else rows.target,
            weight=None if rows is None else rows.weight,
            feature_types=self._types,
            enable_categorical=self._types is not None,
            nthread=self._settings.threads,
        )

    def _link(self, scores: Any) -> Floats:
        """What XGBoost's predictions are to be, in float64: with an objective of the user's they are raw scores."""
        raw = self._objective is not None and self._settings.kind is TargetKind.CLASSIFICATION
        values = np.asarray(scores, dtype=np.float64)
        return logistic(values) if raw else values

    def _judge(self, messages: list[str]) -> None:
        """Refuse in strict what XGBoost only warned of: hyperparameters that it did not use."""
        for message in messages:
            unused = re.search(r"Parameters: \{ (.*) \} are not used", message)
            if unused and self._settings.strict:
                raise UsageError(f"XGBoost does not use {unused[1]} with these settings", hint="Leave it out.")
            sys.stderr.write(f"{message.strip()}\n")

    def predict(self, features: Floats) -> Floats:
        """The value, or the probability of class 1; XGBoost computes it in float32."""
        check_features(features, self._booster.num_features())
        return self._link(self._booster.predict(self._matrix(features)))

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


def _choose_objective(parameters: Parameters, kind: TargetKind, custom: Objective | None) -> None:
    if custom is not None:
        parameters.refuse(("objective",), f"{CUSTOM} is the objective", "Keep one.")
        parameters.default("base_score", 0.0)
        return
    classification = kind is TargetKind.CLASSIFICATION
    default = "binary:logistic" if classification else "reg:squarederror"
    parameters.default("objective", default)
    objective = str(parameters.get("objective"))
    allowed = objective in ("binary:logistic", "reg:logistic") if classification else _is_regression(objective)
    if not allowed:
        raise UsageError(f"xgboost: objective={objective!r} is not for {kind}", hint=f"The default is {default}.")


def _take_types(parameters: Parameters) -> list[str] | None:
    """Each column's type (`q`, `int`, `float`, `i`, or `c` for a category); null where all are quantities."""
    enabled, types = parameters.pop("enable_categorical"), parameters.pop("feature_types")
    if types is None:
        if enabled:
            raise UsageError("xgboost: enable_categorical says not which columns", hint="Set feature_types: [q, c, …].")
        return None
    if not isinstance(types, list | tuple) or not all(kind in ("q", "int", "float", "i", "c") for kind in types):
        raise UsageError(f"xgboost: feature_types is {types!r}", hint="It must be a list of q, int, float, i or c.")
    if "c" in types and not enabled:
        raise UsageError("xgboost: feature_types has categories", hint="Set enable_categorical: true too.")
    return list(types)


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
