"""LightGBM through its training API: the same trees for every number of threads.

`deterministic` and `force_col_wise` together do it: row-wise histograms split their work by the number of threads
(LightGBM, include/LightGBM/train_share_states.h). LightGBM's own metrics are sums over threads and differ from run to
run at three threads or more, so none is computed: metrics come from predictions.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from harness.errors import ToolError, UsageError
from harness.record.files import write_atomically
from harness.spec.columns import TargetKind
from harness.strict.models.interface import Floats, Settings, check_features, check_rows, probabilities
from harness.strict.models.objective import KEY as CUSTOM
from harness.strict.models.objective import Objective, logistic, take_objective
from harness.strict.models.parameters import Parameters, integer
from harness.strict.models.rows import Rows, hold_out
from harness.strict.models.segments import Segments, facts_of
from harness.strict.models.stopping import NAMES as STOPPING_NAMES
from harness.strict.models.stopping import Stopping, Watch, take_stopping

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
    segmented = True
    unsigned = frozenset(
        {"seed", "random_seed", "random_state", "data_seed", "bagging_fraction_seed", *_SEEDS,
         "num_threads", "num_thread", "nthread", "nthreads", "n_jobs"}
    )  # fmt: skip

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        own = dict(config)
        self._objective = take_objective("lightgbm", own)
        parameters = Parameters("lightgbm", own, _aliases())
        parameters.refuse(_FILES_AND_MACHINES, "it reads or writes files, or talks to machines", "Leave it out.")
        parameters.drop(("metric", "is_provide_training_metric"), "metrics are computed from predictions")
        parameters.drop(("first_metric_only",), "early stopping has one metric, early_stopping_metric")
        self._stopping = take_stopping(parameters, "early_stopping_round", settings.kind)
        _choose_objective(parameters, settings.kind, self._objective)
        parameters.drop(_SEEDS, "every seed follows from the run's")
        parameters.drop(("seed",), "the seed is the run's")
        parameters.default("seed", settings.seed)
        parameters.default("verbosity", -1)
        if settings.threads is not None:
            parameters.force("num_threads", settings.threads, "threads_per_fit decides")
        if settings.strict:
            _pin(parameters, settings)
        _refuse_what_looks_back(parameters, settings, self._stopping)
        self._rounds = integer("lightgbm", "num_iterations", parameters.pop("num_iterations", 100), least=1)
        self._categorical = _take_categorical(parameters)
        self._parameters = {**parameters.values(), "metric": "none"}
        self._settings = settings
        self._facts = facts_of("lightgbm", config, self.unsigned)
        self.overrides = tuple(parameters.overrides)
        self._booster: Any = None

    def fit(self, features: Floats, target: Floats, sample_weight: Floats | None = None) -> Self:
        """Train on every row, but for those held out where early stopping is asked for (see `Estimator.fit`).

        Raises:
            UsageError: the rows cannot be learnt from, or LightGBM refuses a hyperparameter's value.
            IncomparableError: the checkpoint is of another fit.
            IntegrityError: the newest checkpoint is damaged.
        """
        import lightgbm

        check_rows(features, target, sample_weight, self._settings.kind)
        rows = Rows(np.asarray(features), np.asarray(target), sample_weight)
        facts = {**self._facts, "version": lightgbm.__version__}
        segments = Segments(self._settings, self._rounds, facts, rows)
        if self._categorical and self._categorical[-1] >= features.shape[1]:
            raise UsageError(
                f"lightgbm: categorical_feature names column {self._categorical[-1]} of {features.shape[1]}",
                hint="Columns are counted from 0, in the order of the features.",
            )
        try:
            self._booster = self._boost(rows, segments)
        except lightgbm.basic.LightGBMError as error:
            raise UsageError(
                f"LightGBM refuses to train: {error}", hint="Check the family's hyperparameters."
            ) from error
        return self

    def _boost(self, rows: Rows, segments: Segments) -> Any:
        """The booster after all segments, cut off at the best round where there is early stopping."""
        import lightgbm

        done, state = segments.resume()
        booster: Any = None if state is None else lightgbm.Booster(model_str=state["model"])
        listening: dict[str, Any] = {}
        trained, watch = rows, None
        if self._stopping is not None:
            trained, held_out = hold_out(rows, self._stopping.fraction, self._settings.timeline)
            check_rows(*trained, self._settings.kind)
            watch = Watch(self._stopping, held_out.target, held_out.weight, state and state["watch"])
            listener = _Listener(watch, self._link)
            listening = {
                "valid_sets": [self._dataset(held_out)], "feval": listener.listen, "callbacks": [listener.judge],
            }  # fmt: skip
        data = self._dataset(trained)
        for seed, first, end in segments.spans(done):
            if watch is not None and watch.stops:
                break
            given = self._given(seed, trained, segmented=segments.segmented)
            # It ends by writing the booster as text and reading that, so a later segment begins as after a restart.
            booster = lightgbm.train(given, data, num_boost_round=end - first, init_model=booster, **listening)
            segments.save(end, partial(_whole, booster), watch)
        if watch is None:
            return booster
        return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=watch.best()))

    def _dataset(self, rows: Rows) -> Any:
        import lightgbm

        return lightgbm.Dataset(
            rows.features,
            rows.target,
            weight=rows.weight,
            categorical_feature=self._categorical or "auto",
            # A later segment predicts the rows with the model so far.
            free_raw_data=self._settings.checkpoint_every is None,
        )

    def _given(self, seed: int, rows: Rows, *, segmented: bool) -> dict[str, Any]:
        """The parameters of one segment."""
        given = {**self._parameters, "seed": seed}
        if segmented:
            given["data_random_seed"] = self._settings.seed  # rows are put into bins once, for all segments
        if self._objective is not None:
            function = self._objective
            given["objective"] = lambda scores, _: function(scores, rows.target, rows.weight)
        return given

    def _link(self, scores: Floats) -> Floats:
        """What LightGBM's predictions are to be: with an objective of the user's they are raw scores."""
        raw = self._objective is not None and self._settings.kind is TargetKind.CLASSIFICATION
        return logistic(scores) if raw else scores

    def predict(self, features: Floats) -> Floats:
        """The value, or the probability of class 1."""
        check_features(features, self._booster.num_feature())
        threads = {} if self._settings.threads is None else {"num_threads": self._settings.threads}
        return self._link(np.asarray(self._booster.predict(np.asarray(features), **threads), dtype=np.float64))

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


class _Listener:
    """Listens to LightGBM's predictions for the held-out rows, which are added up by row and over no thread."""

    def __init__(self, watch: Watch, link: Callable[[Floats], Floats]) -> None:
        self._watch = watch
        self._link = link
        self._heard: Floats

    def listen(self, predictions: Floats, _: Any) -> tuple[str, float, bool]:
        """LightGBM takes this for a metric."""
        self._heard = self._link(predictions)
        return "", 0.0, False

    def judge(self, env: Any) -> None:
        """LightGBM calls this after each round; rounds are counted by the trees that there are."""
        import lightgbm

        self._watch.see(env.model.current_iteration(), self._heard)
        if self._watch.stops:
            raise lightgbm.EarlyStopException(self._watch.best() - 1, [])


def _whole(booster: Any) -> dict[str, Any]:
    return {"model": booster.model_to_string(num_iteration=-1)}


def _aliases() -> dict[str, str]:
    """Every spelling that the installed LightGBM knows, to the name proper, and our own of early stopping."""
    from lightgbm.basic import _ConfigAliases

    known: dict[str, list[str]] = _ConfigAliases._get_all_param_aliases()
    own = {name: name for name in STOPPING_NAMES}
    return {**own, **{spelling: name for name, spellings in known.items() for spelling in {name, *spellings}}}


def _choose_objective(parameters: Parameters, kind: TargetKind, custom: Objective | None) -> None:
    if custom is not None:
        parameters.refuse(("objective",), f"{CUSTOM} is the objective", "Keep one.")
        return
    default = "binary" if kind is TargetKind.CLASSIFICATION else "regression"
    parameters.default("objective", default)
    objective = parameters.get("objective")
    classifies = objective in _CLASSIFYING
    if objective in _NOT_FOR_ONE_NUMBER or classifies is not (kind is TargetKind.CLASSIFICATION):
        raise UsageError(f"lightgbm: objective={objective!r} is not for {kind}", hint=f"The default is {default}.")


def _refuse_what_looks_back(parameters: Parameters, settings: Settings, stopping: Stopping | None) -> None:
    """Refuse ways of boosting whose later rounds change earlier ones, where rounds are cut off or start anew."""
    boosting = parameters.get("boosting", "gbdt")
    if boosting in ("dart", "rf", "random_forest") and settings.checkpoint_every is not None:
        parameters.refuse(
            ("boosting",), "a later segment cannot continue it", "Leave checkpoints out, or take boosting: gbdt."
        )
    if boosting == "dart" and stopping is not None:
        parameters.refuse(("boosting",), "its later rounds change earlier ones", "Leave early stopping out.")


def _take_categorical(parameters: Parameters) -> list[int]:
    """The columns, counted from 0, whose values are categories."""
    given = parameters.pop("categorical_feature")
    if given is None or given in ("", "auto"):
        return []
    columns = given if isinstance(given, list | tuple) else [given]
    return sorted({integer("lightgbm", "categorical_feature", column, least=0) for column in columns})


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
        for name in ("boosting", "data_sample_strategy"):
            if parameters.get(name) == "goss":  # it keeps the largest gradients of each thread's share of the rows
                parameters.refuse((name,), "its result depends on the number of threads", "Set threads_per_fit to 1.")
    parameters.force("deterministic", True, "sums must not depend on the number of threads")
    parameters.force("force_col_wise", True, "row-wise histograms depend on the number of threads")
    parameters.drop(("force_row_wise",), "row-wise histograms depend on the number of threads")
