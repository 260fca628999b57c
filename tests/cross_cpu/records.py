"""Reading what workers wrote, and comparing two CPUs: an operator that got the same and gave something else."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.cross_cpu.sources import key as current

Results = dict[str, set[str]]
"""Digest of the inputs → the outputs that were seen; more than one where an operator does not even repeat."""


class Record(NamedTuple):
    """What workers found: calls by operator, results by case, how groups ended, what was run whole, how it was started.

    `small` and `large` hold the calls by size (`recorder.GRAIN`); `dropped` are files with records of other kernels or
    libraries, of which nothing else is here.
    """

    small: dict[str, Results]
    large: dict[str, Results]
    cases: dict[str, str]
    groups: dict[str, str]
    whole: list[str]
    starts: list[dict[str, str]]
    dropped: list[Path]

    @property
    def calls(self) -> dict[str, Results]:
        """All calls by operator, of every size."""
        names = {*self.small, *self.large}
        return {name: {**self.small.get(name, {}), **self.large.get(name, {})} for name in sorted(names)}

    @property
    def replaced(self) -> frozenset[str]:
        """The operators whose kernels were the harness's own."""
        return frozenset(name for start in self.starts for name in start.get("replaced", "").split())


class Difference(NamedTuple):
    """One operator on two CPUs: calls with equal inputs, how many of them gave something else, and where first.

    `unmatched` are calls whose inputs the other CPU did not see: something before them differed, or was not run.
    """

    operator: str
    compared: int
    differ: int
    unmatched: int
    unrepeatable: int


def read(files: Iterable[Path], key: Mapping[str, str] | None = None) -> Record:
    """All records in `files` that were made with these kernels and libraries, or with whichever where `key` is empty.

    Records of others are dropped, file by file, and lines that a worker was ended in are left out.
    """
    key = current() if key is None else key
    record = Record(defaultdict(lambda: defaultdict(set)), defaultdict(lambda: defaultdict(set)), {}, {}, [], [], [])
    for file in files:
        entries = list(lines(file))
        starts = [entry["start"] for entry in entries if "start" in entry]
        if any(start.get(name) != value for start in starts for name, value in key.items()):
            record.dropped.append(file)
            continue
        for entry in entries:
            if "case" in entry:
                record.cases[entry["case"]] = entry["result"]
                for operator, inputs, outputs, large in entry["calls"]:
                    (record.large if large else record.small)[operator][inputs].add(outputs)
            elif "end" in entry:
                record.groups[entry["end"]] = entry["how"]
            elif "start" in entry:
                record.starts.append(entry["start"])
            elif "whole" in entry:
                record.whole.append(entry["whole"])
    return record


def compare(
    first: Mapping[str, Mapping[str, set[str]]], second: Mapping[str, Mapping[str, set[str]]]
) -> list[Difference]:
    """Each operator that both saw, by name."""
    found = []
    for operator in sorted(first.keys() & second.keys()):
        mine, theirs = first[operator], second[operator]
        both = mine.keys() & theirs.keys()
        found.append(
            Difference(
                operator=operator,
                compared=len(both),
                differ=sum(mine[inputs] != theirs[inputs] for inputs in both),
                unmatched=len(mine.keys() ^ theirs.keys()),
                unrepeatable=sum(len(outputs) > 1 for results in (mine, theirs) for outputs in results.values()),
            )
        )
    return found


def differing_cases(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """The cases that both ran and that ended differently, by name."""
    return sorted(name for name in first.keys() & second.keys() if first[name] != second[name])


def culprits(differences: Iterable[Difference]) -> list[str]:
    """The operators that gave something else for the same inputs."""
    return [difference.operator for difference in differences if difference.differ]


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """The entries of a file, without those that a worker was ended in."""
    with file.open() as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry
