"""Compare cells and runs: a verdict a cell, with the reasons for it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.errors import ExitCode
from harness.record.archive import Archive, LoadedRun, load_run
from harness.record.cells import Cell, RunLabel
from harness.record.changes import changed_keys, describe_change, environment_changes, probe_changes, short
from harness.record.explain.cause import Cause
from harness.record.explain.explanation import explain
from harness.record.snapshot import SCRIPT_VIEW
from harness.record.verdicts import CellVerdict, Verdict, comparison_exit_code, run_exit_code
from harness.spec.digest import Digest
from harness.spec.run import Profile

SCHEMA = "harness.comparison/1"
SILENT_CHANGE = "predictions changed under unchanged metrics"


class MetricDelta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One metric that differs; null where a side has no value, and then there is no delta."""

    before: float | None
    after: float | None
    delta: float | None


class CellComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell of two runs. `reasons` are for people, the other fields for machines.

    `changed_keys` are the fields of the comparison group that differ, `environment_changes` what lies behind a changed
    environment or probe, `changed_outputs` the outputs whose digests differ, comparable or not. `causes` say where
    a script's files and what it printed differ and why, as far as that was seen.
    """

    target: str
    view: str
    symbol: str | None
    family: str
    verdict: Verdict
    reasons: tuple[str, ...]
    changed_keys: tuple[str, ...] = ()
    environment_changes: tuple[str, ...] = ()
    changed_outputs: tuple[str, ...] = ()
    metric_deltas: dict[str, MetricDelta] = {}
    before: Digest | None = None
    after: Digest | None = None
    causes: tuple[Cause, ...] = ()

    def against(self, run: RunLabel | None) -> CellVerdict:
        """The verdict alone, as the manifest and the history keep it."""
        return CellVerdict(
            target=self.target,
            view=self.view,
            symbol=self.symbol,
            family=self.family,
            verdict=self.verdict,
            reasons=self.reasons,
            against=run.run_id if run is not None else None,
        )


class RunComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two runs, cell by cell. `verdicts` counts them, `notes` say what concerns the runs as a whole."""

    schema: str = SCHEMA
    before: RunLabel
    after: RunLabel
    cells: tuple[CellComparison, ...]
    verdicts: dict[str, int]
    exit_code: int
    notes: tuple[str, ...]


def compare_cells(before: Cell, after: Cell) -> CellComparison:
    """The verdict on one cell of two runs: identical or divergent within one comparison group, else incomparable.

    Raises:
        ValueError: they are not the same cell.
    """
    if before.key != after.key:
        raise ValueError(f"{before.key} and {after.key} are different cells")
    keys = changed_keys(before.group, after.group)
    outputs = tuple(
        name
        for name in sorted(before.outputs.keys() | after.outputs.keys())
        if before.outputs.get(name) != after.outputs.get(name)
    )
    environment = environment_changes(before.environment, after.environment, Profile(str(after.group["profile"])))
    probes = probe_changes(before.environment, after.environment)
    behind = (*(environment if "environment_signature" in keys else ()), *(probes if "probe_signature" in keys else ()))
    reasons: tuple[str, ...]
    if keys:
        verdict = Verdict.INCOMPARABLE
        reasons = tuple(describe_change(key, before.group, after.group, environment, probes) for key in keys)
    elif before.fingerprint == after.fingerprint:
        verdict, reasons = Verdict.IDENTICAL, ()
    else:
        verdict, reasons = Verdict.DIVERGENT, _divergence(before, after, outputs)
    return CellComparison(
        target=after.target,
        view=after.view,
        symbol=after.symbol,
        family=after.family,
        verdict=verdict,
        reasons=reasons,
        changed_keys=keys,
        environment_changes=behind,
        changed_outputs=outputs,
        metric_deltas=metric_deltas(before, after),
        before=before.fingerprint,
        after=after.fingerprint,
    )


def unverified(cell: Cell, *reasons: str, gone: bool = False) -> CellComparison:
    """A cell that there is nothing to compare with; `gone` where it is the earlier run that has it."""
    return CellComparison(
        target=cell.target,
        view=cell.view,
        symbol=cell.symbol,
        family=cell.family,
        verdict=Verdict.UNVERIFIED,
        reasons=reasons,
        before=cell.fingerprint if gone else None,
        after=None if gone else cell.fingerprint,
    )


def metric_deltas(before: Cell, after: Cell) -> dict[str, MetricDelta]:
    """The metrics that differ, by name."""
    deltas = {}
    for name in sorted(before.metrics.keys() | after.metrics.keys()):
        old, new = before.metrics.get(name), after.metrics.get(name)
        if old != new:
            deltas[name] = MetricDelta(old, new, None if old is None or new is None else new - old)
    return deltas


def compare_runs(before: Path, after: Path) -> RunComparison:
    """Two stored runs cell by cell, after every file of both was verified; only reads.

    Raises:
        UsageError: a folder is not a complete run.
        IntegrityError: a file of a run is not what its manifest says.
    """
    return compare_loaded(load_run(before), load_run(after))


def compare_loaded(old: LoadedRun, new: LoadedRun) -> RunComparison:
    """Two runs that were read back already, cell by cell."""
    olds = {cell.key: cell for cell in old.cells}
    news = {cell.key: cell for cell in new.cells}
    cells = tuple(
        _explained(_compare_key(olds.get(key), news.get(key)), old.folder, new.folder)
        for key in sorted(olds.keys() | news.keys())
    )
    notes = []
    if old.label.run_id == new.label.run_id:
        notes.append(f"Both folders hold the same run, {old.label.run_id}: that they agree says nothing of a repeat.")
    if old.manifest.experiment != new.manifest.experiment:
        notes.append(f"The experiments differ: {old.manifest.experiment} and {new.manifest.experiment}.")
    found = [cell.verdict for cell in cells]
    return RunComparison(
        before=old.label,
        after=new.label,
        cells=cells,
        verdicts={verdict.value: found.count(verdict) for verdict in Verdict},
        exit_code=comparison_exit_code(found),
        notes=tuple(notes),
    )


def judge(cell: Cell, archive: Archive, *, folder: Path | None = None) -> tuple[CellComparison, RunLabel | None]:
    """A new run's cell against the latest run of its comparison group, and which run that is.

    Where there is none, the verdict is `unverified`, and the reasons also say what differs from the cell's last run.
    `folder` is where the new run's files lie: with it a script's comparison says what caused its differences.
    """
    stored = archive.latest_of_group(cell)
    if stored is not None:
        comparison = compare_cells(stored.cell, cell)
        return comparison if folder is None else _explained(comparison, stored.folder, folder), stored.cell.run
    reasons = ["first run of this group"]
    if (last := archive.latest_of_cell(cell)) is not None:
        changed = "; ".join(compare_cells(last.cell, cell).reasons)
        reasons.append(f"not comparable with {last.cell.run.run_name}: {changed}")
    return unverified(cell, *reasons), None


def judge_all(cells: Sequence[Cell], archive: Archive) -> tuple[tuple[CellVerdict, ...], ExitCode]:
    """The verdicts of a new run's cells, in their order, and what `run` answers with them."""
    verdicts = tuple(comparison.against(run) for comparison, run in (judge(cell, archive) for cell in cells))
    return verdicts, run_exit_code(verdict.verdict for verdict in verdicts)


def _compare_key(before: Cell | None, after: Cell | None) -> CellComparison:
    if before is not None and after is not None:
        return compare_cells(before, after)
    if after is not None:
        return unverified(after, f"only in {after.run.run_name}")
    if before is not None:
        return unverified(before, f"only in {before.run.run_name}", gone=True)
    raise ValueError("a key without a cell")


def _explained(comparison: CellComparison, before: Path, after: Path) -> CellComparison:
    """A script's comparison with the causes of what differs; any other as it is."""
    if comparison.view != SCRIPT_VIEW or comparison.before is None or comparison.after is None:
        return comparison
    return msgspec.structs.replace(comparison, causes=explain(before, after))


def _divergence(before: Cell, after: Cell, outputs: tuple[str, ...]) -> tuple[str, ...]:
    reasons = [f"{name} changed" for name in outputs]
    if "predictions" in outputs and "metrics" not in outputs:
        reasons[outputs.index("predictions")] = SILENT_CHANGE
    if before.code.digest != after.code.digest:
        old, new = before.code, after.code
        reasons.append(
            f"code differs, which may be the cause: commit {short(old.commit)} → {short(new.commit)},"
            f" files {short(old.digest)} → {short(new.digest)}"
        )
    return tuple(reasons)
