"""Two JSON documents, value by value."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from harness.record.explain.cause import Finding, Kind, Pair, shown
from harness.record.explain.tokens import compare_line, number_finding

_DEEPEST = 100


def compare_json(before: str, after: str, facts: Pair) -> Iterator[Finding] | None:
    """The differences between two JSON documents; nothing where either is none."""
    try:
        old, new = json.loads(before), json.loads(after)
    except (ValueError, RecursionError):
        return None
    return _documents(old, new, facts)


def _documents(old: Any, new: Any, facts: Pair) -> Iterator[Finding]:
    found = False
    for finding in _values(old, new, "$", "", facts, 0):
        found = True
        yield finding
    if not found:
        yield Finding("$", Kind.TEXT, detail="the same values, written in another way")


def _values(old: Any, new: Any, where: str, label: str, facts: Pair, depth: int) -> Iterator[Finding]:
    if depth > _DEEPEST:
        if old != new:
            yield Finding(where, Kind.TEXT, detail="nested too deeply to look into")
    elif isinstance(old, dict) and isinstance(new, dict):
        yield from _objects(old, new, where, facts, depth)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _arrays(old, new, where, label, facts, depth)
    elif _is_number(old) and _is_number(new):
        if old != new and not (old != old and new != new):
            yield _numbers(old, new, where, label, facts)
    elif isinstance(old, str) and isinstance(new, str):
        yield from compare_line(old, new, where, facts, label=label)
    elif old != new:
        yield Finding(where, Kind.TEXT, shown(json.dumps(old)), shown(json.dumps(new)))


def _objects(old: dict[str, Any], new: dict[str, Any], where: str, facts: Pair, depth: int) -> Iterator[Finding]:
    gone, added = [key for key in old if key not in new], [key for key in new if key not in old]
    if gone or added:
        if len(gone) == len(added):
            for one, other in zip(gone, added, strict=True):
                yield from compare_line(one, other, f"a key of {where}", facts)
                yield from _values(old[one], new[other], f"{where}.{shown(one)}", one, facts, depth + 1)
        else:
            yield Finding(f"the keys of {where}", Kind.TEXT, shown(", ".join(gone)), shown(", ".join(added)))
    elif list(old) != list(new):
        texts = (shown(", ".join(old)), shown(", ".join(new)))
        yield Finding(f"the keys of {where}", Kind.ORDER, *texts, "the same keys")
    for key, value in old.items():
        if key in new:
            yield from _values(value, new[key], f"{where}.{shown(key)}", key, facts, depth + 1)


def _arrays(old: list[Any], new: list[Any], where: str, label: str, facts: Pair, depth: int) -> Iterator[Finding]:
    if len(old) != len(new):
        yield Finding(where, Kind.TEXT, detail=f"{len(old):,} elements became {len(new):,}")
        return
    if old != new:
        texts = (
            [json.dumps(value, sort_keys=True) for value in old],
            [json.dumps(value, sort_keys=True) for value in new],
        )
        if texts[0] != texts[1] and Counter(texts[0]) == Counter(texts[1]):
            yield Finding(where, Kind.ORDER, shown(json.dumps(old)), shown(json.dumps(new)), "the same elements")
            return
    for index, (one, other) in enumerate(zip(old, new, strict=True)):
        yield from _values(one, other, f"{where}[{index}]", label, facts, depth + 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(old: float, new: float, where: str, label: str, facts: Pair) -> Finding:
    try:
        return number_finding(float(old), float(new), where, facts, label=label)._replace(
            before=shown(repr(old)), after=shown(repr(new))
        )
    except OverflowError:
        return Finding(where, Kind.NUMBER, shown(hex(old)), shown(hex(new)))  # type: ignore[arg-type]
