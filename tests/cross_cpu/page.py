"""docs/portability.md, made from the table and the records."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.strict.kernels.version import SWEPT
from tests.cross_cpu.cpus import NATIVE
from tests.cross_cpu.groups import SAMPLES
from tests.cross_cpu.kinds import moves
from tests.cross_cpu.pointwise import LEAST
from tests.cross_cpu.records import Difference, Record, compare, culprits
from tests.cross_cpu.sweep import FOLDER
from tests.cross_cpu.table import (
    BY_KIND,
    NOT_REACHED,
    NOT_SHOWN,
    PROFILE,
    SEEN,
    SHOWN_ON,
    Outcome,
    Verdict,
    fits,
    libraries,
)

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
(`empty` and its kin) are left out; random operators count with the state of their generator. A verdict holds for what
was tried. Where an operator's kernel is torch's own, a run with the variables of the profile alone, without our
kernels, counts for it too. An in-place operator runs the kernel of its plain form, and counts with it.

qemu 7.2 gets gathers through masks wrong. NumPy's `argsort` for AVX2 (and so scikit-learn's HistGradientBoosting) and
torch's `grid_sampler_2d` end a process there on some data. `maximum`, `minimum`, `fmax`, `fmin` and `tanh` of arrays
with gaps between their elements, and the last elements of such a `prod`, give values that are wrong, not rounded
otherwise (a maximum that is neither of the two numbers). So these say nothing about real CPUs, neither way. What
differs is refused all the same where it is torch's; NumPy's functions are not refused.

How a verdict comes about:

- **refused**: some emulated CPU gave something else; or it computes, and no emulated CPU ran it with the same inputs
  ("not shown"), or no part of the sweep calls it. It raises.
- **fixed**: the same everywhere by a kernel of the harness's own, where torch's own differed.
- **portable**: the same on every emulated CPU; where it is the same on some and was not run on the others, the list
  below says on which. What only moves or compares data (views, copies, indexing, comparisons, whole numbers) is
  portable by its kind, run or not.
- Pointwise operators (`exp`, `sin`, `lgamma`, …) need the section `pointwise`: more than {least} numbers over their
  domain, in float32 and in float64, on every CPU. Small inputs miss a rare bit.

In the table is every operator of torch's own (`aten`) that has a kernel for plain tensors on a CPU and that computes.
What has none is composed of such operators, which are looked at one by one, or calls a library from inside one
(`mkldnn_convolution` from `convolution`), or belongs to other tensors. Not refused, and with nothing known of them
where they are not in the table: kernels for sparse, nested, quantised and oneDNN's own tensors, the few names that hand
their work to a library themselves (`mkldnn_convolution` called directly, `fbgemm_linear_*`), and what is not `aten`.
Complex numbers were not swept as inputs: a verdict is of float32 and float64 (and of the complex numbers that Fourier
transforms and eigenvalues of these are made of), while strict lets complex inputs pass wherever these do. They are
torch's own kernels, whose bits nothing shows.

The sections: `float32` and `float64` are the first {samples} inputs of torch's database for each operator, contiguous
and not, forwards and backwards; `products` are products, convolutions and sums of moderate size; `direct` are
operators that the database does not call, called by hand; `sizes` are large and odd ones; `arrays` is NumPy;
`pointwise` has whole numbers too. A section that an emulated CPU did not run whole was shown there in part.
"""


def page(
    swept: Mapping[str, str],
    here: str,
    outcome: Outcome,
    *,
    groups: Sequence[str],
) -> str:
    """The whole page."""
    native, emulated, found = outcome.native, outcome.emulated, outcome.found
    versions = ", ".join(f"{name} {version}" for name, version in swept.items())
    key = f"Swept: {versions}; kernels since version {SWEPT}; the real CPU of this sweep: {here}."
    lines = [HEAD.format(samples=SAMPLES, least=f"{LEAST:,}"), key, ""]
    lines += _counts(found)
    lines += _ran(native, emulated)
    for kind, words in (
        ("refused", "Refused: strict `x86-64-v3` raises with the operator's name"),
        ("fixed", "Fixed: torch's own kernel differs between CPUs, ours does not"),
    ):
        chosen = {name: verdict for name, verdict in found.items() if verdict.cpus == kind}
        unreached = [name for name, verdict in chosen.items() if verdict.note == NOT_REACHED]
        lines += ["", f"## {words}", ""]
        lines += _rows({name: chosen[name] for name in chosen.keys() - set(unreached)}) if chosen else ["None."]
        if unreached:
            lines += ["", f"Because {NOT_REACHED}: {_names(unreached)}."]
    lines += _threads(found)
    lines += _fits(native, emulated, groups)
    lines += _two_threads(outcome, groups)
    lines += _portable(found)
    lines += _failed(emulated)
    lines += ["", "## Real CPUs seen so far", "", *_seen()]
    return "\n".join(lines).rstrip() + "\n"


def _counts(found: Mapping[str, Verdict]) -> list[str]:
    counts = Counter(verdict.cpus for verdict in found.values())
    notes = Counter(_note(verdict) for verdict in found.values() if verdict.cpus == "portable")
    refused = Counter(verdict.note for verdict in found.values() if verdict.cpus == "refused")
    threads = Counter(verdict.threads for verdict in found.values())
    return [
        "| verdict | operators |",
        "| --- | --- |",
        f"| portable: the same on every emulated CPU | {notes['']} |",
        f"| portable: the same on some, not run on others | {counts['portable'] - notes[''] - notes[BY_KIND]} |",
        f"| portable by its kind, not run on every emulated CPU | {notes[BY_KIND]} |",
        f"| fixed | {counts['fixed']} |",
        f"| refused: differs | {counts['refused'] - refused[NOT_SHOWN] - refused[NOT_REACHED]} |",
        f"| refused: not shown | {refused[NOT_SHOWN]} |",
        f"| refused: no part of the sweep calls it | {refused[NOT_REACHED]} |",
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
        "",
        "Untested, because no call was large enough for torch to split it; take them as dependent. What moves or",
        "compares data alone is left out:",
        "",
        _names(name for name, verdict in found.items() if _is_open(name, verdict)) or "None.",
    ]


def _is_open(name: str, verdict: Verdict) -> bool:
    return verdict.threads == "untested" and verdict.cpus != "refused" and not moves(name)


def _fits(native: Record, emulated: Mapping[str, Record], groups: Sequence[str]) -> list[str]:
    cpus = list(emulated)
    lines = [
        "",
        "## Fits, libraries and probes",
        "",
        f"| what | {' | '.join(cpus)} |",
        f"| --- |{' --- |' * len(cpus)}",
    ]
    for name, by_cpu in fits(native, emulated, groups):
        lines.append(f"| {_plain(name)} | {' | '.join(by_cpu[cpu] for cpu in cpus)} |")
    for label, by_cpu in libraries(native, emulated):
        shown = [_share(by_cpu[cpu]) for cpu in cpus]
        lines.append(f"| {label} | {' | '.join(shown)} |")
    return lines


def _share(found: Sequence[Difference]) -> str:
    compared, differ = sum(row.compared for row in found), sum(row.differ for row in found)
    if not compared:
        return "not run"
    share = f"{compared - differ} of {compared} calls the same"
    return f"{share}; not all of {_names(row.operator for row in found if row.differ)}" if differ else share


def _note(verdict: Verdict) -> str:
    """What limits a portable operator: its kind, or the CPUs that it was shown on; nothing where there is no limit."""
    return verdict.note if verdict.note == BY_KIND or verdict.note.startswith(SHOWN_ON) else ""


def _portable(found: Mapping[str, Verdict]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, verdict in found.items():
        if verdict.cpus == "portable":
            groups.setdefault(_note(verdict), []).append(name)
    lines = ["", "## Portable", "", "The same on every emulated CPU:", "", _names(groups.pop("", ())) or "None.", ""]
    for note, names in sorted(groups.items()):
        lines += [f"{note[:1].upper()}{note[1:]} ({len(names)}): {_names(names)}", ""]
    return lines[:-1]


def _two_threads(outcome: Outcome, groups: Sequence[str]) -> list[str]:
    lines = ["", "## Two threads, here and on an emulated CPU", ""]
    for cpu, (here, there) in outcome.two.items():
        if not there.groups:
            continue
        rows = compare(here.calls, there.calls)
        differ = culprits(rows)
        same = [name for name, by_cpu in fits(here, {cpu: there}, groups) if by_cpu[cpu] == "same"]
        lines += [
            f"{cpu}: {sum(row.compared for row in rows)} calls of {len(rows)} operators compared, different: "
            f"{_names(differ) or 'none'}; fits that were the same: {', '.join(map(_plain, same)) or 'none were run'}.",
            "",
        ]
    return lines[:-1] if len(lines) > 3 else [*lines, "Not run."]


def _plain(group: str) -> str:
    return group.partition(": ")[2]


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
