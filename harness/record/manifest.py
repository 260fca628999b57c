"""`manifest.json`: every file of a run with its digest, and all that a later run needs to find this one."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import msgspec

from harness.errors import IntegrityError, UsageError
from harness.record.cells import Cell, Metrics
from harness.record.files import write_atomically
from harness.record.hashing import digest_of_file, signature
from harness.record.jsonfile import pretty_json, read_document
from harness.record.layout import MANIFEST, SNAPSHOT
from harness.record.verdicts import CellVerdict
from harness.spec.digest import Digest
from harness.spec.names import check_name
from harness.spec.run import RunSpec

SCHEMA = "harness.manifest/1"
_HINT = "Do not use this run as evidence: restore it from a copy, or run again."


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file; `size` is in bytes."""

    digest: Digest
    size: int


class CellEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell, as much as a search needs: its comparison group's digest, and the path of its cohort's snapshot."""

    experiment: str | None
    cohort_id: str
    target: str
    view: str
    symbol: str | None
    family: str
    group: Digest
    fingerprint: Digest
    metrics: Metrics
    snapshot: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The cell's key: (target, view, symbol or empty, family)."""
        return (self.target, self.view, self.symbol or "", self.family)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole run. `files` are by path relative to its folder, without this one.

    `digest` is the `signature` of all other fields: of their canonical JSON, in which floats are exact.
    """

    schema: str = SCHEMA
    run_name: str
    run_id: str
    created_at: str
    experiment: str | None
    exit_code: int
    run_spec: RunSpec
    cells: tuple[CellEntry, ...]
    verdicts: tuple[CellVerdict, ...]
    files: dict[str, FileEntry]
    digest: Digest


def make_manifest(
    folder: Path,
    cells: Sequence[tuple[str, Cell]],
    *,
    run_spec: RunSpec,
    verdicts: Iterable[CellVerdict],
    exit_code: int,
) -> Manifest:
    """The manifest of the run whose files lie complete in `folder`.

    `cells` are all cells of the run, each with its cohort's folder relative to `folder` (`CohortResult.folder`).

    Raises:
        UsageError: there is no cell, or they are of more than one run.
        IntegrityError: two cells are the same, or `folder` holds something that is not a plain file.
    """
    runs = {cell.run for _, cell in cells}
    if len(runs) != 1:
        raise UsageError(f"A manifest is of one run with at least one cell, not of {len(runs)}")
    run = runs.pop()
    entries = sorted((_entry(cohort, cell) for cohort, cell in cells), key=lambda entry: entry.key)
    _refuse_twins(entries)
    content = {
        "run_name": check_name(run.run_name, "run name"),
        "run_id": run.run_id,
        "created_at": run.created_at,
        "experiment": entries[0].experiment,
        "exit_code": int(exit_code),
        "run_spec": run_spec,
        "cells": entries,
        "verdicts": tuple(verdicts),
        "files": {
            name: FileEntry(digest_of_file(folder / name), (folder / name).stat().st_size)
            for name in sorted(_plain_files(folder))
        },
        "digest": f"sha256:{'0' * 64}",
    }
    # Through the types once, so that the digest is of what a reader will decode (an integral limit becomes a float).
    unsealed = msgspec.convert(msgspec.to_builtins(content), Manifest)
    return msgspec.structs.replace(unsealed, digest=_seal(unsealed))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, once.

    Raises:
        UsageError: the run has one already: it never changes.
        OSError: it cannot be written.
    """
    path = folder / MANIFEST
    if path.exists():
        raise UsageError(f"{path} is there already", hint="A manifest never changes: later verdicts go to the history.")
    write_atomically(path, pretty_json(manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run, whose own digest holds; the files are not looked at.

    Raises:
        UsageError: the folder is not a run, or of another version of the schema.
        IntegrityError: the manifest is damaged or was altered.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder} is not a complete run: it has no {MANIFEST}", hint="Give a folder under runs/.")
    manifest = read_document(path, Manifest, SCHEMA)
    if _seal(manifest) != manifest.digest:
        raise IntegrityError(f"{path} was altered: its digest is not that of its content", hint=_HINT)
    return manifest


def verify_run(folder: Path) -> tuple[str, ...]:
    """Everything that is wrong with a run's files, one sentence each; empty where all are as they were written.

    Raises:
        UsageError: the folder is not a run.
    """
    try:
        manifest = read_manifest(folder)
    except IntegrityError as error:
        return (error.message,)
    return tuple(_problems(folder, manifest))


def require_intact(folder: Path) -> Manifest:
    """The manifest of a run whose files are all as they were written.

    Raises:
        UsageError: the folder is not a run.
        IntegrityError: the first file that was altered, is missing or additional.
    """
    manifest = read_manifest(folder)
    for problem in _problems(folder, manifest):
        raise IntegrityError(problem, hint=_HINT)
    return manifest


def check_files(folder: Path, expected: Mapping[str, Digest]) -> None:
    """Refuse a folder in which a file is not what the one who wrote it said; paths are relative to `folder`.

    Raises:
        IntegrityError: a file is missing, differs, is not a plain file, or its path leads out of `folder`.
    """
    for name, digest in sorted(expected.items()):
        if problem := _file_problem(folder, name, digest):
            raise IntegrityError(problem, hint="Run again; if it happens again, the disk or the trainer is at fault.")


def _entry(cohort: str, cell: Cell) -> CellEntry:
    return CellEntry(
        experiment=cell.experiment,
        cohort_id=cell.cohort_id,
        target=cell.target,
        view=cell.view,
        symbol=cell.symbol,
        family=cell.family,
        group=cell.group_digest,
        fingerprint=cell.fingerprint,
        metrics=cell.metrics,
        snapshot=(PurePosixPath(cohort) / SNAPSHOT).as_posix(),
    )


def _refuse_twins(entries: Sequence[CellEntry]) -> None:
    for one, other in pairwise(entries):
        if one.key == other.key:
            raise IntegrityError(f"The cell {one.target} {one.view} {one.symbol or '-'} {one.family} is there twice")
    cohorts: dict[str, str] = {}
    for entry in entries:
        if cohorts.setdefault(entry.snapshot, entry.cohort_id) != entry.cohort_id:
            raise IntegrityError(f"Two cohorts share {entry.snapshot}: one snapshot would overwrite the other")


def _seal(manifest: Manifest) -> Digest:
    content = {name: getattr(manifest, name) for name in Manifest.__struct_fields__ if name != "digest"}
    return signature(content)


def _plain_files(folder: Path) -> Iterator[str]:
    """Every file below `folder` but its manifest, relative; refuses what is not a plain file."""
    for name, problem in _walk(folder):
        if problem is not None:
            raise IntegrityError(problem, hint="A run holds plain files alone: links and devices are no results.")
        yield name


def _walk(folder: Path) -> Iterator[tuple[str, str | None]]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted(files) + [name for name in folders if (Path(parent) / name).is_symlink()]:
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if relative == MANIFEST:
                continue
            if not stat.S_ISREG(path.lstat().st_mode):
                yield relative, f"{path} is not a plain file"
            elif not _is_text(relative):
                yield relative, f"{str(path)!a} has a name that is not UTF-8"
            else:
                yield relative, None


def _raise(error: OSError) -> None:
    raise error


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    for name, entry in manifest.files.items():
        if problem := _file_problem(folder, name, entry.digest):
            yield problem
    for name, problem in _walk(folder):
        if name not in manifest.files:
            yield problem or f"{folder / name} is additional: the manifest does not name it"


def _file_problem(folder: Path, name: str, digest: Digest) -> str | None:
    parts = PurePosixPath(name).parts
    if not parts or name != "/".join(parts) or ".." in parts or "\0" in name or name == MANIFEST:
        return f"{folder} names the file {name!r}, which is no path inside it"
    path = folder
    for part in parts:
        path /= part
        if path.is_symlink():
            return f"{path} is not a plain file: it is a link"
    if not path.exists():
        return f"{path} is missing"
    if not path.is_file():
        return f"{path} is not a plain file"
    return None if digest_of_file(path) == digest else f"{path} was altered: its digest is not the recorded one"
