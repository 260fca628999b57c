"""What environments, goldens and whole reports are called, so that no two that differ are taken for one another."""

from collections.abc import Collection, Hashable, Sequence
from urllib.parse import quote

from harness.record.hashing import signature
from harness.release.formats.text import count, listed, shown
from harness.release.report import DriftReport, EnvironmentDrift, GoldenName, Purpose
from harness.spec.digest import hexadecimal

LONGEST = 200
"""Characters of an identity before it is but a digest."""


def label(drift: EnvironmentDrift, purpose: Purpose) -> str:
    """An environment with its candidate, where that is another; a rehearsal's candidate says both. As they are."""
    if purpose is Purpose.REHEARSAL or drift.candidate == drift.name:
        return drift.candidate
    return f"{drift.name} (candidate {drift.candidate})"


def identity(report: DriftReport) -> str:
    """What of a baseline a report is about, in whatever order it was asked for: `cpu,host`, `cpu:cpu-prev`.

    Of letters, digits and `_.~%,:-` alone; reports of other environments or candidates have another one.
    """
    pairs = sorted({(drift.name, drift.candidate) for drift in report.environments})
    names = [_quoted(name) + ("" if name == candidate else f":{_quoted(candidate)}") for name, candidate in pairs]
    text = ",".join(names) or "none"
    return text if len(text) <= LONGEST else f"sha256-{hexadecimal(signature(pairs))[:32]}"


def goldens(paths: Collection[str], known: Sequence[GoldenName], most: int = 6) -> str:
    """Golden cells in few words: experiments that are there whole, then targets, then families, then single cells."""
    left = dict.fromkeys(paths)
    found = []
    for keys in (_of_experiment, _of_target, _of_family):
        groups: dict[Hashable, list[GoldenName]] = {}
        for name in known:
            groups.setdefault(keys(name), []).append(name)
        for names in groups.values():
            if len(names) > 1 and all(name.path in left for name in names):
                found.append(_whole(names, keys))
                for name in names:
                    left.pop(name.path, None)
    return listed(found + [shown(path) for path in left], most)


def _whole(names: Sequence[GoldenName], keys: object) -> str:
    one, cells = names[0], count(len({name.path for name in names}), "cell")
    if keys is _of_family:
        return f"all {cells} of {shown(one.family)} in {shown(one.experiment)}"
    where = one.experiment if keys is _of_experiment else f"{one.experiment}/{one.target}"
    return f"all {cells} of {shown(where)}"


def _of_experiment(name: GoldenName) -> Hashable:
    return name.experiment


def _of_target(name: GoldenName) -> Hashable:
    return name.experiment, name.target


def _of_family(name: GoldenName) -> Hashable:
    return name.experiment, name.family


def _quoted(text: str) -> str:
    """`text` for the inside of a comment and of an address; `--` would end the one."""
    return quote(text, safe="").replace("--", "-%2D")
