"""The experiment file: data, targets, views, model families and reproducibility settings.

The keys under `reproducibility`, `multi_target` and `threading` are those that users of the reference pipeline know.
What a file means once overrides are applied, and whether it makes sense, is decided in `harness.spec.resolution`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from harness.spec.run import Mode

BUILT_IN_FAMILIES: Mapping[str, str] = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "torch_mlp": "torch",
    "ridge": "ridge",
}
"""The families that need no `library` or `plugin`, each with the library that it is made with."""
LIBRARY_KEY = "library"
PLUGIN_KEY = "plugin"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class View(StrEnum):
    """How a target is trained: on the whole panel, or symbol by symbol."""

    CROSS_SECTIONAL = "CROSS_SECTIONAL"
    SYMBOL_SPECIFIC = "SYMBOL_SPECIFIC"


class Layout(StrEnum):
    """How a panel file is laid out: one column a symbol, or one row a (date, symbol)."""

    WIDE = "wide"
    LONG = "long"


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the panel is and how to read it.

    Either `dataset` (a name in datasets.lock) or `path` (a file, or a folder with one, seen from the working folder).
    `symbol_column` and `price_column` count in the long layout. Null `symbols` mean all; `start` and `end` are the
    first and last date to take (`YYYY-MM-DD`), null for no bound.
    """

    dataset: str | None = None
    path: str | None = None
    layout: Layout = Layout.WIDE
    date_column: str = "Date"
    symbol_column: str = "symbol"
    price_column: str = "close"
    symbols: tuple[str, ...] | None = None
    start: str | None = None
    end: str | None = None


class Folds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Purged walk-forward folds over dates; all but `count` are in dates.

    `min_train` dates at least are trained on. `purge` (null: the target's horizon) and `embargo` are left out between
    the dates that are trained on and those that are tested.
    """

    count: Positive = 3
    min_train: Positive = 1000
    embargo: Natural = 0
    purge: Natural | None = None


class StrictSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a strict run holds to; in `best_effort` none of it counts.

    `force_single_thread` means one thread per reduction; independent fits still run side by side. A program of one's
    own may do without `require_env_vars` and `enforce_stable_ordering`; a strict training run refuses to.
    """

    require_env_vars: bool = True
    disable_gpu_tree_models: bool = True
    force_single_thread: bool = True
    enforce_stable_ordering: bool = True


class Reproducibility(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`seed: null` inherits the pipeline's base seed, 42. `version` is the seed recipe, `v1` or `v2`."""

    mode: Mode = Mode.STRICT
    seed: Natural | None = None
    version: Annotated[str, msgspec.Meta(pattern=r"^v[12]\Z")] = "v1"
    strict: StrictSettings = StrictSettings()


class MultiTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`parallel_targets: false` means one target at a time; it can change no bit."""

    parallel_targets: bool = False


class Parallel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`enabled: false` means one fit at a time; it can change no bit."""

    enabled: bool = True


class Threading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`threads_per_fit` is part of the experiment and never derived from the machine."""

    parallel: Parallel = Parallel()
    threads_per_fit: Positive = 1


class CheckpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an interrupted run can go on from: every fit that has ended, and fits under way after each `every` rounds.

    A network's rounds are its epochs; null `every` keeps ended fits alone. The newest `keep` of a fit are kept. A
    boosting library is trained in segments of `every` rounds, which changes its bits: it is in the comparison group.
    """

    every: Positive | None = None
    keep: Annotated[int, msgspec.Meta(ge=2)] = 2


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One experiment.

    `families` maps a model family to its hyperparameters; a name of one's own says there `library: lightgbm`, or
    `plugin: "module:factory"`.
    `checkpoints`, where given, lets `harness run --resume` go on with an interrupted run.
    `symbol_specific` names the symbols that are also trained alone; `quick` holds overrides for `--quick`, key by key.
    """

    name: str
    data: Data
    features: tuple[str, ...]
    targets: tuple[str, ...]
    families: dict[str, dict[str, Any]]
    views: tuple[View, ...] = (View.CROSS_SECTIONAL,)
    symbol_specific: tuple[str, ...] = ()
    folds: Folds = Folds()
    reproducibility: Reproducibility = Reproducibility()
    multi_target: MultiTarget = MultiTarget()
    threading: Threading = Threading()
    checkpoints: CheckpointSettings | None = None
    quick: dict[str, Any] = {}
