"""Every seed of a run, derived from one base seed, and the one function that seeds every generator.

Importing this module in a strict process that was not bootstrapped in time is refused.
"""

# isort: off
from harness.strict import bootstrap
# isort: on

import hashlib
import json
import operator
import sys
from types import ModuleType
from typing import SupportsIndex

from harness.errors import UsageError
from harness.strict import generators
from harness.strict.imports import when_imported

MODULUS = 2**31 - 1

is_strict_mode = bootstrap.is_strict_mode


def normalize_seed(seed: SupportsIndex) -> int:
    """`seed` modulo 2**31 - 1, with 1 in place of 0: a value that every library takes, and none takes for "no seed".

    Raises:
        UsageError: it is negative, a boolean, or no whole number.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if number < 0 or isinstance(seed, bool):
        raise UsageError(f"{seed!r} is not a seed", hint="A seed is a whole number from 0.")
    return number % MODULUS or 1


def resolve_seed(
    base: SupportsIndex,
    phase: str,
    target: str | None = None,
    fold: int | None = None,
    symbol: str | None = None,
    view: str | None = None,
    version: str = "v1",
    trial: int | None = None,
) -> int:
    """The seed of one phase of one fit, from 1 to 2**31 - 2.

    Recipe `v1` is the reference pipeline's: the first 8 hex digits of sha256 over
    `base|phase|target|fold|symbol|view|version`, a missing fold being 0. Recipe `v2` hashes the parts as JSON, so that
    no two lists of parts can be taken for one another, and adds `trial`.

    Raises:
        UsageError: the recipe is not known, `base` is no seed, or `trial` is given to `v1`, which has none.
    """
    number = _base(base)
    if version == "v1":
        if trial is not None:
            raise UsageError("seed recipe v1 has no trial", hint="Set reproducibility.version to v2.")
        text = f"{number}|{phase}|{target}|{0 if fold is None else fold}|{symbol}|{view}|{version}"
    elif version == "v2":
        parts = [number, phase, target, fold, symbol, view, version, trial]
        text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    else:
        raise UsageError(f"the seed recipe {version!r} is not known", hint="Set reproducibility.version to v1 or v2.")
    digits = 8 if version == "v1" else 16
    return normalize_seed(int(hashlib.sha256(text.encode()).hexdigest()[:digits], 16))


def seed_all(seed: SupportsIndex) -> list[str]:
    """Seed Python, NumPy and torch (CPU and every GPU), and in strict mode turn torch's deterministic switches on.

    In best_effort cuDNN's autotuning is turned on instead, which a program may turn off.

    A library that is not imported yet is seeded when it is. Returns what was seeded at once.

    Raises:
        UsageError: `seed` is no seed.
    """
    _SEEDS["now"] = normalize_seed(seed)
    generators.seed_python(_SEEDS["now"])
    seeded = ["random"]
    for name, callback in (("numpy.random", _seed_numpy), ("torch", _seed_torch)):
        loaded = name in sys.modules
        if loaded or name not in _WAITING:
            when_imported(name, callback)
        if loaded:
            seeded.append(name.partition(".")[0])
        else:
            _WAITING.add(name)
    return seeded


# The last seed that was set: what a library gets that is imported later.
_SEEDS = {"now": 1}
_WAITING: set[str] = set()


def _seed_numpy(module: ModuleType) -> None:
    _WAITING.discard(module.__name__)
    generators.seed_numpy(module, _SEEDS["now"])


def _seed_torch(module: ModuleType) -> None:
    _WAITING.discard(module.__name__)
    if is_strict_mode():
        generators.make_torch_strict(module)
    else:
        generators.leave_torch_fast(module)
    generators.seed_torch(module, _SEEDS["now"])


def _base(base: SupportsIndex) -> int:
    normalize_seed(base)
    return operator.index(base)
