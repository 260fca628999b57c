"""Runs in every Python process of a run, before its first line: bootstrap, seeds, and capture when the process ends.

`site/sitecustomize.py` calls `install`. What it does:

- strict, any program: bootstrap; the settings of numeric libraries are verified as each is imported, and once more when
  a user's program ends, by `os._exit` and in forked workers too; joblib's and torch's threads are as many as those of
  one reduction; LightGBM, XGBoost, scikit-learn and PyArrow are kept from depending on threads (`libraries`); torch
  gets the kernels of the profile (`kernels`) and, in every profile, solves least squares by a driver that repeats
  (`least_squares`); a Python process that it starts must be strict too (`children`).
- strict, a user's program: Python, NumPy and torch are seeded as they are imported, generators that were given no seed
  take theirs from the base seed, and torch refuses operations that don't repeat. Folders are listed in the order of
  names (`listings`), and what it asks the system for is noted (`touched`, `audit`).
- best_effort, a user's program: the seeds, and the notes of what it asks the system for.
- a process that `multiprocessing` (or joblib) starts gets a seed of its own from the base seed and its place among its
  parent's processes, with every start method: the first draws the same in every run, and not what the second draws.
  Which task a pool hands to which worker is up to the system's scheduler, so in strict a `multiprocessing.Pool` seeds
  its tasks too. An executor's and joblib's are not: draw seeds for tasks there, not for workers.
- a process started in any other way is seeded as the main one is; one made by `os.fork` goes on from its parent's
  state.

The trainer (`HARNESS_HOOK=trainer`) seeds and captures by itself. What asks the system for random bits (`os.urandom`,
`secrets`, `uuid`) still gets them. What the program does to its own variables changes nothing of this: they are read
once, as the process begins.

Standard library only.
"""

# pathlib would slow every process down.
# ruff: noqa: PTH118, PTH120

import atexit
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, ClassVar

from harness.errors import HarnessError, IntegrityError, PrerequisiteError, UsageError
from harness.strict import bootstrap, denormals, generators
from harness.strict.imports import when_imported
from harness.strict.refusal import leave_word, stop
from harness.strict.replacing import replace

LOADED = "loaded-"
"""What the name of the file begins with that has a byte for each process that loaded a library."""
VERIFIED = "verified-"
"""What the name of the file begins with that has a byte for each of them that was verified afterwards."""

_VERIFIED = ("numpy", "scipy", "torch", "lightgbm", "xgboost")
_THREAD_DEPENDENT = (
    "lightgbm.basic", "xgboost.core", "sklearn.ensemble._forest", "sklearn.cluster._kmeans",
    "pyarrow.lib", "pyarrow.acero",
)  # fmt: skip
_WITH_THREADS = (*bootstrap.NUMERIC_LIBRARIES, "pyarrow")
_ENVIRON = dict(os.environ)
_MODULUS = 2**31 - 1
_CODE = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def install() -> None:
    """Make this process what its environment says; a strict process that cannot be strict stops with exit code 4."""
    _chain_shadowed_sitecustomize()
    if "REPRO_MODE" not in _ENVIRON or _is_launcher(sys.orig_argv):
        return
    try:
        strict = bootstrap.is_strict_mode(_ENVIRON)
        if strict:
            _make_strict()
        if _ENVIRON.get("HARNESS_HOOK") != "trainer":
            _seed_script(base_seed(_ENVIRON), strict=strict)
            if "HARNESS_OUTPUT" in _ENVIRON:
                for name in _VERIFIED:
                    when_imported(name, _note_loaded)
                atexit.register(_record, os.getpid(), strict=strict)
            _watch_script(_ENVIRON.get("HARNESS_OUTPUT"), strict=strict)
            _forget_harness()
    except HarnessError as error:
        stop(str(error), error.exit_code)


def _is_launcher(argv: Sequence[str]) -> bool:
    """Whether this process is the launcher itself, and not a program with its name among the arguments."""
    options = argv[2:4] if argv[1:2] == ["-P"] else argv[1:3]
    return list(options) == ["-m", "harness.strict.launch"]


def _make_strict() -> None:
    from harness.spec.variables import thread_counts
    from harness.strict import children

    bootstrap.check(_ENVIRON, sys.modules)
    denormals.watch()
    for name in _VERIFIED:
        when_imported(name, _verify)
    when_imported("joblib._parallel_backends", _limit_joblib)
    for name in _THREAD_DEPENDENT:
        when_imported(name, _keep_from_depending_on_threads)
    when_imported("torch", _limit_torch)
    when_imported("torch", _replace_kernels)
    when_imported("threadpoolctl", _limit_pools)
    generators.keep_variables(os.environ, ("PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", *thread_counts()))
    children.watch(_ENVIRON, lambda error: stop(str(error), error.exit_code))


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
            generators.make_torch_strict(module, audited=_is_audited(_ENVIRON.get("HARNESS_OUTPUT")))
        else:
            generators.leave_torch_fast(module)
        generators.watch_autocast(module)
        generators.seed_torch(module, seeds["now"])

    def tempfile(module: ModuleType) -> None:
        generators.leave_temporary_names_free(module)

    def process(module: ModuleType) -> None:
        _seed_children(module, seeds, strict=strict)

    if strict:
        generators.make_unseeded_python_repeat(seed)
        when_imported("tempfile", tempfile)
        when_imported("multiprocessing.pool", lambda module: _watch_tasks(module, seeds))
        when_imported("torch.utils.data.dataloader", _make_loaders_repeat)
    generators.seed_python(seed)
    when_imported("numpy.random", numpy_random)
    when_imported("torch", torch)
    when_imported("multiprocessing.process", process)


def _seed_children(module: Any, seeds: dict[str, int], *, strict: bool) -> None:
    """Seed each child of `multiprocessing` by its place among its parent's processes, when it starts."""
    original = module.BaseProcess._bootstrap

    def bootstrapped(self: Any, *arguments: Any, **keywords: Any) -> Any:
        place = "|".join(map(str, self._identity))
        seeds["parent"] = seeds["now"]
        seeds["now"] = generators.Entropy(seeds["now"], f"process|{place}").bits(64) % _MODULUS or 1
        _seed_again(seeds["now"], strict=strict)
        return original(self, *arguments, **keywords)

    replace(module.BaseProcess, "_bootstrap", bootstrapped)


def _watch_tasks(module: Any, seeds: dict[str, int]) -> None:
    """Seed each task of a `multiprocessing.Pool` by its place among its parent's tasks, whichever worker takes it.

    What can be verified within microseconds is verified before each result.
    """

    def seed(job: int, number: int) -> None:
        seeds["now"] = generators.Entropy(seeds["parent"], f"task|{job}|{number}").bits(64) % _MODULUS or 1
        _seed_again(seeds["now"], strict=True)

    generators.watch_pools_tasks(module, seed, _verify_task)


def _seed_again(seed: int, *, strict: bool) -> None:
    """Seed whatever of this process has a generator."""
    if strict:
        generators.make_unseeded_python_repeat(seed)
    generators.seed_python(seed)
    if "numpy.random" in sys.modules:
        if strict:
            generators.make_unseeded_numpy_repeat(sys.modules["numpy.random"], seed)
        generators.seed_numpy(sys.modules["numpy.random"], seed)
    if "torch" in sys.modules:
        generators.seed_torch(sys.modules["torch"], seed)


def _watch_script(output: str | None, *, strict: bool) -> None:
    """List folders in order, and note what the program touches: the last thing done before its first line."""
    if strict:
        from harness.strict import listings

        listings.sort_listings(os)
    if output is None:
        return
    from harness.strict import ownseeds, touched

    recorder = touched.watch(output)
    if strict:
        _watch_exit(os.getpid())
    _OwnImports.recorder = recorder
    ownseeds.watch(recorder)
    atexit.register(recorder.close)
    if _is_audited(output):
        from harness.strict import audit

        atexit.register(audit.watch(recorder, _ENVIRON).finish)


def _is_audited(output: str | None) -> bool:
    """Whether the run is audited: `audit.is_audited`, whose module no other run needs to load."""
    return output is not None and os.path.exists(f"{output}/audit")  # noqa: PTH110


def _verify(module: ModuleType) -> None:
    try:
        with _OwnImports():
            importlib.import_module("harness.strict.verify").verify_settings([module.__name__], _ENVIRON)
            denormals.verify()
    except HarnessError as error:
        stop(str(error), error.exit_code)


def _make_loaders_repeat(module: ModuleType) -> None:
    with _OwnImports():
        importlib.import_module("harness.strict.loading").make_loaders_repeat(module)


def _limit_joblib(module: ModuleType) -> None:
    generators.limit_joblibs_threads(module, _threads())


def _limit_pools(module: ModuleType) -> None:
    generators.limit_pools_threads(module, _threads())


def _keep_from_depending_on_threads(module: ModuleType) -> None:
    with _OwnImports():
        importlib.import_module("harness.strict.libraries").keep(module, _threads(), stop)


def _limit_torch(module: ModuleType) -> None:
    generators.limit_torchs_threads(module, _threads())


def _replace_kernels(module: ModuleType) -> None:
    """Put strict's own kernels into torch, after what torch selected by itself was verified."""
    if _ENVIRON.get("REPRO_PROFILE") == "x86-64-v3":
        _make_portable(module)
    with _OwnImports():
        importlib.import_module("harness.strict.least_squares").install(module)
    # At the end torch takes back what a program registered: this runs before, because torch has asked for that before.
    atexit.register(_verify_kernels, os.getpid())
    _Ending.kernels = True


def _make_portable(module: ModuleType) -> None:
    if not hasattr(module.library, "get_kernel"):
        error = PrerequisiteError(
            f"torch {module.__version__} has no torch.library.get_kernel, by which the kernels of x86-64-v3 are put in",
            hint="Use torch 2.9 or a later one, or the profile native.",
        )
        stop(str(error))
    with _OwnImports():
        importlib.import_module("harness.strict.kernels.installation").install(module)


def _verify_kernels(pid: int) -> None:
    if os.getpid() == pid:
        _Ending.kernels = False
        try:
            _verify_torch_kernels()
        except HarnessError as error:
            sys.stdout.flush()
            stop(str(error), error.exit_code)


def _verify_torch_kernels() -> None:
    with _OwnImports():
        importlib.import_module("harness.strict.verify").verify_torch_kernels(sys.modules["torch"])


def _threads() -> int:
    return int(_ENVIRON.get("REPRO_THREADS", "1"))


def _note_loaded(module: ModuleType) -> None:
    """Note that the capture should tell what this library selected: a process may end without recording it."""
    _count(LOADED, module.__name__)
    _Ending.loaded.append((os.getpid(), module.__name__))


def _count(prefix: str, library: str) -> None:
    """Add one process to what is counted in the output folder."""
    with suppress(OSError):
        path = os.path.join(_ENVIRON["HARNESS_OUTPUT"], prefix + library)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(file, b".")
        finally:
            os.close(file)


def _record(pid: int, *, strict: bool) -> None:
    """Add what this process's libraries selected to the run's capture, in strict after verifying it once more.

    Where none was loaded there is nothing to add, and nothing is imported to find that out.

    A forked child leaves that to its parent, and is verified.
    """
    if os.getpid() != pid:
        if strict:
            _verify_fork()
        return
    try:
        with _OwnImports():
            if strict:
                denormals.verify()
            if sys.modules.keys().isdisjoint(_WITH_THREADS):
                return
            if strict:
                _verify_at_the_end(fewer=_is_worker())
            output = importlib.import_module("pathlib").Path(_ENVIRON["HARNESS_OUTPUT"])
            importlib.import_module("harness.strict.capture").record_process(output)
    except Exception as error:
        message = str(error)
        if not isinstance(error, IntegrityError):
            message = f"the environment of this process could not be recorded: {error}"
        if strict:
            sys.stdout.flush()
            stop(message)
        sys.stderr.write(f"harness: {message}\n")


def _verify_at_the_end(*, fewer: bool = False) -> None:
    verify = importlib.import_module("harness.strict.verify")
    verify.verify_settings((*_VERIFIED, "pyarrow"), _ENVIRON, fewer=fewer)
    if "torch" in sys.modules:
        verify.verify_torch_switches(sys.modules["torch"])
    _note_verified()


def _is_worker() -> bool:
    """Whether `multiprocessing` started this process: torch gives one thread to its loaders' workers."""
    module: Any = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _note_verified() -> None:
    here = [name for pid, name in _Ending.loaded if pid == os.getpid()]
    _Ending.loaded.clear()
    for name in here:
        _count(VERIFIED, name)


class _Ending:
    """What this process, or the one that forked it, still owes at its end."""

    loaded: ClassVar[list[tuple[int, str]]] = []
    """The libraries that no process was verified with since it loaded them."""
    kernels = False
    """Whether torch has kernels of strict's that were not verified yet."""
    refused = False


def _watch_exit(pid: int) -> None:
    """From now on verify before `os._exit`, which calls nothing that was registered; forked workers end by it."""
    original = os._exit

    def exit_verified(*arguments: Any, **keywords: Any) -> None:
        try:
            if os.getpid() != pid:
                _verify_fork()
            elif error := _found_at_the_end(fewer=_is_worker()):
                stop(error)
        finally:  # whatever happens: a forked worker that goes on would do its parent's work
            original(*arguments, **keywords)

    replace(os, "_exit", exit_verified)


def _verify_fork() -> None:
    """Verify a forked process that ends: what is found ends the run, not the process, whose parent may wait for it.

    Fewer threads than the run has are right there, as in any worker.
    """
    if error := _found_at_the_end(fewer=True):
        _Ending.refused = True
        leave_word(error)


def _found_at_the_end(*, fewer: bool) -> str:
    """Why this process was not strict, or nothing; a forked process imports nothing that its parent did not."""
    try:
        if _Ending.refused:
            return ""
        denormals.verify()
        if sys.modules.keys().isdisjoint(_WITH_THREADS):
            return ""
        with _OwnImports():
            _verify_at_the_end(fewer=fewer)
        if _Ending.kernels:
            _verify_torch_kernels()
    except HarnessError as error:
        return str(error)
    except Exception as error:
        return f"the settings of this process could not be verified at its end: {error!r}"
    return ""


def _verify_task() -> None:
    """Verify before a pool's worker hands a result over, without a look for libraries or kernels that are new."""
    verify = _OURS.get("harness.strict.verify")
    if verify is None or _Ending.refused:
        return
    try:
        verify.verify_settings(_VERIFIED, _ENVIRON, fewer=True, pools=_OURS["harness.strict.dispatch"].known_pools)
        if "torch" in sys.modules:
            verify.verify_torch_switches(sys.modules["torch"])
        _note_verified()
    except HarnessError as error:
        _Ending.refused = True
        leave_word(str(error))


class _OwnImports:
    """Within it modules are found as when the process began: `harness` is this package, `json` is Python's.

    What is touched within it is not the program's doing.
    """

    recorder: Any = None

    def __enter__(self) -> None:
        if self.recorder is not None:
            self.recorder.paused += 1
        # Where nothing was put aside (in the trainer), the modules called harness are this package's already.
        self._theirs, self._path = _take_harness() if _OURS else None, sys.path[:]
        sys.modules.update(_OURS)
        sys.path[:] = [_CODE, *_PATH]

    def __exit__(self, *_: object) -> None:
        if self._theirs is not None:
            _OURS.update(_take_harness())
            sys.modules.update(self._theirs)
        sys.path[:] = self._path
        if self.recorder is not None:
            self.recorder.paused -= 1


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
    own = os.path.join(os.path.dirname(__file__), "site")
    rest = [entry for entry in sys.path if os.path.normpath(entry) != own]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None and spec.origin is not None:
        from importlib.util import module_from_spec  # few environments have one, and it takes a millisecond

        module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            sys.stderr.write(f"harness: {spec.origin} failed: {error!r}\n")
