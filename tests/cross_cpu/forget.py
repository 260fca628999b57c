"""Takes out of records what a changed kernel moved, so that a sweep runs it again and keeps the rest."""

import json
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

from tests.cross_cpu.records import lines


def moved_groups(before: Iterable[Path], now: Iterable[Path]) -> set[str]:
    """The groups with a case that both sweeps of one CPU ran, and whose calls or result are no longer the same."""
    first, second = _cases(before), _cases(now)
    return {_group(name) for name in first.keys() & second.keys() if first[name] != second[name]}


def forget(groups: Set[str], file: Path) -> int:
    """Write a file of records anew without these groups, and without the word that their sections ran whole.

    How many groups were in it.
    """
    found: set[str] = set()
    kept = []
    for entry in lines(file):
        group = _group(entry["case"]) if "case" in entry else entry.get("begin", entry.get("end"))
        if group in groups:
            found.add(group)
        else:
            kept.append(entry)
    if found:
        sections = {group.partition(":")[0] for group in found}
        kept = [entry for entry in kept if entry.get("whole", "").partition(" ")[0] not in sections]
        file.write_text("".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in kept))
    return len(found)


def _cases(files: Iterable[Path]) -> dict[str, tuple[list[Any], str]]:
    return {
        entry["case"]: (entry["calls"], entry["result"]) for file in files for entry in lines(file) if "case" in entry
    }


def _group(case: str) -> str:
    return case.rpartition("/")[0]
