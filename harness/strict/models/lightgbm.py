"""LightGBM through its training API: the same trees for every number of threads.

`deterministic` and `force_col_wise` together do it: row-wise histograms split their work by the number of threads
(LightGBM, include/LightGBM/train_share_states.h). LightGBM's own metrics are sums over threads and differ from run to
run at three threads or more, so none is computed: metrics come from predictions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from harness.errors import ToolError, UsageError
from harness.record.files import write_atomically
from harness.spec.columns import TargetKind
from harness.strict.models.interface import Floats, Settings, check_features, check_rows, probabilities
from harness.strict.models.parameters import Parameters, integer

_SEEDS = (
    "bagging_seed", "data_random_seed", "drop_seed", "extra_seed", "feature_fraction_seed", "objective_seed",
)  # fmt: skip
_FILES_AND_MACHINES = (
    "config", "convert_model", "data", "forcedbins_filename", "forcedsplits_filename", "initscore_filename",
    "input_model", "machine_list_filename", "machines", "num_machines", "output_model", "output_result",
    "parser_config_file", "save_binary", "snapshot_freq", "task", "time_out", "valid",
)  # fmt: skip
_THREAD_DEPENDENT = ("linear_tree", "use_quantized_grad")
_CLASSIFYING = ("binary", "cross_entropy", "cross_entropy_lambda", "xentropy", "xentlambda")
_NOT_FOR_ONE_NUMBER = ("multiclass", "multiclassova", "softmax", "multiclass_ova", "ova", "ovr", "lambdarank",
                       "rank_xendcg", "xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart", "custom", "none")  # fmt: skip


class LightGBM:
    """Gradient-boosted trees. Hyperparameters are LightGBM's, under any of its aliases."""

    imports = ("lightgbm",)
    thread_invariant = True
    unsigned = frozenset(
        {"seed", "random_seed", "random_state", "data_seed", "bagging_fraction_seed", *_SEEDS,
         "num_threads", "num_thread", "nthread", "nthreads", "n_jobs"}
    )  # fmt: skip

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        parameters = Parameters("lightgbm", config, _aliases())
        parameters.refuse(_FILES_AND_MACHINES, "it reads or writes files, or talks to machines", "Leave it out.")
        parameters.refuse(
            ("early_stopping_round",), "the folds have no rows to stop on", "Set num_iterations to what it found."
        )
        parameters.drop(("metric", "is_provide_training_metric"), "metrics are computed from predictions")
        _objective(parameters, settings.kind)
        parameters.drop(_SEEDS, "every seed follows from the run's")
        parameters.drop(("seed",), "the seed is the run's")
        parameters.default("seed", settings.seed)
        parameters.default("verbosity", -1)
        if settings.threads is not None:
            parameters.force("num_threads", settings.threads, "threads_per_fit decides")
        if settings.strict:
            _pin(parameters, settings)
        self._rounds = integer("lightgbm", "num_iterations", parameters.pop("num_iterations", 100), least=1)
        self._parameters = {**parameters.values(), "metric": "none"}
        self._settings = settings
        self.overrides = tuple(parameters.overrides)
        self._booster: Any = None

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row (see `Estimator.fit`).

        Raises:
            UsageError: the rows cannot be learnt from, or LightGBM refuses a hyperparameter's value.
        """
        import lightgbm

        check_rows(features, target, sample_weight, self._settings.kind)
        data = lightgbm.Dataset(np.asarray(features), np.asarray(target), weight=sample_weight)
        try:
            self._booster = lightgbm.train(dict(self._parameters), data, num_boost_round=self._rounds)
        except lightgbm.basic.LightGBMError as error:
            raise UsageError(
                f"LightGBM refuses to train: {error}", hint="Check the family's hyperparameters."
            ) from error
        return self

    def predict(self, features: Floats) -> Floats:
        """The value, or the probability of class 1."""
        check_features(features, self._booster.num_feature())
        threads = {} if self._settings.threads is None else {"num_threads": self._settings.threads}
        return np.asarray(self._booster.predict(np.asarray(features), **threads), dtype=np.float64)

    def predict_proba(self, features: Floats) -> Floats:
        """(rows, 2)."""
        return probabilities(self._settings.kind, self.predict(features))

    def feature_importances(self) -> Floats:
        """The gain of all splits on each column."""
        return np.asarray(self._booster.feature_importance(importance_type="gain"), dtype=np.float64)

    def canonical(self) -> bytes:
        """LightGBM's text without its parameters, which hold seeds, threads and paths; its numbers are exact (%.17g).

        Raises:
            ToolError: the text is not as this LightGBM's should be.
        """
        trees, begin, rest = self._booster.model_to_string().partition("\nparameters:\n")
        _, end, _ = rest.partition("\nend of parameters\n")
        if not begin or not end:
            raise ToolError("LightGBM's model text has no parameters section", hint="Its format has changed.")
        return str(trees).encode()

    def save(self, folder: Path, name: str = "model") -> Path:
        """LightGBM's own text file, `name.txt`."""
        path = folder / f"{name}.txt"
        write_atomically(path, self._booster.model_to_string().encode())
        return path


def _aliases() -> dict[str, str]:
    """Every spelling that the installed LightGBM knows, to the name proper."""
    from lightgbm.basic import _ConfigAliases

    known: dict[str, list[str]] = _ConfigAliases._get_all_param_aliases()
    return {spelling: name for name, spellings in known.items() for spelling in {name, *spellings}}


def _objective(parameters: Parameters, kind: TargetKind) -> None:
    default = "binary" if kind is TargetKind.CLASSIFICATION else "regression"
    parameters.default("objective", default)
    objective = parameters.get("objective")
    classifies = objective in _CLASSIFYING
    if objective in _NOT_FOR_ONE_NUMBER or classifies is not (kind is TargetKind.CLASSIFICATION):
        raise UsageError(f"lightgbm: objective={objective!r} is not for {kind}", hint=f"The default is {default}.")


def _pin(parameters: Parameters, settings: Settings) -> None:
    """What strict adds."""
    device = str(parameters.get("device_type", "cpu")).lower()
    if device != "cpu" and settings.gpu_trees:
        raise UsageError(
            f"lightgbm: device_type={device!r} is refused: its GPU trainers add up in no fixed order (atomicAdd)",
            hint="Train it on the CPU, or in mode best_effort.",
        )
    parameters.force("device_type", "cpu", "LightGBM's GPU trainers do not repeat")
    if parameters.get("tree_learner", "serial") != "serial":
        parameters.force("tree_learner", "serial", "a fit runs in one process")
    if (settings.threads or 1) > 1:
        parameters.refuse(
            _THREAD_DEPENDENT, "its result depends on the number of threads", "Set threading.threads_per_fit to 1."
        )
    parameters.force("deterministic", True, "sums must not depend on the number of threads")
    parameters.force("force_col_wise", True, "row-wise histograms depend on the number of threads")
    parameters.drop(("force_row_wise",), "row-wise histograms depend on the number of threads")
