"""Two pickles, instruction by instruction. They are never loaded: `pickletools` only reads them."""

import pickletools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from harness.record.explain.binary import first_difference
from harness.record.explain.cause import Finding, Kind, Pair, shown
from harness.record.explain.tokens import compare_line, number_finding

_MOST = 500_000


def compare_pickles(before: bytes, after: bytes, facts: Pair) -> Iterator[Finding] | None:
    """The differences between two pickles; nothing where either is none, or is followed by something else."""
    old, new = _instructions(before), _instructions(after)
    return None if old is None or new is None else _compare(old, new, facts)


def _instructions(data: bytes) -> list[tuple[str, Any]] | None:
    found: list[tuple[str, Any]] = []
    try:
        for instruction, argument, at in pickletools.genops(data):
            found.append((instruction.name, argument))
            if len(found) > _MOST or (instruction.name == "STOP" and at is not None and at + 1 != len(data)):
                return None
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
        return None
    return found


def _compare(old: list[tuple[str, Any]], new: list[tuple[str, Any]], facts: Pair) -> Iterator[Finding]:
    values = [Counter(repr(part) for part in side if _is_value(part)) for side in (old, new)]
    if values[0] == values[1]:
        yield Finding("as a whole", Kind.ORDER, detail="the same values")
        return
    if len(old) != len(new):
        yield Finding("as a whole", Kind.BYTES, detail=f"{len(old):,} instructions became {len(new):,}")
        return
    label = ""
    for index, ((name, one), (other_name, other)) in enumerate(zip(old, new, strict=True)):
        where = f"pickle instruction {index:,}"
        if name != other_name and type(one) is not type(other):
            yield Finding(where, Kind.BYTES, name, other_name)
            return
        if one == other or name == "FRAME":
            label = one if isinstance(one, str) else label
            continue
        if isinstance(one, str):
            yield from compare_line(one, other, where, facts, label=label)
        elif isinstance(one, int | float):
            yield _numbers(one, other, where, facts, label)
        else:
            yield first_difference(one, other)._replace(where=f"{where}, {first_difference(one, other).where}")


def _numbers(one: float, other: float, where: str, facts: Pair, label: str) -> Finding:
    try:
        return number_finding(float(one), float(other), where, facts, label=label)
    except OverflowError:
        return Finding(where, Kind.NUMBER, shown(hex(int(one))), shown(hex(int(other))))


def _is_value(part: tuple[str, Any]) -> bool:
    return part[1] is not None and part[0] not in ("FRAME", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "PROTO")
