"""Stored runs: find the complete ones of a results folder, and read cells back from them with every digest checked."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from harness.errors import ExitCode, HarnessError, IntegrityError
from harness.record.cells import Cell, RunLabel, cells_of
from harness.record.jsonfile import decode_document, read_document
from harness.record.layout import MANIFEST, runs_folder
from harness.record.manifest import SCHEMA as MANIFEST_SCHEMA
from harness.record.manifest import CellEntry, Manifest, check_files, read_manifest, require_intact
from harness.record.snapshot import SCHEMA as SNAPSHOT_SCHEMA
from harness.record.snapshot import Snapshot, check_snapshot


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """A complete run, as its manifest's index describes it; nothing has been verified yet."""

    folder: Path
    label: RunLabel
    experiment: str | None
    exit_code: int
    cells: tuple[CellEntry, ...]


class StoredCell(msgspec.Struct, frozen=True):
    """A cell read back from a stored run, with its cohort's snapshot; manifest and snapshot were verified."""

    folder: Path
    cell: Cell
    snapshot: Snapshot


class LoadedRun(msgspec.Struct, frozen=True):
    """A whole run, every file of it verified; cells in the order of (target, view, symbol, family)."""

    folder: Path
    manifest: Manifest
    cells: tuple[Cell, ...]

    @property
    def label(self) -> RunLabel:
        """Which run it is."""
        return RunLabel(self.manifest.created_at, self.manifest.run_id, self.manifest.run_name)


class _Index(msgspec.Struct):
    """What a search reads of a manifest; decoding skips the rest, so that a thousand runs take a second."""

    schema: str
    run_name: str
    run_id: str
    created_at: str
    experiment: str | None
    exit_code: int
    cells: tuple[CellEntry, ...]


class Archive:
    """The complete runs of a results folder, oldest first by (created_at, run_id).

    A run that cannot be read is left out and named in `notes`; so is one that proves damaged when a cell of it is read.
    Folders without a manifest (half-made runs, foreign ones) are no runs. Runs that ended in an integrity failure are
    listed, but never compared with.
    """

    def __init__(self, results: Path) -> None:
        self.notes: list[str] = []
        self._manifests: dict[Path, Manifest] = {}
        self._snapshots: dict[tuple[Path, str], Snapshot] = {}
        self._damaged: set[Path] = set()
        found = (self._index(folder) for folder in _candidates(runs_folder(results)))
        self.runs = tuple(sorted((run for run in found if run is not None), key=lambda run: run.label))

    def latest_of_cell(self, cell: Cell) -> StoredCell | None:
        """The same cell in the latest run of its experiment and cohort, comparable or not; never the run itself."""
        wanted = (cell.experiment, cell.cohort_id, cell.family)
        return self._latest(cell, lambda entry: (entry.experiment, entry.cohort_id, entry.family) == wanted)

    def latest_of_group(self, cell: Cell) -> StoredCell | None:
        """The same cell of the latest run in which it has the same comparison group; never the run itself."""
        wanted = (cell.group_digest, cell.key)
        return self._latest(cell, lambda entry: (entry.group, entry.key) == wanted)

    def _latest(self, cell: Cell, wanted: Callable[[CellEntry], bool]) -> StoredCell | None:
        for run in reversed(self.runs):
            if run.label.run_id == cell.run.run_id or run.exit_code == ExitCode.INTEGRITY:
                continue
            for entry in filter(wanted, run.cells):
                if (stored := self._read(run, entry)) is not None:
                    return stored
        return None

    def _index(self, folder: Path) -> StoredRun | None:
        try:
            index = read_document(folder / MANIFEST, _Index, MANIFEST_SCHEMA)
        except HarnessError as error:
            self._skip(folder, error)
            return None
        label = RunLabel(index.created_at, index.run_id, index.run_name)
        return StoredRun(
            folder=folder, label=label, experiment=index.experiment, exit_code=index.exit_code, cells=index.cells
        )

    def _read(self, run: StoredRun, entry: CellEntry) -> StoredCell | None:
        """The cell behind an index entry, or nothing and a note where its run is damaged."""
        if run.folder in self._damaged:
            return None
        try:
            snapshot = self._snapshot(run.folder, entry.snapshot)
            cells = cells_of(snapshot, run.label.run_name, {entry.family: entry.metrics})
            return StoredCell(run.folder, _matching(run.folder, entry, cells), snapshot)
        except (HarnessError, OSError) as error:
            self._skip(run.folder, error)
            return None

    def _snapshot(self, folder: Path, name: str) -> Snapshot:
        if folder not in self._manifests:
            self._manifests[folder] = read_manifest(folder)
        if (folder, name) not in self._snapshots:
            self._snapshots[folder, name] = _read_snapshot(folder, self._manifests[folder], name)
        return self._snapshots[folder, name]

    def _skip(self, folder: Path, error: Exception) -> None:
        self._damaged.add(folder)
        self.notes.append(f"Skipped {folder.name}: {error.message if isinstance(error, HarnessError) else error}")


def find_runs(results: Path) -> tuple[StoredRun, ...]:
    """The complete runs of a results folder, oldest first; those that cannot be read are left out."""
    return Archive(results).runs


def load_run(folder: Path) -> LoadedRun:
    """A run with all its cells, every digest checked.

    Raises:
        UsageError: the folder is not a complete run.
        IntegrityError: a file was altered, is missing or additional; a snapshot contradicts itself or the manifest.
    """
    manifest = require_intact(folder)
    cells: list[Cell] = []
    for name in sorted({entry.snapshot for entry in manifest.cells}):
        entries = {entry.family: entry for entry in manifest.cells if entry.snapshot == name}
        snapshot = _read_snapshot(folder, manifest, name)
        if snapshot.families.keys() != entries.keys():
            raise IntegrityError(f"{folder / name} and {MANIFEST} name different families")
        metrics = {family: entry.metrics for family, entry in entries.items()}
        found = cells_of(snapshot, manifest.run_name, metrics)
        cells += [_matching(folder, entry, found) for entry in entries.values()]
    return LoadedRun(folder, manifest, tuple(sorted(cells, key=lambda cell: cell.key)))


def _candidates(runs: Path) -> Iterator[Path]:
    if not runs.is_dir():
        return
    for folder in sorted(runs.iterdir()):
        if not folder.name.startswith(".") and (folder / MANIFEST).is_file():
            yield folder


def _read_snapshot(folder: Path, manifest: Manifest, name: str) -> Snapshot:
    entry = manifest.files.get(name)
    if entry is None:
        raise IntegrityError(f"{folder / MANIFEST} lists a cell of {name!r}, but not the file")
    check_files(folder, {name: entry.digest})
    snapshot = decode_document((folder / name).read_bytes(), Snapshot, SNAPSHOT_SCHEMA, name=str(folder / name))
    check_snapshot(snapshot)
    if (snapshot.run_id, snapshot.created_at) != (manifest.run_id, manifest.created_at):
        raise IntegrityError(f"{folder / name} is of another run than {MANIFEST}")
    return snapshot


def _matching(folder: Path, entry: CellEntry, cells: tuple[Cell, ...]) -> Cell:
    """The cell that an index entry speaks of, if the snapshot says of it what the index says."""
    for cell in cells:
        if (cell.experiment, cell.cohort_id, cell.key) == (entry.experiment, entry.cohort_id, entry.key) and (
            (cell.group_digest, cell.fingerprint) == (entry.group, entry.fingerprint)
        ):
            return cell
    raise IntegrityError(f"{folder / entry.snapshot} does not hold the cell {' '.join(filter(None, entry.key))}")
