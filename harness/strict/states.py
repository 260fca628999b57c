"""The random states that a whole process shares: of Python, NumPy and torch, and of generators without a seed.

They are set aside while something else is drawn, and put back, for each item of a data set: so nothing is checked or
turned into values here, and GPUs are left alone. What a checkpoint holds is `random_states`'. Standard library only.
"""

import hashlib
import random
import sys
from typing import Any, NamedTuple

from harness.strict import generators


class States(NamedTuple):
    """The states as they were; null for a library that was not loaded."""

    python: Any
    numpy: Any
    torch: Any
    unseeded: dict[str, tuple[str, int]]


def take() -> States:
    """The states as they are now."""
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    return States(
        random.getstate(),
        None if numpy is None else numpy.get_state(legacy=False),
        None if torch is None else torch.default_generator.get_state(),
        {name: entropy.state for name, entropy in generators.entropies().items()},
    )


def put(states: States) -> None:
    """Make the states what they were when they were taken; a library loaded since then keeps its own."""
    random.setstate(states.python)
    if states.numpy is not None:
        sys.modules["numpy.random"].set_state(states.numpy)
    if states.torch is not None:
        sys.modules["torch"].default_generator.set_state(states.torch)
    for name, entropy in generators.entropies().items():
        if name in states.unseeded:
            entropy.state = states.unseeded[name]


def derive(text: str) -> None:
    """Make the states what `text` alone decides, in every library that is loaded."""
    digest = hashlib.sha256(text.encode()).digest()
    random.seed(int.from_bytes(digest[:16], "little"))
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    if numpy is not None and numpy.get_bit_generator().__class__.__name__ == "MT19937":  # no other takes a seed here
        # 32 bits, because more take five times as long; that two items in 100,000 share a sequence hurts nobody.
        numpy.seed(int.from_bytes(digest[16:20], "little"))
    if torch is not None:
        torch.default_generator.manual_seed(int.from_bytes(digest[20:28], "little") >> 1)
    for name, entropy in generators.entropies().items():
        entropy.state = f"{name}|{text}", 0


class SetAside:
    """Within it the states are free to change; after it they are what they were, and so is `generator` (torch's)."""

    def __init__(self, generator: Any = None) -> None:
        self._generator = generator

    def __enter__(self) -> None:
        self._states = take()
        self._own = None if self._generator is None else self._generator.get_state()

    def __exit__(self, *_: object) -> None:
        put(self._states)
        if self._generator is not None:
            self._generator.set_state(self._own)
