"""Two runs of a script: every output that differs, with the cause where one was seen."""

import contextlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.record.explain.cause import Cause, Digests, Facts, Finding, Kind, Pair, names_a_cause, shown
from harness.record.explain.contents import compare_contents, compare_files
from harness.record.explain.tokens import compare_line, volatile_form
from harness.record.layout import METADATA, SCRIPT_FOLDER, SCRIPT_OUTPUTS, SCRIPT_STDOUT, SNAPSHOT, TOUCHED

SCHEMA = "harness.explanation/1"
STDOUT = "stdout"
_MOST_FINDINGS = 20_000
_MOST_CAUSES = 200
_MOST_SOURCES = 3
_BITS = "entropy"
_NAMES = ("uuid.", "secrets.token_")
"""What makes names of random bits, and no numbers."""
_THREADS = "thread"
_CLOCK = "clock"
SEEDED = "(the time)"
"""How a touch ends that says that a seed came from the clock (`strict.ownseeds`)."""
_SEED = "seed"
_UNTOLD = "…"
"""Among the seeds of a line: there were more, and which of them were told may be up to the scheduler."""
_FIXED, _RANDOM = "fixed", "random"


class Explanation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`explanation.json`: why a run of a script differs from the earlier one whose run_id is `against`."""

    schema: str = SCHEMA
    against: str
    explained: bool
    causes: tuple[Cause, ...]


class Touch(msgspec.Struct, frozen=True):
    """One thing that a program asked the system for: what, and the line of the program that did."""

    kind: str
    what: str
    where: str | None = None
    note: str | None = None


class _Touched(msgspec.Struct, frozen=True):
    touched: tuple[Touch, ...] = ()


class _Host(msgspec.Struct, frozen=True):
    addresses: str | None = None


class _Snapshot(msgspec.Struct, frozen=True):
    host: _Host = _Host()


class _Output(msgspec.Struct, frozen=True):
    digest: str


class _Metadata(msgspec.Struct, frozen=True):
    exit_code: int
    wall_seconds: float | None = None
    started_at: datetime | None = None
    working_folder: str | None = None
    stdout: str = ""
    outputs: dict[str, _Output] = {}
    links: dict[str, str] = {}
    removed: tuple[str, ...] = ()


class ScriptRun(NamedTuple):
    """What one run of a script left: `files` by name with their digests, and what it printed, as far as it was kept.

    `addresses` is whether they were `fixed` in memory or `random`; anything else where that is not known.
    """

    folder: Path
    files: Mapping[str, str]
    links: Mapping[str, str]
    removed: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stdout_digest: str
    facts: Facts
    touched: tuple[Touch, ...]
    addresses: str | None = None


def explain(before: Path, after: Path) -> tuple[Cause, ...]:
    """Why two runs of a script, given by their folders, differ in files and in what they printed; nothing where not.

    A run that was kept without what is needed for that (by another version) explains nothing.
    """
    old, new = read_script_run(before), read_script_run(after)
    return () if old is None or new is None else explain_runs(old, new)


def read_script_run(folder: Path) -> ScriptRun | None:
    """What `harness exec` kept in a run's folder; nothing where it cannot be read."""
    script = folder / SCRIPT_FOLDER
    try:
        metadata = msgspec.json.decode((script / METADATA).read_bytes(), type=_Metadata)
        stdout = (script / SCRIPT_STDOUT).read_bytes() if (script / SCRIPT_STDOUT).is_file() else b""
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    touched, snapshot = _Touched(), _Snapshot()
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        snapshot = msgspec.json.decode((script / SNAPSHOT).read_bytes(), type=_Snapshot)
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        touched = msgspec.json.decode((script / TOUCHED).read_bytes(), type=_Touched)
    files = {name: output.digest for name, output in metadata.outputs.items()}
    digests = Digests((name, digest.rpartition(":")[2]) for name, digest in files.items())
    return ScriptRun(
        folder=script / SCRIPT_OUTPUTS,
        files=files,
        links=metadata.links,
        removed=metadata.removed,
        exit_code=metadata.exit_code,
        stdout=stdout,
        stdout_digest=metadata.stdout,
        facts=Facts(
            begun=metadata.started_at, seconds=metadata.wall_seconds, folder=metadata.working_folder, digests=digests
        ),
        touched=touched.touched,
        addresses=snapshot.host.addresses,
    )


def explain_runs(old: ScriptRun, new: ScriptRun) -> tuple[Cause, ...]:
    """Why two runs of a script differ: a cause for each output and kind of difference."""
    facts = old.facts, new.facts
    causes: list[Cause] = []
    pairs, gone, added = _pairs(old.files, new.files)
    for one, other in pairs:
        findings: list[Finding] = []
        if one != other:
            findings += compare_line(one, other, "its name", facts, label="name")
        if old.files[one] != new.files[other]:
            findings += _capped(_files(old.folder / one, new.folder / other, facts))
        causes += _causes(f"{SCRIPT_OUTPUTS}/{other}", findings, old, new)
    for name, side in (*((name, "earlier") for name in gone), *((name, "later") for name in added)):
        missing = Finding("the file", Kind.MISSING, detail=f"only the {side} run has it")
        causes += _causes(f"{SCRIPT_OUTPUTS}/{name}", [missing], old, new)
    for name in sorted(old.links.keys() | new.links.keys()):
        one, other = old.links.get(name, ""), new.links.get(name, "")
        causes += _causes(f"{SCRIPT_OUTPUTS}/{name}", [*compare_line(one, other, "where it leads", facts)], old, new)
    if old.removed != new.removed:
        names = [
            shown(", ".join(sorted({*a} - {*b}))) for a, b in ((old.removed, new.removed), (new.removed, old.removed))
        ]
        causes += _causes("removed", [Finding("the names", Kind.TEXT, *names)], old, new)
    if old.exit_code != new.exit_code:
        ended = Finding("the exit code", Kind.EXIT, str(old.exit_code), str(new.exit_code))
        causes += _causes("exit_code", [ended], old, new)
    if old.stdout_digest != new.stdout_digest:
        causes += _causes(STDOUT, _capped(_printed(old, new, facts)), old, new)
    return tuple(causes[:_MOST_CAUSES])


def summary(causes: Iterable[Cause]) -> str:
    """Whether all of it is explained, in one sentence."""
    unknown = sorted({cause.file for cause in causes if not cause.explained})
    if not unknown:
        return "Every difference has a cause that was seen."
    return f"Not explained: {', '.join(unknown[:5])}{' and more' if len(unknown) > 5 else ''}."


def _files(before: Path, after: Path, facts: Pair) -> Iterator[Finding]:
    try:
        yield from compare_files(before, after, facts)
    except OSError as error:
        yield Finding("as a whole", Kind.BYTES, detail=f"it cannot be read: {error.strerror}")


def _printed(old: ScriptRun, new: ScriptRun, facts: Pair) -> Iterator[Finding]:
    if old.stdout == new.stdout:
        yield Finding("as a whole", Kind.TEXT, detail="where it differs was not kept")
    else:
        yield from compare_contents("stdout.txt", old.stdout, new.stdout, facts)


def _pairs(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """The files of two runs that are one: of the same name, else of names that differ in times, tokens and numbers."""
    pairs = [(name, name) for name in sorted(old.keys() & new.keys())]
    gone, added = (dict.fromkeys(sorted(one.keys() - other.keys())) for one, other in ((old, new), (new, old)))
    # Of several whose names are of one form, those with the same content belong together.
    for form, content in ((_loose_form, True), (volatile_form, False), (_loose_form, False)):
        waiting: dict[tuple[str, str], deque[str]] = {}
        for name in added:
            waiting.setdefault((form(name), new[name] if content else ""), deque()).append(name)
        for name in tuple(gone):
            if found := waiting.get((form(name), old[name] if content else "")):
                pairs.append((name, found.popleft()))
                del gone[name], added[pairs[-1][1]]
    return pairs, [*gone], [*added]


def _loose_form(name: str) -> str:
    """A name without whatever has a digit in it."""
    return re.sub(r"(?<![0-9A-Za-z])[A-Za-z]*\d[0-9A-Za-z]*", "#", name)


def _capped(findings: Iterable[Finding]) -> list[Finding]:
    """The first findings; where there are very many more, one that says that the rest was not looked at."""
    kept: list[Finding] = []
    for finding in findings:
        if len(kept) == _MOST_FINDINGS:
            return [*kept, Finding("further on", Kind.TEXT, detail=f"more than {_MOST_FINDINGS:,} differences")]
        kept.append(finding)
    return kept


def _causes(file: str, findings: Iterable[Finding], old: ScriptRun, new: ScriptRun) -> list[Cause]:
    """One cause a kind, the first finding of it shown."""
    first: dict[Kind, Finding] = {}
    counts: dict[Kind, int] = {}
    for finding in findings:
        first.setdefault(finding.kind, finding)
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
    causes = []
    for kind, finding in first.items():
        sources = _sources(kind, old, new)
        causes.append(
            Cause(
                file=file,
                where=finding.where,
                kind=kind,
                before=finding.before,
                after=finding.after,
                detail=finding.detail,
                count=counts[kind],
                sources=sources,
                explained=names_a_cause(kind) or bool(sources),
            )
        )
    return causes


def _sources(kind: Kind, old: ScriptRun, new: ScriptRun) -> tuple[str, ...]:
    """What can lead to such a difference: what both runs were seen asking the system for, seeds, and addresses."""
    names: list[str] = []
    match kind:
        case Kind.TOKEN:
            return _most(_asked(kind, (_BITS,), old, new))
        case Kind.ORDER:
            names = _asked(kind, (_THREADS,), old, new) or _seeded(kind, old, new)
        case Kind.NUMBER | Kind.BYTES | Kind.TEXT | Kind.MISSING | Kind.EXIT:
            names = _seeded(kind, old, new) or _asked(kind, (_THREADS,), old, new)
        case _:
            return ()
    return (*_most(names), *_addresses(old, new))


def _most(names: Sequence[str]) -> tuple[str, ...]:
    more = [f"{len(names) - _MOST_SOURCES} more"] if len(names) > _MOST_SOURCES else []
    return (*names[:_MOST_SOURCES], *more)


def _asked(kind: Kind, asked: Sequence[str], old: ScriptRun, new: ScriptRun) -> list[str]:
    """What both runs were seen asking for, with the line of the program that did."""
    both = {(touch.kind, touch.what) for touch in old.touched} & {(touch.kind, touch.what) for touch in new.touched}
    names = [
        f"{touch.what} at {touch.where}"
        for touch in new.touched
        if touch.kind in asked and touch.where and (touch.kind, touch.what) in both and _can_lead_to(kind, touch)
    ]
    return list(dict.fromkeys(names))


def _seeded(kind: Kind, old: ScriptRun, new: ScriptRun) -> list[str]:
    """Where random bits were asked for, the time was a seed, or one line set another seed in each run."""
    names = _asked(kind, (_BITS, _CLOCK), old, new)
    before = {(touch.what, touch.where): touch.note for touch in old.touched if touch.kind == _SEED}
    for touch in new.touched:
        earlier = before.get((touch.what, touch.where))
        if touch.kind != _SEED or not touch.where or f"{touch.what}{SEEDED} at {touch.where}" in names:
            continue
        if earlier and touch.note and (change := _change(earlier.split("; "), touch.note.split("; "))):
            names.append(f"{touch.what}({change}) at {touch.where}")
    return names


def _change(before: Sequence[str], after: Sequence[str]) -> str:
    """The first seed that only one run set, for each run; nothing where they set the same, or more than were told."""
    if _UNTOLD in (*before, *after):
        return ""
    gone = next((seed for seed in before if seed not in after), "")
    added = next((seed for seed in after if seed not in before), "")
    return f"{shown(gone) or 'nothing'} → {shown(added) or 'nothing'}" if gone or added else ""


def _addresses(old: ScriptRun, new: ScriptRun) -> tuple[str, ...]:
    """That addresses in memory are not the same in both runs, on which `id()` and default hashes depend."""
    if _RANDOM not in (old.addresses, new.addresses):
        return ()
    if old.addresses == new.addresses:
        return ("addresses in memory, which were random in both runs",)
    if _FIXED in (old.addresses, new.addresses):
        return (f"addresses in memory, which were {old.addresses} in the earlier run and {new.addresses} in the later",)
    return ("addresses in memory, which were random in one of the runs",)


def _can_lead_to(kind: Kind, touch: Touch) -> bool:
    """Whether names alone were made of the random bits, and whether of the clock's readings a seed was made."""
    if touch.kind == _CLOCK:
        return touch.what.endswith(SEEDED)
    return not (kind in (Kind.NUMBER, Kind.ORDER, Kind.EXIT) and touch.what.startswith(_NAMES))
