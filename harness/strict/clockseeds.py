"""Seeds that a program takes from the clock are noted, for they are why two runs of it differ. Standard library only.

A seed that a program sets is its own to choose, so it gets it. What is noted, in every run, is that it was the time
just then: in seconds or a fraction of them, whole or cut to 31 or 32 bits.
"""

from time import time
from types import FrameType
from typing import Any

from harness.strict.imports import when_imported
from harness.strict.replacing import replace
from harness.strict.touched import Recorder, wrapped

_NEAR = 60.0
_UNITS = (1, 1000, 1_000_000, 1_000_000_000)
_CUT = (2**31 - 1, 2**31, 2**32 - 1, 2**32)


def watch(recorder: Recorder) -> None:
    """Note it from now on: of `random`, of NumPy's global generator and `default_rng`, and of torch."""
    import random

    _replace(random.Random, "seed", "random.seed", recorder)
    random.seed = random._inst.seed

    def numpy_random(module: Any) -> None:
        for name in ("seed", "default_rng"):
            _replace(module, name, f"numpy.random.{name}", recorder)

    when_imported("numpy.random", numpy_random)
    when_imported("torch", lambda module: _replace(module, "manual_seed", "torch.manual_seed", recorder))


def is_from_clock(seed: Any, now: float) -> bool:
    """Whether a seed is the time `now` (in seconds since 1970), give or take a minute."""
    if isinstance(seed, float) and not abs(seed) < 1e30:
        return False
    try:
        number = seed if isinstance(seed, float) else seed.__index__()
    except (AttributeError, TypeError):
        return False
    if any(abs(number / unit - now) < _NEAR for unit in _UNITS):
        return True
    # Of millionths and below, cut to 32 bits, any number would be near to some moment of a minute.
    return any((int(now * unit) - int(number)) % cut < 5 * unit for unit in (1, 1000) for cut in _CUT)


def _replace(module: Any, name: str, what: str, recorder: Recorder) -> None:
    replace(module, name, _noting(getattr(module, name), what, recorder))


def _noting(original: Any, what: str, recorder: Recorder) -> Any:
    def before(frame: FrameType, arguments: Any, keywords: Any) -> None:
        given = [*arguments[:2], *keywords.values()]
        if any(is_from_clock(seed, time()) for seed in given):
            recorder.note("clock", f"{what}(the time)", frame)

    call = wrapped(original, before)
    call.__dict__.update(getattr(original, "__dict__", {}))
    return call
