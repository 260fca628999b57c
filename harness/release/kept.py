"""Runs that are kept here: which hold cells of a comparison group, and which still have the bits of a baseline."""

from functools import cached_property
from pathlib import Path

from harness.errors import ExitCode, HarnessError
from harness.record.archive import LoadedRun, StoredRun, find_runs, load_run
from harness.record.cells import Cell
from harness.record.hashing import signature
from harness.record.manifest import CellEntry
from harness.release.baseline import GoldenResult
from harness.spec.digest import Digest


class Kept:
    """The runs of a results folder, asked for cells that gave what a baseline holds; each is read once."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._loaded: dict[Path, LoadedRun | None] = {}

    @cached_property
    def _runs(self) -> tuple[StoredRun, ...]:
        return find_runs(self._results)

    def cell(self, stored: GoldenResult) -> tuple[LoadedRun, Cell] | None:
        """The latest intact run with a cell of that group, key and fingerprint; null where none is kept."""
        wanted = (signature(stored.group), stored.key, stored.fingerprint)
        for run in reversed(self._runs):
            if run.exit_code == ExitCode.INTEGRITY or wanted not in map(_identity, run.cells):
                continue
            if (loaded := self._load(run.folder)) is not None:
                return loaded, next(
                    cell for cell in loaded.cells if (cell.group_digest, cell.key, cell.fingerprint) == wanted
                )
        return None

    def _load(self, folder: Path) -> LoadedRun | None:
        if folder not in self._loaded:
            try:
                self._loaded[folder] = load_run(folder)
            except (HarnessError, OSError):  # a damaged run of another day gives no distance, and is no finding here
                self._loaded[folder] = None
        return self._loaded[folder]


def runs_by_group(results: Path) -> dict[Digest, tuple[str, ...]]:
    """The names of the complete runs of a results folder that hold a cell of a comparison group, sorted, by group."""
    found: dict[Digest, set[str]] = {}
    for run in find_runs(results):
        for cell in run.cells:
            found.setdefault(cell.group, set()).add(run.label.run_name)
    return {group: tuple(sorted(names)) for group, names in found.items()}


def _identity(entry: CellEntry) -> tuple[Digest, tuple[str, str, str, str], Digest]:
    return entry.group, entry.key, entry.fingerprint
