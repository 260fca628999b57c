"""Which runs of a results folder may go, by age and by number; and removing them.

Never goes: a run that is kept, one that a baseline, a release's page or an ensemble rests on, the latest of a
comparison group, and whatever is no complete run that can be read.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from harness.errors import ExitCode
from harness.record.archive import Archive, StoredRun
from harness.record.layout import ENSEMBLES, runs_folder
from harness.record.results import writing
from harness.runs.git import RELEASES
from harness.runs.keeping import guarded, marks, pins
from harness.spec.digest import hexadecimal
from harness.store.gc import digests_named
from harness.store.roots import LOCKS, read_bounded
from harness.store.store import Store

_GOING = ".pruned-"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to remove: those older than so many seconds, beyond the latest so many of their experiment.

    Where both are given, both must hold. Runs of scripts count as one experiment.
    """

    older_than: float | None = None
    keep_last: int | None = None


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a run that the rule names: it goes, or stays for a `reason`. `size` is in bytes."""

    run: StoredRun
    size: int
    reason: str | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of every run that the rule names, oldest first; `others` runs are not named by it.

    `notes` name the runs that cannot be read, which stay.
    """

    fates: tuple[Fate, ...]
    others: int
    notes: tuple[str, ...]


def plan(results: Path, rule: Rule, *, root: Path, store: Store, now: datetime | None = None) -> Plan:
    """Which runs of a results folder may go.

    Raises:
        HarnessError: what protects a run cannot be read: a mark, a pin, a baseline.
    """
    archive = Archive(results)
    named = named_by_rule(archive.runs, rule, now or datetime.now(UTC))
    reasons = protected(archive.runs, documents=_documents(results, root), kept=_kept(results, store))
    reasons |= {run.label.run_id: "it is a link" for run in named if run.folder.is_symlink()}
    fates = (Fate(run=run, size=_size(run.folder), reason=reasons.get(run.label.run_id)) for run in named)
    return Plan(fates=tuple(fates), others=len(archive.runs) - len(named), notes=tuple(archive.notes))


def named_by_rule(runs: Sequence[StoredRun], rule: Rule, now: datetime) -> tuple[StoredRun, ...]:
    """The runs that a rule names, oldest first; none if it says nothing. `runs` are oldest first."""
    if rule.older_than is None and rule.keep_last is None:
        return ()
    before = None if rule.older_than is None else now - timedelta(seconds=rule.older_than)
    found = []
    seen: dict[str | None, int] = {}
    for run in reversed(runs):
        seen[run.experiment] = seen.get(run.experiment, 0) + 1
        old = before is None or datetime.fromisoformat(run.label.created_at) < before
        if old and (rule.keep_last is None or seen[run.experiment] > rule.keep_last):
            found.append(run)
    return tuple(reversed(found))


def protected(runs: Sequence[StoredRun], *, documents: Mapping[str, bytes], kept: Mapping[str, str]) -> dict[str, str]:
    """The runs that must stay, by id, each with the reason. `runs` are oldest first.

    `documents` are what may name a run by its name, its id or (a baseline) by the fingerprint of a cell: of several
    runs with that fingerprint in one group the latest stays. `kept` are the ids of the runs that were asked to be kept.
    """
    reasons: dict[str, str] = {}
    groups: set[tuple[str, tuple[str, ...]]] = set()
    told = {name: (digests_named(data), _words(data)) for name, data in documents.items()}
    bits: set[tuple[str, str]] = set()
    for run in reversed(runs):
        label = run.label
        why = [kept[label.run_id]] if label.run_id in kept else []
        words = {label.run_name.encode(), label.run_id.encode()}
        why += [f"{name} names it" for name, (_, text) in told.items() if words & text]
        if run.exit_code != ExitCode.INTEGRITY:
            own = {(cell.group, hexadecimal(cell.fingerprint)) for cell in run.cells} - bits
            named = {fingerprint for _, fingerprint in own}
            why += [f"{name} holds its bits" for name, (digests, _) in told.items() if named & digests]
            bits |= own
            cells = {(cell.group, cell.key) for cell in run.cells}
            if cells - groups:
                why.append("it is the latest run of a comparison group")
            groups |= cells
        if why:
            reasons[label.run_id] = why[0]
    return reasons


def prune(results: Path, planned: Plan, *, store: Store) -> tuple[Fate, ...]:
    """Remove the runs that were planned to go, but for what was kept meanwhile; what was removed.

    Each run is whole or gone, whatever ends this half-way; the rest of one goes the next time.

    Raises:
        PrerequisiteError: the results folder cannot be written.
    """
    removed = []
    runs = runs_folder(results)
    with writing(runs):
        for fate in planned.fates:
            if fate.reason is not None:
                continue
            going = runs / f".{fate.run.folder.name}{_GOING}{secrets.token_hex(6)}"
            with guarded(results):
                if fate.run.label.run_id in _kept(results, store):
                    continue
                try:
                    fate.run.folder.rename(going)
                except FileNotFoundError:
                    continue
            shutil.rmtree(going)
            removed.append(fate)
        for left in runs.glob(f".*{_GOING}*"):
            if not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
    return tuple(removed)


def _kept(results: Path, store: Store) -> dict[str, str]:
    found = {pin.run_id: "it is kept" for pin in pins(store) if pin.run_id is not None}
    return found | {run_id: _why(mark.note) for run_id, mark in marks(results).items()}


def _why(note: str) -> str:
    return f"it is kept: {note}" if note else "it is kept"


def _words(text: bytes) -> set[bytes]:
    """Everything in a document that may be the name of a run, at the end of a sentence too."""
    words = set(_WORD.findall(text))
    return words | {word.rstrip(b".") for word in words}


_WORD = re.compile(rb"[A-Za-z0-9._=^-]+")


def _documents(results: Path, root: Path) -> dict[str, bytes]:
    """What may name runs: baselines, pages of releases in the results and in the docs, ensembles."""
    folders = {
        root / LOCKS / "baselines": root,
        root / "docs" / RELEASES: root,
        results / RELEASES: results.parent,
        results / ENSEMBLES: results.parent,
    }
    return {
        path.relative_to(base).as_posix(): read_bounded(path)
        for folder, base in folders.items()
        for path in _json_files(folder)
    }


def _json_files(folder: Path) -> Iterator[Path]:
    for parent, _, files in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(files) if name.endswith(".json"))


def _size(folder: Path) -> int:
    size = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                size += Path(parent, name).lstat().st_size
    return size
