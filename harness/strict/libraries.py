"""Keeps what a program's own LightGBM, XGBoost, scikit-learn and PyArrow do from depending on threads, or ends it.

The trainer's models are made by `harness.strict.estimators`, which decides this beforehand; here are the programs that
call the libraries by themselves. Settings that cost nothing are kept and the program is told. Those that cannot be had
with several threads end it, since whoever asked for them is to choose: another setting, or one thread.

What each library does, and the test that shows it, is in docs/threads.md. Standard library only.
"""

import ctypes
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.strict.replacing import replace

Stop = Callable[[str], Any]
"""Ends the process; what it is given says why."""

_LIGHTGBM = {"deterministic": True, "force_col_wise": True, "force_row_wise": False}
_THREAD_DEPENDENT = ("linear_tree", "use_quantized_grad")
_SAID: set[str] = set()


def keep(module: Any, threads: int, stop: Stop) -> None:
    """Make one module of a library independent of threads, of which a reduction has `threads`.

    Any other module is left as it is.
    """
    name = module.__name__
    if name == "lightgbm.basic":
        keep_lightgbm(module, threads, stop)
    elif name == "pyarrow.lib":
        keep_arrow(module)
    elif name == "pyarrow.acero":
        keep_scans(module)
    elif threads > 1 and name == "xgboost.core":
        refuse_shotgun(module, threads, stop)
    elif threads > 1 and name == "sklearn.ensemble._forest":
        keep_forests(module)
    elif threads > 1 and name == "sklearn.cluster._kmeans":
        keep_kmeans(module)


def keep_lightgbm(basic: Any, threads: int, stop: Stop) -> None:
    """Give every booster and data set of `lightgbm.basic` what makes sums independent of the number of threads.

    Row-wise histograms split their work by threads, and LightGBM chooses between them and column-wise ones by how long
    each took. Its metrics are sums over threads that nothing guards, so they are computed in one.
    """
    original = basic._param_dict_to_str

    # All parameters pass through it on their way to the library, whichever interface they were given to.
    def param_dict_to_str(data: Any) -> Any:
        given = {} if data is None else dict(data)
        _refuse_in_lightgbm(basic, given, threads, stop)
        for name, value in _LIGHTGBM.items():
            for spelling in basic._ConfigAliases.get(name):
                asked = given.pop(spelling, value)
                if _is_true(asked) is not value:
                    _say_once(f"lightgbm's {spelling} stays {value}, not {asked}")
            given[name] = value
        return original(given)

    replace(basic, "_param_dict_to_str", param_dict_to_str)
    _evaluate_in_one_thread(basic._LIB)


def keep_arrow(lib: Any) -> None:
    """Let PyArrow compute in one thread: with more, groups are added up and joined in the order in which threads end.

    Its threads for reading order nothing: a table has its rows in the order of its files. `lib` is `pyarrow.lib`.
    """
    original = lib.set_cpu_count

    def set_cpu_count(count: int) -> None:
        if count != 1:
            _say_once(f"pyarrow.set_cpu_count stays 1, not {count}")
        original(1)

    original(1)
    replace(lib, "set_cpu_count", set_cpu_count)


def keep_scans(acero: Any) -> None:
    """Let a plan of PyArrow's get a dataset's rows in their order, and not as each file was read.

    `acero` is `pyarrow.acero`, which `Dataset.join` and `Dataset.sort_by` plan with too.
    """
    original = getattr(acero, "ScanNodeOptions", None)
    if original is None:  # a PyArrow without datasets
        return

    def begin(self: Any, dataset: Any, **keywords: Any) -> None:
        original.__init__(self, dataset, **{**keywords, "require_sequenced_output": True, "implicit_ordering": True})

    replace(acero, "ScanNodeOptions", type("ScanNodeOptions", (original,), {"__init__": begin}))


def refuse_shotgun(core: Any, threads: int, stop: Stop) -> None:
    """Refuse XGBoost's `shotgun`, whose threads race, on several threads; it is also how a linear booster trains."""
    set_param = core.Booster.set_param

    def watched_set_param(self: Any, params: Any, value: Any = None) -> None:
        pairs: Iterable[tuple[str, Any]] = params.items() if isinstance(params, Mapping) else params
        pairs = [(params, value)] if isinstance(params, str) else list(pairs)
        self.__dict__.setdefault("_harness_given", {}).update(pairs)
        set_param(self, dict(pairs))

    replace(core.Booster, "set_param", watched_set_param)
    for name in ("update", "boost"):
        replace(core.Booster, name, _checking_updater(getattr(core.Booster, name), threads, stop))


def keep_forests(forest: Any) -> None:
    """Let scikit-learn's forests predict in one thread: with more, trees are added up in the order in which they end.

    Trees grow side by side: each has a seed of its own. `forest` is `sklearn.ensemble._forest`.
    """
    original = forest._partition_estimators

    def partition_estimators(n_estimators: int, n_jobs: Any) -> Any:
        asked = original(n_estimators, n_jobs)[0]
        if asked > 1:
            _say_once(f"scikit-learn's forests predict in 1 thread, not {asked}")
        return original(n_estimators, 1)

    replace(forest, "_partition_estimators", partition_estimators)


def keep_kmeans(kmeans: Any) -> None:
    """Let scikit-learn's k-means use one thread: with more, centres are added up in the order in which threads end.

    `kmeans` is `sklearn.cluster._kmeans`.
    """
    replace(kmeans, "_openmp_effective_n_threads", lambda *_: 1)


def _refuse_in_lightgbm(basic: Any, given: Mapping[str, Any], threads: int, stop: Stop) -> None:
    for spelling in basic._ConfigAliases.get("device_type"):
        device = str(given.get(spelling, "cpu")).lower()
        if device != "cpu":
            stop(
                f"lightgbm: {spelling}={device!r} is refused: its GPU trainers add up in no fixed order (atomicAdd); "
                f"set {spelling}=cpu, or use REPRO_MODE=best_effort"
            )
    for name in _THREAD_DEPENDENT if threads > 1 else ():
        for spelling in basic._ConfigAliases.get(name):
            if _is_true(given.get(spelling)):
                stop(
                    f"lightgbm: {spelling} is refused in {threads} threads: what it gives depends on their number; "
                    "run it with one thread, or without"
                )


def _evaluate_in_one_thread(library: Any) -> None:
    original = library.LGBM_BoosterGetEval

    def evaluate(*arguments: Any) -> Any:
        most = ctypes.c_int(0)
        library.LGBM_GetMaxThreads(ctypes.byref(most))
        library.LGBM_SetMaxThreads(ctypes.c_int(1))
        try:
            return original(*arguments)
        finally:
            library.LGBM_SetMaxThreads(most)

    library.LGBM_BoosterGetEval = evaluate


def _checking_updater(original: Any, threads: int, stop: Stop) -> Any:
    def train(self: Any, *arguments: Any, **keywords: Any) -> Any:
        given = self.__dict__.get("_harness_given", {})
        updater = str(given.get("updater") or ("shotgun" if given.get("booster") == "gblinear" else ""))
        if "shotgun" in updater:
            stop(
                f"xgboost: the updater shotgun is refused in {threads} threads, because they race (booster=gblinear "
                "has it by default); set updater=coord_descent, or run it with one thread"
            )
        return original(self, *arguments, **keywords)

    return train


def _is_true(value: Any) -> bool:
    """Whether LightGBM takes `value` for true."""
    return value is not None and str(value).lower() in ("true", "1", "+")


def _say_once(sentence: str) -> None:
    if sentence not in _SAID:
        _SAID.add(sentence)
        sys.stderr.write(f"harness: strict: {sentence}\n")
