"""Where every random generator of a process stands, as values that a checkpoint holds, and back.

Covered are the libraries that are loaded: Python's `random`, NumPy's global generator, torch on the CPU and on every
CUDA device in use; generators that are handed over by name; what stands for unseeded generators in a strict process
(`generators.Entropy`); and how many processes and pools' jobs `multiprocessing` has numbered, since seeds follow from
that.
`states` knows less and is quick: it sets a process's own generators aside around each item of a data set.
"""

import importlib
import itertools
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import PrerequisiteError, UsageError
from harness.strict.generators import entropies

_TORCH = "torch"
_NUMPY = "numpy.random"
_PROCESSES = "multiprocessing.process"
_POOLS = "multiprocessing.pool"


def capture_random_states(generators: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All states, by library; `generators` are those of the program's own, by a name of its choice.

    They may be `random.Random`, `numpy.random.Generator` with any bit generator, `numpy.random.RandomState` and
    `torch.Generator`.

    Raises:
        UsageError: a generator is of another kind.
    """
    states: dict[str, Any] = {
        "random": random.getstate(),
        "entropy": {name: entropy.state for name, entropy in entropies().items()},
    }
    for name, (capture, _) in _LIBRARIES.items():
        if name in sys.modules:
            states[name] = capture(sys.modules[name])
    own = generators or {}
    states["generators"] = {name: _methods(name, generator)[0]() for name, generator in own.items()}
    return states


def restore_random_states(states: Mapping[str, Any], generators: Mapping[str, Any] | None = None) -> None:
    """Put every generator where it was; a library that was loaded then and is not now is imported.

    Raises:
        UsageError: the generators are not those of then, or of another kind.
        PrerequisiteError: a library or CUDA device of then is not here.
    """
    own = generators or {}
    _same_names("generators", states["generators"], own)
    for name, (_, restore) in _LIBRARIES.items():
        if name in states:
            restore(_imported(name), states[name])
    for name, state in states["generators"].items():
        _methods(name, own[name])[1](state)
    random.setstate(states["random"])
    # Last: an import draws from it where it makes a generator without a seed.
    _restore_entropy(states["entropy"])


def _restore_entropy(states: Mapping[str, Any]) -> None:
    found = entropies()
    if missing := sorted(set(states) - set(found)):
        raise UsageError(
            f"Unseeded generators of {', '.join(missing)} had a seed then, and have none in this process",
            hint="Resume in the mode that the checkpoint was written in: a strict run.",
        )
    for name, state in states.items():
        found[name].state = state


def _capture_numpy(module: Any) -> Any:
    return module.get_state(legacy=False)


def _restore_numpy(module: Any, state: Any) -> None:
    module.set_state(state)


def _capture_torch(torch: Any) -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"cpu": torch.get_rng_state(), "cuda": list(cuda)}


def _restore_torch(torch: Any, state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        if torch.cuda.device_count() != len(state["cuda"]):
            raise PrerequisiteError(
                f"The checkpoint was written with {len(state['cuda'])} CUDA devices, here are "
                f"{torch.cuda.device_count()}",
                hint="Resume on as many.",
            )
        torch.cuda.set_rng_state_all(state["cuda"])


def _counted(name: str) -> tuple[Callable[[Any], int], Callable[[Any, int], None]]:
    """How the next number of a module's count is read and set: the next child's, or the next job's of any pool."""

    def capture(module: Any) -> int:
        # A count has no way to be read but this.
        return int(getattr(module, name).__reduce__()[1][0])

    def restore(module: Any, following: int) -> None:
        setattr(module, name, itertools.count(following))

    return capture, restore


_LIBRARIES: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]] = {
    _NUMPY: (_capture_numpy, _restore_numpy),
    _TORCH: (_capture_torch, _restore_torch),
    _PROCESSES: _counted("_process_counter"),
    _POOLS: _counted("job_counter"),
}


def _methods(name: str, generator: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """How a generator's state is read and set."""
    numpy, torch = sys.modules.get(_NUMPY), sys.modules.get(_TORCH)
    if isinstance(generator, random.Random) and not isinstance(generator, random.SystemRandom):
        return generator.getstate, generator.setstate
    if numpy is not None and isinstance(generator, numpy.Generator):
        bits = generator.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    if numpy is not None and isinstance(generator, numpy.RandomState):
        return lambda: generator.get_state(legacy=False), generator.set_state
    if torch is not None and isinstance(generator, torch.Generator):
        return generator.get_state, generator.set_state
    kind = f"{type(generator).__module__}.{type(generator).__qualname__}"
    raise UsageError(
        f"The generator {name!r} is a {kind}, whose state cannot be kept",
        hint="Use random.Random, numpy.random.Generator, numpy.random.RandomState or torch.Generator.",
    )


def _same_names(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if set(then) != set(now):
        differ = ", ".join(sorted(set(then) ^ set(now)))
        raise UsageError(
            f"The checkpoint was written with other {what}: {differ} is on one side alone", hint="Hand over the same."
        )


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PrerequisiteError(
            f"The checkpoint holds the random state of {name}, which is not installed",
            hint=f"Resume in the environment that wrote it, or install {name}.",
        ) from error
