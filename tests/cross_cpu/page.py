"""docs/portability.md, made from the table and the records."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.cross_cpu.cpus import NATIVE
from tests.cross_cpu.records import Record
from tests.cross_cpu.sweep import FOLDER
from tests.cross_cpu.table import PROFILE, SEEN, Verdict, fits, libraries

HEAD = """# The same bits on every such CPU: what was shown

Made by `python -m tests.cross_cpu table` from the records of a sweep (`nox -s cross_cpu`); do not edit it.

The profile `x86-64-v3` promises the same bits on every CPU with AVX2, for what this page lists as portable or fixed.
The sweep runs the same inputs on a real CPU and, with `qemu-user`, on emulated ones, each in a strict process, and
compares every call of an operator below autograd, forwards and backwards: an operator that got the same inputs, to the
bit, and gave something else is the culprit, whatever it was part of.

**What this proves**: that the bits do not depend on which instruction sets and vendor a library finds (dispatch).
**What it does not prove**: an emulated CPU has no approximations of its own (`rsqrt` and `rcp` differ between real AMD
and Intel CPUs; here they show as a difference between the real CPU and every emulated one), no caches by whose sizes a
library could cut its blocks, and no timing. Real CPUs are compared by the records in `tests/cross_cpu/seen/`: digests
of the results of each group of cases (`python -m tests.cross_cpu seen`).

NaN counts as one NaN: emulators do not agree with CPUs on the sign of one. Results that are memory which nobody wrote
(`empty` and its kin) are left out; random operators count with the state of their generator. Operators were given up
to {samples} of the database's sample inputs on an emulated CPU: a verdict holds for what was tried. Where an operator's
kernel is torch's own, a run with the variables of the profile alone, without our kernels, counts for it too.

Read a verdict with the sections below: `float32` and `float64` are the database's own small inputs, `sizes` large
and odd ones. Small inputs can miss a rare bit: torch's own `log` in float64 differed on 8192 numbers, not on 20. A
section that an emulated CPU did not run whole was shown there in part or not at all.
"""


def page(
    torch: str,
    here: str,
    native: Record,
    emulated: Mapping[str, Record],
    found: Mapping[str, Verdict],
    *,
    samples: int,
    groups: Iterable[str],
) -> str:
    """The whole page."""
    lines = [HEAD.format(samples=samples), f"torch {torch}; the real CPU of this sweep: {here}.", ""]
    lines += _counts(found)
    lines += _ran(native, emulated)
    for kind, words in (
        ("refused", "Refused: strict `x86-64-v3` raises with the operator's name"),
        ("fixed", "Fixed: torch's own kernel differs between CPUs, ours does not"),
    ):
        chosen = {name: verdict for name, verdict in found.items() if verdict.cpus == kind}
        lines += ["", f"## {words}", ""]
        lines += _rows(chosen) if chosen else ["None."]
    lines += _threads(found)
    lines += _fits(native, emulated, groups)
    lines += ["", "## Portable", "", _names(name for name in found if found[name].cpus == "portable")]
    lines += ["", "## Untested: not run on all of the emulated CPUs, or never with the same inputs", ""]
    lines += _untested(found)
    lines += _failed(emulated)
    lines += ["", "## Real CPUs seen so far", "", *_seen()]
    return "\n".join(lines).rstrip() + "\n"


def _counts(found: Mapping[str, Verdict]) -> list[str]:
    counts = Counter(verdict.cpus for verdict in found.values())
    threads = Counter(verdict.threads for verdict in found.values())
    return [
        "| verdict | operators |",
        "| --- | --- |",
        *(f"| {kind} | {counts[kind]} |" for kind in ("portable", "fixed", "refused", "untested")),
        "",
        "| one thread against two | operators |",
        "| --- | --- |",
        *(f"| {kind} | {threads[kind]} |" for kind in ("invariant", "dependent", "untested")),
    ]


def _ran(native: Record, emulated: Mapping[str, Record]) -> list[str]:
    lines = ["", "What ran, in groups of cases that came to their end (not all sections are the same size):", ""]
    lines += ["| CPU | groups | cases | calls | sections run whole |", "| --- | --- | --- | --- | --- |"]
    for name, record in {"this one": native, **emulated}.items():
        ended = sum(how == "ended" for how in record.groups.values())
        calls = sum(map(len, record.calls.values()))
        whole = ", ".join(sorted({text.partition(" ")[0] for text in record.whole})) or "none"
        lines.append(f"| {name} | {ended} | {len(record.cases)} | {calls} | {whole} |")
    return lines


def _rows(chosen: Mapping[str, Verdict]) -> list[str]:
    lines = ["| operator | compared on | calls | note |", "| --- | --- | --- | --- |"]
    for name, verdict in sorted(chosen.items()):
        lines.append(f"| `{name}` | {', '.join(verdict.on)} | {verdict.compared} | {verdict.note} |")
    return lines


def _threads(found: Mapping[str, Verdict]) -> list[str]:
    ran = [name for name in (PROFILE, "native") if (FOLDER / f"{name}-{NATIVE}-2").is_dir()]
    dependent = [name for name, verdict in found.items() if verdict.threads == "dependent"]
    return [
        "",
        "## Threads",
        "",
        "One thread against two on this CPU, on inputs above the size from which torch splits work",
        f"(profiles that were run: {', '.join(ran)}).",
        "Where an operator depends on their number, a run's bits are tied to it: the number of threads is part of the",
        "comparison group of every family that uses torch. Dependent:",
        "",
        _names(dependent) or "None.",
        "",
        "Invariant at these sizes:",
        "",
        _names(name for name, verdict in found.items() if verdict.threads == "invariant") or "None.",
    ]


def _fits(native: Record, emulated: Mapping[str, Record], groups: Iterable[str]) -> list[str]:
    cpus = list(emulated)
    lines = [
        "",
        "## Fits, libraries and probes",
        "",
        f"| what | {' | '.join(cpus)} |",
        f"| --- |{' --- |' * len(cpus)}",
    ]
    for name, by_cpu in fits(native, emulated, groups):
        lines.append(f"| {name} | {' | '.join(by_cpu[cpu] for cpu in cpus)} |")
    for label, by_cpu in libraries(native, emulated):
        shown = [_share(*by_cpu[cpu]) for cpu in cpus]
        lines.append(f"| {label} | {' | '.join(shown)} |")
    return lines


def _share(compared: int, differ: int) -> str:
    return f"{compared - differ} of {compared} calls the same" if compared else "not run"


def _untested(found: Mapping[str, Verdict]) -> list[str]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, verdict in found.items():
        if verdict.cpus == "untested":
            groups.setdefault(verdict.on, []).append(name)
    lines = []
    for on, names in sorted(groups.items(), reverse=True):
        where = f"The same on {' and '.join(on)}, not run on the others" if on else "On none with the same inputs"
        lines += [f"{where} ({len(names)}): {_names(names)}", ""]
    return lines or ["None."]


def _failed(emulated: Mapping[str, Record]) -> list[str]:
    lines = [
        f"- {cpu}: {group}: {how}"
        for cpu, record in emulated.items()
        for group, how in sorted(record.groups.items())
        if how != "ended"
    ]
    return ["", "## Not run under emulation", "", *(lines or ["Nothing failed that was begun."])]


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name.removeprefix('aten::')}`" for name in sorted(names))


def _seen(folder: Path = SEEN) -> list[str]:
    lines = []
    for path in sorted(folder.glob("*.json")):
        seen = json.loads(path.read_text())
        lines.append(f"- {seen['cpu']}: {len(seen['groups'])} groups of cases recorded, torch {seen['torch']}")
    lines.append(
        "- AMD EPYC, Zen 5 (family 26): the first measurements, of 35 operators and steps; no records of this sweep"
    )
    return lines
