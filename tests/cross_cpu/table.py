"""The outcome as files: operators.json, which strict reads, the records of this CPU, and the page for people."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cross_cpu.cpus import EMULATED, NATIVE, ROOT
from tests.cross_cpu.digests import digest
from tests.cross_cpu.kinds import moves
from tests.cross_cpu.records import Difference, Record, compare, differing_cases, read
from tests.cross_cpu.sources import key
from tests.cross_cpu.sweep import FOLDER

OPERATORS = ROOT / "harness" / "strict" / "kernels" / "operators.json"
PAGE = ROOT / "docs" / "portability.md"
SEEN = Path(__file__).with_name("seen")
PROFILE = "x86-64-v3"


class Verdict(NamedTuple):
    """What is known of one operator. `cpus` is portable, fixed, refused or untested; `on` the CPUs it was compared on.

    After `settle` nothing is untested: what was not shown is portable by its kind, or refused.

    `threads` is invariant, dependent or untested (no call was large enough for torch to split it).
    """

    cpus: str
    threads: str
    on: tuple[str, ...]
    compared: int
    note: str


def records(folder: Path, settings: str, cpu: str, threads: int = 1) -> Record:
    """All that was recorded under these settings; empty where nothing was."""
    return read(sorted((folder / f"{settings}-{cpu}-{threads}").glob("*.jsonl")))


def verdicts(
    native: Record,
    emulated: Mapping[str, Record],
    *,
    without: Iterable[str] = (),
    threads: Mapping[str, str] | None = None,
    same_without: Mapping[str, Mapping[str, int]] | None = None,
    more: Mapping[str, tuple[Record, Record]] | None = None,
) -> dict[str, Verdict]:
    """Every operator that this CPU ran. `without` are those that differed without our kernels, `threads` by operator.

    Portable or fixed is an operator that every emulated CPU ran on inputs that this one ran it on, with equal results.
    `same_without` has, by emulated CPU, how many calls of an operator were the same under the variables of the profile
    alone: as good for an operator whose kernel is torch's in both. `more` are further pairs of records that must agree,
    by words for where: the same CPUs with two threads. In-place operators run the kernels of their plain forms, and
    count with them.
    """
    differ: dict[str, list[str]] = {}
    on: dict[str, list[str]] = {}
    compared: dict[str, int] = {}
    loose: set[str] = set()
    for cpu, record in sorted(emulated.items()):
        for difference in compare(native.calls, record.calls):
            if difference.compared:
                on.setdefault(difference.operator, []).append(cpu)
                compared[difference.operator] = compared.get(difference.operator, 0) + difference.compared
            if difference.differ:
                differ.setdefault(difference.operator, []).append(cpu)
            if difference.unrepeatable:
                loose.add(difference.operator)
    for cpu, same in sorted((same_without or {}).items()):
        for operator, calls in same.items():
            if operator not in native.replaced and cpu not in on.get(operator, []):
                on.setdefault(operator, []).append(cpu)
                compared[operator] = compared.get(operator, 0) + calls
    for where, (mine, theirs) in (more or {}).items():
        for difference in compare(mine.calls, theirs.calls):
            if difference.differ:
                differ.setdefault(difference.operator, []).append(where)
    found = {}
    for operator in native.calls:
        if not operator.startswith("aten::"):
            continue
        plain = operator.removesuffix("_")
        seen = tuple(sorted({*on.get(operator, ()), *on.get(plain, ())}))
        ours = operator in native.replaced
        note = "our own kernel" if ours else ""
        if operator in differ:
            kind, note = "refused", "differs between this CPU and " + ", ".join(differ[operator])
        elif len(seen) < len(EMULATED):
            kind = "untested"
        elif ours and operator in set(without):
            kind, note = "fixed", "our own kernel; torch's differs between CPUs"
        else:
            kind = "portable"
        if operator in loose:
            note = "; ".join(part for part in (note, "does not repeat on one CPU either") if part)
        thread = (threads or {}).get(operator, "untested")
        found[operator] = Verdict(kind, thread, seen, compared.get(operator, 0), note)
    return found


NOT_SHOWN = "not shown to have the same bits on every processor"
NOT_REACHED = "no part of the sweep calls it"
SHOWN_ON = "the same on "
BY_KIND = "by kind: it moves or compares data"


def settle(
    found: Mapping[str, Verdict], *, thin: Collection[str] = (), own: Collection[str] = ()
) -> dict[str, Verdict]:
    """The verdicts that strict acts upon, by rule: nothing stays untested.

    What moves or compares data alone is portable by its kind. What computes is portable where an emulated CPU ran it,
    and the note says on which alone; else it is refused. `thin` are pointwise operators that were not run on
    thousands of numbers everywhere: a small sample does not make these portable. `own` are the operators that torch has
    a kernel of: refused where none of these was found and it does not move data alone.
    """
    settled = {
        name: Verdict("refused", "untested", (), 0, NOT_REACHED)
        for name in own
        if name not in found and name.removesuffix("_") not in found and not moves(name)
    }
    for operator, verdict in found.items():
        plain = operator.removesuffix("_")
        if verdict.cpus in ("refused", "fixed"):
            settled[operator] = verdict
        elif moves(operator):
            by_kind = verdict.cpus == "untested"
            settled[operator] = verdict._replace(cpus="portable", note=BY_KIND if by_kind else verdict.note)
        elif verdict.cpus == "portable" and plain not in thin:
            settled[operator] = verdict
        elif plain not in thin and verdict.on:
            settled[operator] = verdict._replace(
                cpus="portable", note=f"{SHOWN_ON}{' and '.join(verdict.on)}, not run on the others"
            )
        else:
            settled[operator] = verdict._replace(cpus="refused", note=NOT_SHOWN)
    return settled


def thin_operators(operators: Iterable[str], record: Record, prefix: str = "pointwise: ") -> set[str]:
    """The pointwise `operators` that a CPU did not run to the end in both dtypes, on thousands of numbers."""
    ended = {name.removeprefix(prefix) for name, how in record.groups.items() if how == "ended"}
    return {
        operator
        for operator in operators
        if not {f"{operator.removeprefix('aten::')}/{dtype}" for dtype in ("float32", "float64")} <= ended
    }


def worse(committed: Mapping[str, Mapping[str, str]], found: Mapping[str, Verdict]) -> list[str]:
    """What was shown now and is worse than the committed table says, a line an operator; what was not run is not."""
    lines = []
    for operator, verdict in sorted(found.items()):
        before = committed.get(operator, {})
        if verdict.cpus == "refused" and before.get("cpus", "untested") != "refused":
            lines.append(f"{operator}: {before.get('cpus', 'not in the table')}, now: {verdict.note}")
        if verdict.threads == "dependent" and before.get("threads") == "invariant":
            lines.append(f"{operator}: one thread and two gave the same, and now something else")
    return lines


def thread_verdicts(pairs: Iterable[tuple[Record, Record]]) -> dict[str, str]:
    """For each operator whether one thread and two give the same, in every pair of records: large calls decide.

    An operator whose calls were all small was never split, and is not in the answer, unless it differs all the same.
    """
    found: dict[str, str] = {}
    for one, two in pairs:
        for difference in compare(one.large, two.large):
            if difference.differ:
                found[difference.operator] = "dependent"
            elif difference.compared:
                found.setdefault(difference.operator, "invariant")
        for difference in compare(one.small, two.small):
            if difference.differ:
                found[difference.operator] = "dependent"
    return found


def operators_json(swept: Mapping[str, str], made: Mapping[str, str], found: Mapping[str, Verdict]) -> str:
    """The table that strict reads, one operator a line.

    `swept` are the libraries that were, by version; `made` says with which kernels (`sources.kernels`).
    """
    lines = []
    for operator in sorted(found):
        verdict = found[operator]
        entry = {"cpus": verdict.cpus, "threads": verdict.threads}
        if verdict.note:
            entry["note"] = verdict.note
        lines.append(f"  {json.dumps(operator)}: {json.dumps(entry)}")
    head = f'{json.dumps({"schema": "harness.operators/1", **swept, "kernels": dict(made)})[:-1]}, "operators": {{\n'
    return head + ",\n".join(lines) + "\n}}\n"


def seen_json(cpu: str, native: Record, emulated: Mapping[str, Record]) -> str:
    """A digest over this CPU's results of each group of cases, so that the next CPU can be held against them.

    Left out are groups in which an emulated CPU differs: those are not promised.
    """
    wrong = {group_of(case) for record in emulated.values() for case in differing_cases(native.cases, record.cases)}
    groups: dict[str, list[tuple[str, str]]] = {}
    for case, result in sorted(native.cases.items()):
        if group_of(case) not in wrong and native.groups.get(group_of(case)) == "ended":
            groups.setdefault(group_of(case), []).append((case, result))
    start = native.starts[-1]
    head = {"cpu": cpu, **{name: start[name] for name in (*key(), "kernels")}}
    digests = {name: digest(cases) for name, cases in groups.items()}
    return json.dumps({**head, "groups": digests}, indent=1, ensure_ascii=False) + "\n"


def differing_groups(theirs: Mapping[str, str], mine: Mapping[str, str]) -> list[str]:
    """The groups that two real CPUs both ran and that ended differently, by name."""
    return sorted(name for name in theirs.keys() & mine.keys() if theirs[name] != mine[name])


def group_of(case: str) -> str:
    """The group that a case is of."""
    return case.rpartition("/")[0]


def libraries(native: Record, emulated: Mapping[str, Record]) -> list[tuple[str, dict[str, list[Difference]]]]:
    """NumPy's functions together, and each library's probe: name, and by CPU what was compared."""
    rows = []
    probes = sorted(name for name in native.calls if name.startswith("probe::"))
    numpy = [name for name in native.calls if name.startswith("numpy::")]
    for label, names in [("NumPy", numpy), *((name.replace("::", " of "), [name]) for name in probes)]:
        mine = {name: native.calls[name] for name in names}
        by_cpu = {}
        for cpu, record in emulated.items():
            by_cpu[cpu] = [row for row in compare(mine, record.calls) if row.compared]
        rows.append((label, by_cpu))
    return rows


def fits(native: Record, emulated: Mapping[str, Record], groups: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """Each fit by name and, by CPU, whether all of it was the same, differed, or was not run."""
    rows = []
    for group in groups:
        mine = {case: result for case, result in native.cases.items() if case.startswith(group + "/")}
        by_cpu = {}
        for cpu, record in emulated.items():
            theirs = {case: result for case, result in record.cases.items() if case in mine}
            if record.groups.get(group) != "ended" or not theirs:
                by_cpu[cpu] = "not run to its end"
            else:
                by_cpu[cpu] = "same" if theirs == mine else "differs"
        rows.append((group, by_cpu))
    return rows


EMULATORS_OWN = frozenset(
    f"numpy::{name}" for name in ("argsort", "fmax", "fmin", "maximum", "minimum", "prod", "tanh")
)
"""What differs under emulation because the emulator computes it wrongly (the page says how)."""


def other_results(outcome: "Outcome", groups: Sequence[str]) -> list[str]:
    """Fits, NumPy's functions and probes that gave something else on an emulated CPU, a line each.

    Those of `EMULATORS_OWN` are not in it, nor what did not run to its end.
    """
    pairs = [(outcome.native, outcome.emulated), *((here, {cpu: there}) for cpu, (here, there) in outcome.two.items())]
    found = [
        f"{name} differs on {cpu}"
        for here, there in pairs
        for name, by_cpu in fits(here, there, groups)
        for cpu, how in by_cpu.items()
        if how == "differs"
    ]
    for _, rows in libraries(outcome.native, outcome.emulated):
        for cpu, differences in rows.items():
            differ = [row.operator for row in differences if row.differ and row.operator not in EMULATORS_OWN]
            found += [f"{name} differs on {cpu}" for name in differ]
    return list(dict.fromkeys(found))


class Outcome(NamedTuple):
    """Everything that was recorded: here, on the emulated CPUs, and what follows of it (see `verdicts`, `settle`).

    `two` has the records with two threads, here and on an emulated CPU, by its name; `shown` what was shown, `found`
    what the table says of it; `dropped` files with records of other kernels.
    """

    native: Record
    emulated: dict[str, Record]
    two: dict[str, tuple[Record, Record]]
    shown: dict[str, Verdict]
    found: dict[str, Verdict]
    dropped: list[Path]


def load(folder: Path = FOLDER, pointwise: Collection[str] = (), own: Collection[str] = ()) -> Outcome:
    """All records of these kernels in `folder`, and the verdicts.

    `pointwise` are the operators that torch calls so, `own` those that it has a kernel of.
    """
    native = records(folder, PROFILE, NATIVE)
    emulated = {cpu: records(folder, PROFILE, cpu) for cpu in EMULATED}
    bare = records(folder, "pins", NATIVE)
    pins = {cpu: compare(bare.calls, records(folder, "pins", cpu).calls) for cpu in EMULATED}
    without = {row.operator for rows in pins.values() for row in rows if row.differ and not row.unrepeatable}
    same = {
        cpu: {row.operator: row.compared for row in rows if row.compared and not row.differ}
        for cpu, rows in pins.items()
    }
    pairs = [(records(folder, name, NATIVE, 1), records(folder, name, NATIVE, 2)) for name in (PROFILE, "native")]
    here = records(folder, PROFILE, NATIVE, 2)
    two = {cpu: (here, records(folder, PROFILE, cpu, 2)) for cpu in EMULATED}
    more = {f"{cpu} with two threads": pair for cpu, pair in two.items()}
    threads = thread_verdicts(pairs)
    shown = verdicts(native, emulated, without=without, threads=threads, same_without=same, more=more)
    everything = [native, bare, *emulated.values(), *(record for pair in (*pairs, *two.values()) for record in pair)]
    dropped = sorted({file for record in everything for file in record.dropped})
    thin = {name for record in (native, *emulated.values()) for name in thin_operators(pointwise, record)}
    missing = {name for name in own if name not in native.replaced}
    return Outcome(native, emulated, two, shown, settle(shown, thin=thin, own=missing), dropped)
