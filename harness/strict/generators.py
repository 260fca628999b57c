"""What is done to each library's generators and switches, given the imported module. Standard library only."""

import functools
import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from harness.strict.imports import when_imported
from harness.strict.replacing import replace, replace_method


def seed_python(seed: int) -> None:
    """Seed the `random` module."""
    random.seed(seed)


def seed_numpy(numpy_random: Any, seed: int) -> None:
    """Seed the global generator of `numpy.random` (`seed` is below 2**32)."""
    numpy_random.seed(seed)


def seed_torch(torch: Any, seed: int) -> None:
    """Seed torch's generators on the CPU and on every GPU (those not yet in use are seeded when they are)."""
    torch.manual_seed(seed)


class Entropy:
    """Stands in for the system's random bits: a sequence that a seed decides and that moves on at each call.

    `position` is the number of calls so far; who sets it back gets the same bits again.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._key = f"{seed}|{purpose}"
        self.position = 0

    def bits(self, count: int) -> int:
        """The next `count` bits."""
        self.position += 1
        size = (count + 7) // 8
        data = hashlib.shake_256(f"{self._key}|{self.position}".encode()).digest(size)
        return int.from_bytes(data, "little") >> (8 * size - count)

    @property
    def state(self) -> tuple[str, int]:
        """Which sequence it is, and where in it."""
        return self._key, self.position

    @state.setter
    def state(self, state: tuple[str, int]) -> None:
        self._key, self.position = state


def entropies() -> dict[str, Entropy]:
    """What stands in for the system's random bits in this process, by library; none where it is not strict.

    It is told by attribute, not by class: a user's program that imports this module has another copy of it than the
    hook, and what stands in is of the hook's.
    """
    bit_generator = sys.modules.get("numpy.random.bit_generator")
    found: dict[str, Any] = {
        "random": getattr(random.Random.seed, "entropy", None),
        "numpy.random": getattr(getattr(bit_generator, "randbits", None), "__self__", None),
    }
    return {name: entropy for name, entropy in found.items() if hasattr(entropy, "position")}


def make_unseeded_python_repeat(seed: int) -> None:
    """Make `random.Random()` and `random.seed()` without a seed take theirs from `seed`.

    `random.SystemRandom`, `secrets` and `uuid` keep asking the operating system, and so do temporary files' names.
    Called again, it begins anew.
    """
    entropy = Entropy(seed, "random")
    known = getattr(random.Random.seed, "entropy", None)
    if known is not None:
        known.state = entropy.state
        return
    original = random.Random.seed

    def repeatable(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and not getattr(self, "_harness_free", False):
            a = entropy.bits(256)
        original(self, a, version)

    repeatable.entropy = entropy  # type: ignore[attr-defined]
    replace(random.Random, "seed", repeatable)
    random.seed = random._inst.seed


def leave_temporary_names_free(tempfile: Any) -> None:
    """Keep names of temporary files and semaphores apart between processes: two of them may share a folder."""

    class Free(random.Random):
        _harness_free = True

    tempfile._Random = Free


def make_unseeded_numpy_repeat(numpy_random: Any, seed: int) -> None:
    """Make `default_rng()`, `SeedSequence()`, `RandomState()` and `seed()` without a seed take theirs from `seed`.

    All of them ask one function, `numpy.random.bit_generator.randbits`, which is `secrets.randbits` as a rule.
    """
    numpy_random.bit_generator.randbits = Entropy(seed, "numpy").bits


def leave_torch_fast(torch: Any) -> None:
    """Let cuDNN try its algorithms and keep the fastest, which may be another one each time; a script may undo it.

    Where the program froze torch's flags (`torch.backends.disable_global_flags`), they stay as they are.
    """
    with suppress(RuntimeError):
        torch.backends.cudnn.benchmark = True


def make_torch_strict(torch: Any, *, audited: bool = False) -> None:
    """Turn on every switch of torch that makes it repeat, and keep on those that scripts often turn off.

    `fill_uninitialized_memory` only shows reads of memory that nobody wrote, as NaN, at up to 15 % of the speed: an
    audited run has it on.
    https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    # The same as use_deterministic_algorithms(True), which imports torch's compiler to tell it too: over a second.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False

    if not getattr(torch, "_harness_kept", False):
        torch._harness_kept = True
        torch.utils.deterministic.fill_uninitialized_memory = audited
        when_imported("torch._inductor.config", _make_compiler_strict)
        _keep_torch_strict(torch)


def _keep_torch_strict(torch: Any) -> None:
    original = torch.set_deterministic_debug_mode

    def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
        if not mode or warn_only:
            _say_kept("torch.use_deterministic_algorithms", True, "warn_only=True" if mode else "False")
        original("error")

    def set_deterministic_debug_mode(debug_mode: int | str) -> None:
        if debug_mode not in ("error", 2):
            _say_kept("torch.set_deterministic_debug_mode", "error", debug_mode)
        original("error")

    replace(torch, "use_deterministic_algorithms", use_deterministic_algorithms)
    replace(torch, "set_deterministic_debug_mode", set_deterministic_debug_mode)
    for name, value in (("deterministic", True), ("benchmark", False), ("allow_tf32", False)):
        _keep_switch(torch.backends.cudnn, f"torch.backends.cudnn.{name}", value)
        _keep_setter(torch._C, f"_set_cudnn_{name}", f"torch.backends.cudnn.{name}", value)  # what `flags` calls
    _keep_setter(torch._C, "_set_cublas_allow_tf32", "torch.backends.cuda.matmul.allow_tf32", False)
    _keep_setter(torch._C, "_set_float32_matmul_precision", "torch.set_float32_matmul_precision", "highest")
    _keep_setter(torch._C, "_set_fp32_precision_setter", "torch.backends' fp32_precision", "ieee", allowed=("none",))
    replace(torch.random, "seed", _repeatable_seed(torch))
    torch.seed = torch.random.seed
    replace_method(torch.Generator, "seed", _repeatable_generator_seed(torch))


def _keep_setter(module: Any, name: str, what: str, value: object, allowed: Sequence[object] = ()) -> None:
    """Keep what a function of torch's sets by its last argument; a torch without the function has no such switch."""
    original = getattr(module, name, None)
    if original is None:
        return

    def keep(*arguments: Any) -> Any:
        *rest, asked = arguments
        if asked != value and asked not in allowed:
            _say_kept(what, value, asked)
            asked = value
        return original(*rest, asked)

    replace(module, name, keep)


def _repeatable_seed(torch: Any) -> Callable[[], int]:
    original = torch.seed

    def seed() -> int:
        entropy = entropies().get("random")
        if entropy is None:
            return int(original())
        number = entropy.bits(63)
        torch.manual_seed(number)
        return number

    seed.__doc__ = original.__doc__
    return seed


def _repeatable_generator_seed(torch: Any) -> Callable[[Any], int]:
    original = torch.Generator.seed

    def seed(self: Any) -> int:
        entropy = entropies().get("random")
        if entropy is None:
            return int(original(self))
        number = entropy.bits(63)
        self.manual_seed(number)
        return number

    return seed


def watch_autocast(torch: Any) -> None:
    """Note in `torch._harness_autocast` where automatic mixed precision is used, as `device:type`.

    `torch.autocast` itself stays as it is, because TorchScript compiles it; what it calls as it begins tells.
    """
    original = torch.set_autocast_dtype
    used = torch._harness_autocast = set()

    def set_autocast_dtype(device: str, dtype: Any) -> None:
        original(device, dtype)
        if torch.is_autocast_enabled(device):
            used.add(f"{device}:{str(dtype).removeprefix('torch.')}")

    replace(torch, "set_autocast_dtype", set_autocast_dtype)


def _keep_switch(module: Any, what: str, value: bool) -> None:
    """Keep an attribute of a module that torch made of a class: whoever assigns something else is told."""
    name = what.rpartition(".")[2]
    original = vars(type(module))[name]

    def assign(self: Any, asked: bool) -> None:
        if asked != value:
            _say_kept(what, value, asked)
        original.__set__(self, value)

    setattr(type(module), name, property(lambda self: original.__get__(self, type(self)), assign))


def limit_torchs_threads(torch: Any, threads: int) -> None:
    """Keep `torch.set_num_threads` from asking for another number than that of one reduction."""
    original = torch.set_num_threads

    def set_num_threads(asked: int) -> None:
        # Workers have one thread (with more a forked one hangs), and items one in every process (`loading`).
        if sys._getframe(1).f_globals.get("__name__", "").startswith("torch.utils.data._utils."):
            original(asked)
            return
        if asked != threads:
            _say_kept("torch.set_num_threads", threads, asked)
        original(threads)

    replace(torch, "set_num_threads", set_num_threads)


def limit_pools_threads(threadpoolctl: Any, threads: int) -> None:
    """Keep `threadpoolctl` from giving OpenMP or a BLAS more than `threads` threads, for however short a time.

    Fewer are the program's choice, the same in every run: scikit-learn asks for one within its own loops.
    """
    for controller in getattr(threadpoolctl, "_ALL_CONTROLLERS", ()):  # threadpoolctl 2 has none: read at the end
        _limit_pool(threadpoolctl, controller, threads)


def _limit_pool(threadpoolctl: Any, controller: Any, threads: int) -> None:
    original = controller.set_num_threads

    def set_num_threads(self: Any, asked: int) -> Any:
        if asked > threads and not getattr(threadpoolctl, "_harness_said", False):
            threadpoolctl._harness_said = True
            _say_kept("threadpoolctl's number of threads", threads, asked)
        return original(self, min(asked, threads))

    replace(controller, "set_num_threads", set_num_threads)


def _say_kept(what: str, value: object, asked: object) -> None:
    sys.stderr.write(f"harness: strict: {what} stays {value}, not {asked}\n")


def keep_variables(environ: Any, names: Sequence[str]) -> None:
    """Keep variables of `os.environ` that scripts set out of habit, too late for themselves: children start with them.

    Other variables are the program's own to set; what that breaks is refused by name.
    """
    kept = {name: environ[name] for name in names if name in environ}
    original = type(environ).__setitem__

    def assign(self: Any, name: str, value: str) -> None:
        if self is environ and kept.get(name, value) != value:
            _say_kept(name, kept[name], value)
        else:
            original(self, name, value)

    replace(type(environ), "__setitem__", assign)


def limit_joblibs_threads(backends: Any, threads: int) -> None:
    """Keep joblib from running jobs in more than `threads` threads: scikit-learn's forests add up in their order.

    Jobs in processes stay side by side; they share no sums.
    """
    original = backends.ThreadingBackend.effective_n_jobs

    def effective_n_jobs(self: Any, n_jobs: int) -> int:
        asked: int = original(self, n_jobs)
        if asked > threads and not getattr(backends, "_harness_said", False):
            backends._harness_said = True
            sys.stderr.write(f"harness: strict: joblib runs {threads} job at a time in threads, not {asked}\n")
        return min(asked, threads)

    replace(backends.ThreadingBackend, "effective_n_jobs", effective_n_jobs)


def _make_compiler_strict(config: Any) -> None:
    config.deterministic = True


class _Tasks:
    """A pool's queue of tasks, as its worker sees it: each task that is taken is told by job and number before."""

    def __init__(self, queue: Any, taken: Callable[[int, int], None]) -> None:
        self._queue, self._taken = queue, taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def get(self) -> Any:
        task = self._queue.get()
        if task is not None:
            self._taken(task[0], task[1] or 0)
        return task


class _Results:
    """A pool's queue of results, as its worker sees it: `before` is called before each is handed over."""

    def __init__(self, queue: Any, before: Callable[[], None]) -> None:
        self._queue, self._before = queue, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def put(self, result: Any) -> None:
        self._before()
        self._queue.put(result)


def watch_pools_tasks(pool: Any, seed: Callable[[int, int], None], verify: Callable[[], None]) -> None:
    """Call `seed` before a worker process begins with a task, and `verify` before it hands the task's result over.

    `seed` gets the task's job (counted in the parent) and number. Which worker takes which task is up to the
    scheduler: what a task draws must not follow from its worker. A pool that is left ends its workers by a signal, so
    the result is the last that is heard of them.
    """
    original = pool.worker

    @functools.wraps(original)
    def worker(inqueue: Any, outqueue: Any, *arguments: Any, **keywords: Any) -> None:
        # A pool of threads has no pipe: its workers share their generators with the rest of the process.
        if hasattr(inqueue, "_writer"):
            inqueue, outqueue = _Tasks(inqueue, seed), _Results(outqueue, verify)
        original(inqueue, outqueue, *arguments, **keywords)

    replace(pool, "worker", worker)
