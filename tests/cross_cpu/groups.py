"""What every part of the sweep gives: groups of cases, each run in a process of its own and under a time limit."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

SAMPLES = 2
"""Samples of one operator and dtype that are tried; the database has up to hundreds, most of them alike."""


class Call(NamedTuple):
    """One call of an operator: its name, digests of all inputs and of all outputs, and whether it was a large one."""

    operator: str
    inputs: str
    outputs: str
    large: bool


Emit = Callable[[str, list[Call], str], None]
"""Called for each case with its name, its calls, and the digest of its result."""


class Group(NamedTuple):
    """Cases that belong together: `run` runs each and hands what it found to `emit`."""

    name: str
    run: Callable[[Emit], None]


Section = Callable[[int], Iterator[Group]]
"""The groups of a part of the sweep, given how many sample inputs of the database to try."""
