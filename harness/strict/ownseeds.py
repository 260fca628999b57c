"""Seeds that a program sets are noted with their values: one that differs is why two runs do. Standard library only.

A seed that a program sets is its own to choose, so it gets it. What is noted, in every run, is which seed was set at
which line, so that another one in the next run is named whatever it was made of (the time, the process's number, a
name). That it was the time just then is noted too: in seconds or a fraction of them, whole or cut to 31 or 32 bits.
"""

import functools
import hashlib
import operator
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import time
from types import FrameType
from typing import Any

from harness.strict.imports import when_imported
from harness.strict.replacing import replace, replace_method
from harness.strict.touched import Recorder, wrapped

MOST = 256
"""How many different seeds a process tells of one line; the next is told as `…`, and the others not at all."""

_NEAR = 60.0
_UNITS = (1, 1000, 1_000_000, 1_000_000_000)
_CUT = (2**31 - 1, 2**31, 2**32 - 1, 2**32)
_LARGEST = 2**64
_LONGEST = 16
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120


def watch(recorder: Recorder) -> None:
    """Note it from now on: of `random`, NumPy and torch, and among the parameters of LightGBM and XGBoost."""
    import random

    seeds = _Seeds(recorder)
    seeds.watch(random.Random, "seed", "random.seed")
    random.seed = random._inst.seed
    when_imported("numpy.random", lambda module: _watch_numpy(module, seeds))
    when_imported("torch", lambda module: _watch_torch(module, seeds))
    when_imported("lightgbm.basic", lambda module: seeds.watch(module, "_param_dict_to_str", "lightgbm", _parameters))
    when_imported("xgboost.core", lambda module: seeds.watch(module.Booster, "set_param", "xgboost", _parameters))


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


class _Seeds:
    """Tells each seed of each line once, and at most `MOST` of a line."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._told: dict[tuple[str, str], set[str]] = {}

    def watch(self, holder: Any, name: str, what: str, seeds: Any = None) -> None:
        """Note what the function `name` is given; `seeds` finds the seeds among its positional arguments."""
        original = getattr(holder, name)

        def before(frame: FrameType, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
            given = [*arguments[:2], *keywords.values()]
            self.note(what, given if seeds is None else seeds(arguments), frame)

        call = wrapped(original, before)
        call.__dict__.update(getattr(original, "__dict__", {}))
        replace(holder, name, call)

    def note(self, what: str, given: Iterable[Any], frame: FrameType, *, library: bool = True) -> None:
        """Note whatever of `given` is a seed, for the program's line that `frame` was called from.

        What the harness seeds is no doing of the program's, and without `library` neither is what a library does.
        """
        if self._recorder.paused or frame.f_code.co_filename.startswith(_OURS):
            return
        with suppress(Exception):  # whatever goes wrong here is none of the program's business
            for seed in _flat(given):
                text = _text(seed)
                if text is None:
                    continue
                if library and is_from_clock(seed, time()):
                    self._recorder.note("clock", f"{what}(the time)", frame)
                told = self._told.setdefault((what, self._recorder.place(frame)[1]), set())
                if len(told) <= MOST and text not in told:
                    told.add(text)
                    self._recorder.note("seed", what, frame, text if len(told) <= MOST else "…", library=library)


def _flat(given: Iterable[Any]) -> Iterator[Any]:
    for seed in given:
        if isinstance(seed, list | tuple):
            yield from seed[:_LONGEST]
        else:
            yield seed


def _text(seed: Any) -> str | None:
    """A seed as text, whatever is not a small number as the beginning of its digest; nothing where it is none."""
    if isinstance(seed, str | bytes | bytearray):
        data = seed.encode("utf-8", "surrogatepass") if isinstance(seed, str) else bytes(seed)
        return f"text {hashlib.sha256(data).hexdigest()[:8]}"
    if isinstance(seed, float):
        return repr(seed)
    try:
        number = operator.index(seed)
    except TypeError:
        return None
    if abs(number) < _LARGEST:
        return str(number)
    return f"number {hashlib.sha256(hex(number).encode()).hexdigest()[:8]}"


def _parameters(arguments: Sequence[Any]) -> list[Any]:
    """What stands under the name of a seed in a dictionary, in pairs, or as two arguments, the last ones."""
    pairs: list[Any] = []
    for position, argument in enumerate(arguments):
        if isinstance(argument, Mapping):
            pairs += argument.items()
        elif isinstance(argument, list | tuple):
            pairs += [pair for pair in argument if isinstance(pair, list | tuple) and len(pair) == 2]
        elif isinstance(argument, str):
            pairs += [(argument, value) for value in arguments[position + 1 : position + 2]]
    return [value for name, value in pairs if isinstance(name, str) and ("seed" in name or name == "random_state")]


def _watch_numpy(numpy_random: Any, seeds: _Seeds) -> None:
    """Its classes stay as they are, for programs ask what is one: they call functions of their modules by name."""
    for name in ("seed", "default_rng"):
        seeds.watch(numpy_random, name, f"numpy.random.{name}")
    legacy = getattr(numpy_random, "_mt19937", None)
    if legacy is not None and hasattr(legacy, "operator"):
        legacy.operator = _Operator(seeds)
    original = getattr(numpy_random.bit_generator, "_coerce_to_uint32_array", None)
    if original is not None:

        @functools.wraps(original)
        def coerce(entropy: Any) -> Any:
            # A larger one is what NumPy drew where no seed was given; tuples are keys of spawned sequences.
            if isinstance(entropy, int) and abs(entropy) < _LARGEST:
                seeds.note("numpy.random.SeedSequence", [entropy], sys._getframe(1))
            return original(entropy)

        numpy_random.bit_generator._coerce_to_uint32_array = coerce


class _Operator:
    """The module `operator` for NumPy's Mersenne Twister, whose seeds pass through `index`."""

    def __init__(self, seeds: _Seeds) -> None:
        self._seeds = seeds

    def index(self, seed: Any) -> int:
        self._seeds.note("numpy.random.RandomState", [seed], sys._getframe(1))
        return operator.index(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(operator, name)


def _watch_torch(torch: Any, seeds: _Seeds) -> None:
    seeds.watch(torch, "manual_seed", "torch.manual_seed")
    original = torch.Generator.manual_seed

    def manual_seed(self: Any, seed: Any) -> Any:
        # Libraries seed generators with what they drew from others.
        seeds.note("torch.Generator.manual_seed", [seed], sys._getframe(1), library=False)
        return original(self, seed)

    replace_method(torch.Generator, "manual_seed", manual_seed)
