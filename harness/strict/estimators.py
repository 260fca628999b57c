"""The only place where a model is made: determinism settings win over the caller's, and say so."""

import os
from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.spec.columns import TargetKind
from harness.spec.documents import suggestion
from harness.strict.bootstrap import is_strict_mode
from harness.strict.checkpoints import Checkpoints
from harness.strict.models.interface import Estimator, ModelClass, Settings
from harness.strict.models.lightgbm import LightGBM
from harness.strict.models.parameters import integer
from harness.strict.models.plugin import PluginLibrary
from harness.strict.models.ridge import Ridge
from harness.strict.models.rows import Timeline
from harness.strict.models.torch_mlp import TorchMLP
from harness.strict.models.xgboost import XGBoost
from harness.strict.seeds import normalize_seed

LIBRARIES: Mapping[str, ModelClass] = {
    "lightgbm": LightGBM,
    "xgboost": XGBoost,
    "torch": TorchMLP,
    "ridge": Ridge,
    "plugin": PluginLibrary(),
}


def create_estimator(
    library: str,
    base_config: Mapping[str, Any],
    seed: int,
    problem_kind: str,
    *,
    threads: int | None = 1,
    strict: bool | None = None,
    gpu_trees: bool = False,
    timeline: Timeline | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int | None = None,
) -> Estimator:
    """A model of `library`, not fitted yet, with the hyperparameters `base_config`.

    In a strict run (`strict`; null asks `is_strict_mode`) the determinism settings override the caller's; the
    estimator's `overrides` say which. In `best_effort` only the seed is ours; `threads` may be null: the library's own
    choice. `gpu_trees` is the opt-out of `reproducibility.strict.disable_gpu_tree_models`.

    `timeline` says when the rows of the fit are, for early stopping to hold out the last of them. With
    `checkpoint_every` a fit is made in segments of so many rounds (a network's epochs); with `checkpoints` it saves
    after each and goes on from the newest. Ridge is fitted in one piece, and a plug-in's factory is given neither.

    Raises:
        UsageError: `library` or `problem_kind` is unknown, a hyperparameter is unknown or refused, or a strict run asks
            for more threads than it has cores.
    """
    found = find_library(library)
    if problem_kind not in list(TargetKind):
        raise UsageError(f"problem_kind is {problem_kind!r}", hint=suggestion(str(problem_kind), list(TargetKind)))
    strict = is_strict_mode() if strict is None else strict
    _check_threads(threads, strict)
    _check_checkpoints(checkpoints, checkpoint_every)
    settings = Settings(
        seed=normalize_seed(seed),
        kind=TargetKind(problem_kind),
        threads=threads,
        strict=strict,
        gpu_trees=gpu_trees,
        timeline=timeline,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
    )
    return found(dict(base_config), settings)


def find_library(library: str) -> ModelClass:
    """What is known of a library before a model is made; imports nothing.

    Raises:
        UsageError: there is no such library.
    """
    found = LIBRARIES.get(library)
    if found is None:
        raise UsageError(f"There is no model library {library!r}", hint=suggestion(str(library), list(LIBRARIES)))
    return found


def _check_checkpoints(checkpoints: Checkpoints | None, every: int | None) -> None:
    if every is None:
        if checkpoints is not None:
            raise UsageError("There are checkpoints, and nothing says how often", hint="Pass checkpoint_every=10.")
    else:
        integer("checkpoints", "checkpoint_every", every, least=1)


def _check_threads(threads: int | None, strict: bool) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads is None:
        if strict:
            raise UsageError("A strict run must say how many threads a fit has", hint="Pass threads=1.")
    elif threads < 1:
        raise UsageError(f"threads is {threads}", hint="It must be at least 1.")
    elif strict and threads > cores:
        raise UsageError(
            f"{threads} threads a fit on {cores} cores: sums do not repeat",
            hint="Set threading.threads_per_fit to at most the number of cores.",
        )
