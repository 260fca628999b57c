"""Runs in every Python process of a run, before its first line: bootstrap, seeds, and capture when the process ends.

`site/sitecustomize.py` calls `install`. What it does:

- strict, any program: bootstrap; the settings of numeric libraries are verified as each is imported; joblib's threads
  are as many as those of one reduction.
- strict, a user's program: Python, NumPy and torch are seeded as they are imported, generators that were given no seed
  take theirs from the base seed, and torch refuses operations that don't repeat.
- best_effort, a user's program: the seeds alone.
- a process that `multiprocessing` (or joblib) starts gets a seed of its own from the base seed and its place among its
  parent's processes, with every start method: the first draws the same in every run, and not what the second draws.
  Which task a pool hands to which worker is up to the system's scheduler: draw seeds for tasks, not for workers.
- a process started in any other way is seeded as the main one is; one made by `os.fork` goes on from its parent's
  state.

The trainer (`HARNESS_HOOK=trainer`) seeds and captures by itself. What asks the system for random bits (`os.urandom`,
`secrets`, `uuid`) still gets them. Python's `-I`, `-E` and `-S` switch the hook off; the launcher refuses them.
Standard library only.
"""

import atexit
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import PurePath
from types import ModuleType
from typing import Any

from harness.errors import ExitCode, HarnessError, UsageError
from harness.strict import bootstrap, generators
from harness.strict.imports import when_imported

_VERIFIED = ("numpy", "scipy", "torch", "lightgbm", "xgboost")
_MODULUS = 2**31 - 1
_CODE = str(PurePath(__file__).parents[2])


def install() -> None:
    """Make this process what its environment says; a strict process that cannot be strict stops with exit code 4."""
    environ = os.environ
    _chain_shadowed_sitecustomize()
    if "REPRO_MODE" not in environ or "harness.strict.launch" in sys.orig_argv:
        return
    try:
        strict = bootstrap.is_strict_mode(environ)
        if strict:
            bootstrap.check(environ, sys.modules)
            for name in _VERIFIED:
                when_imported(name, _verify)
            when_imported("joblib._parallel_backends", _limit_joblib)
        if environ.get("HARNESS_HOOK") != "trainer":
            _seed_script(base_seed(environ), strict=strict)
            if "HARNESS_OUTPUT" in environ:
                atexit.register(_record, os.getpid())
            _forget_harness()
    except HarnessError as error:
        _stop(str(error), error.exit_code)


def base_seed(environ: Mapping[str, str]) -> int:
    """The seed in `REPRO_SEED` (42 where it is unset), normalised to 1 … 2**31 - 2.

    Raises:
        UsageError: it is not a whole number from 0.
    """
    text = environ.get("REPRO_SEED", "42")
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"REPRO_SEED is {text!r}", hint="Set it to a whole number from 0.")
    return int(text) % _MODULUS or 1


def _seed_script(seed: int, *, strict: bool) -> None:
    seeds = {"now": seed}

    def numpy_random(module: ModuleType) -> None:
        if strict:
            generators.make_unseeded_numpy_repeat(module, seeds["now"])
        generators.seed_numpy(module, seeds["now"])

    def torch(module: ModuleType) -> None:
        if strict:
            generators.make_torch_strict(module)
        generators.seed_torch(module, seeds["now"])

    def tempfile(module: ModuleType) -> None:
        generators.leave_temporary_names_free(module)

    def process(module: ModuleType) -> None:
        _seed_children(module, seeds, strict=strict)

    if strict:
        generators.make_unseeded_python_repeat(seed)
        when_imported("tempfile", tempfile)
    generators.seed_python(seed)
    when_imported("numpy.random", numpy_random)
    when_imported("torch", torch)
    when_imported("multiprocessing.process", process)


def _seed_children(module: Any, seeds: dict[str, int], *, strict: bool) -> None:
    """Seed each child of `multiprocessing` by its place among its parent's processes, when it starts."""
    original = module.BaseProcess._bootstrap

    def bootstrapped(self: Any, *arguments: Any, **keywords: Any) -> Any:
        place = "|".join(map(str, self._identity))
        seed = generators.Entropy(seeds["now"], f"process|{place}").bits(64) % _MODULUS or 1
        seeds["now"] = seed
        if strict:
            generators.make_unseeded_python_repeat(seed)
        generators.seed_python(seed)
        if "numpy.random" in sys.modules:
            if strict:
                generators.make_unseeded_numpy_repeat(sys.modules["numpy.random"], seed)
            generators.seed_numpy(sys.modules["numpy.random"], seed)
        if "torch" in sys.modules:
            generators.seed_torch(sys.modules["torch"], seed)
        return original(self, *arguments, **keywords)

    module.BaseProcess._bootstrap = bootstrapped


def _verify(module: ModuleType) -> None:
    try:
        with _OwnImports():
            importlib.import_module("harness.strict.verify").verify_settings([module.__name__])
    except HarnessError as error:
        _stop(str(error), error.exit_code)


def _limit_joblib(module: ModuleType) -> None:
    generators.limit_joblibs_threads(module, int(os.environ.get("REPRO_THREADS", "1")))


def _record(pid: int) -> None:
    """Add what this process's libraries selected to the run's capture; a forked child leaves that to its parent."""
    if os.getpid() != pid:
        return
    try:
        with _OwnImports():
            importlib.import_module("harness.strict.capture").record_process()
    except Exception as error:
        sys.stderr.write(f"harness: the environment of this process could not be recorded: {error}\n")
        if bootstrap.is_strict_mode():
            sys.stdout.flush()
            _stop("a strict run must record its environment")


class _OwnImports:
    """Within it modules are found as when the process began: `harness` is this package, `json` is Python's."""

    def __enter__(self) -> None:
        # Where nothing was put aside (in the trainer), the modules called harness are this package's already.
        self._theirs, self._path = _take_harness() if _OURS else None, sys.path[:]
        sys.modules.update(_OURS)
        sys.path[:] = [_CODE, *_PATH]

    def __exit__(self, *_: object) -> None:
        if self._theirs is not None:
            _OURS.update(_take_harness())
            sys.modules.update(self._theirs)
        sys.path[:] = self._path


# This package's modules and the search path as the process began: the script's own folder is not on it yet.
_OURS: dict[str, ModuleType] = {}
_PATH = sys.path[:]


def _forget_harness() -> None:
    """Leave the name `harness` to the user's own package of that name, should there be one."""
    _OURS.update(_take_harness())


def _take_harness() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == "harness" or name.startswith("harness.")]
    return {name: sys.modules.pop(name) for name in names}


def _chain_shadowed_sitecustomize() -> None:
    """Run the environment's own `sitecustomize`, which ours hides."""
    own = PurePath(__file__).with_name("site")
    rest = [entry for entry in sys.path if PurePath(entry) != own]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None and spec.origin is not None:
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            sys.stderr.write(f"harness: {spec.origin} failed: {error!r}\n")


def _stop(message: str, code: int = ExitCode.INTEGRITY) -> None:
    sys.stderr.write(f"harness: {message}\n")
    sys.stderr.flush()
    os._exit(code)
