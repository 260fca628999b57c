"""Measurements in turn: every round does each thing once, and each round begins with another one."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def rounds(count: int, arms: Mapping[str, Callable[[], T]], note: Callable[[str], None]) -> dict[str, list[T]]:
    """What each arm gave, by name, one value a round."""
    names = list(arms)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(count):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            note(f"round {number + 1} of {count}: {name}")
            results[name].append(arms[name]())
    return results


def seconds(work: Callable[[], object]) -> float:
    """How long something took, by the clock on the wall."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
