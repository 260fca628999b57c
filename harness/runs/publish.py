"""The end of a run: snapshots are compared with earlier runs, written beside what they speak of, and published."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from harness.errors import ExitCode
from harness.record.archive import Archive
from harness.record.cells import Cell, Metrics, RunLabel, cells_of
from harness.record.compare import CellComparison, judge
from harness.record.difference import diff_prev
from harness.record.explain.cause import Cause
from harness.record.explain.explanation import Explanation
from harness.record.history import HistoryEntry, append_history
from harness.record.jsonfile import pretty_json
from harness.record.layout import DIFF_PREV, EXPLANATION, SNAPSHOT
from harness.record.manifest import make_manifest, write_manifest
from harness.record.results import RunFolder
from harness.record.snapshot import Code, RunFacts, Snapshot, fingerprint_lines, timestamp
from harness.record.verdicts import CellVerdict, Verdict, run_exit_code
from harness.runs.summary import advice, environment_lines, main_metric
from harness.spec.digest import Digest
from harness.spec.names import check_name
from harness.spec.run import Mode, Profile, RunSpec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which run this is. Only `run_name` is chosen by people; all of it is in no digest that is compared."""

    run_name: str
    run_id: str
    created_at: str
    results: Path

    @classmethod
    def new(cls, what: str, run_name: str | None, results: Path) -> Self:
        """A new run of `what` (an experiment's name, `exec`), called after it and the time where it has no name.

        Raises:
            UsageError: the name is not safe as a part of a path.
        """
        now = datetime.now(UTC)
        token = secrets.token_hex(4)
        name = run_name or f"{what}-{now:%Y%m%d-%H%M%S}-{token[:4]}"
        return cls(
            run_name=check_name(name, "run name"),
            run_id=f"{now:%Y%m%dT%H%M%S}-{token}",
            created_at=timestamp(now),
            results=results,
        )

    def facts(
        self,
        *,
        experiment: str | None,
        train_seed: int,
        mode: Mode,
        profile: Profile,
        code: Code,
        host: Mapping[str, str | int | None],
    ) -> RunFacts:
        """What snapshots say of the run."""
        return RunFacts(
            run_id=self.run_id,
            attempt_id=f"{self.run_id}-1",
            created_at=self.created_at,
            experiment=experiment,
            train_seed=train_seed,
            mode=mode,
            profile=profile,
            code=code,
            host=dict(host),
        )


class Cohort(msgspec.Struct, frozen=True, kw_only=True):
    """A cohort about to be published: its snapshot, its folder inside the run, its cells' metrics by family."""

    snapshot: Snapshot
    folder: str
    metrics: Mapping[str, Metrics]


class CellReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a run's table. `against` is the name of the run that it was compared with.

    `causes` say why a script's files and what it printed differ from that run's.
    """

    target: str
    view: str
    symbol: str | None
    family: str
    metric_name: str | None
    metric: float | None
    fingerprint: Digest
    verdict: Verdict
    reasons: tuple[str, ...]
    against: str | None = None
    causes: tuple[Cause, ...] = ()


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants to know of a run that has ended."""

    run_name: str
    run_id: str
    folder: str
    experiment: str | None
    cells: tuple[CellReport, ...]
    fingerprint_lines: tuple[str, ...]
    environment: tuple[str, ...]
    advice: str
    notes: tuple[str, ...]
    exit_code: ExitCode


def publish(folder: RunFolder, identity: Identity, spec: RunSpec, cohorts: Sequence[Cohort]) -> RunReport:
    """Compare, write snapshots, differences and the manifest, give the run its name, and add to the history.

    Raises:
        IntegrityError: two cells or cohorts are the same.
        PrerequisiteError: the results folder cannot be written.
    """
    archive = Archive(identity.results)
    judged: list[tuple[Cohort, Cell, CellComparison, RunLabel | None]] = []
    for cohort in cohorts:
        cells = cells_of(cohort.snapshot, identity.run_name, cohort.metrics)
        # Before it is judged: why a script's run differs is read from what lies there.
        folder.write(f"{cohort.folder}/{SNAPSHOT}", pretty_json(cohort.snapshot))
        found = [(cohort, cell, *judge(cell, archive, folder=folder.path)) for cell in cells]
        judged += found
        folder.write(f"{cohort.folder}/{DIFF_PREV}", pretty_json(diff_prev(cohort.snapshot, cells, archive)))
        _explain(folder, found)
    verdicts = [comparison.against(run) for _, _, comparison, run in judged]
    exit_code = run_exit_code(verdict.verdict for verdict in verdicts)
    manifest = make_manifest(
        folder.path,
        [(cohort.folder, cell) for cohort, cell, _, _ in judged],
        run_spec=spec,
        verdicts=verdicts,
        exit_code=exit_code,
    )
    write_manifest(folder.path, manifest)
    final = folder.publish()
    _remember(identity, [cell for _, cell, _, _ in judged], verdicts)
    snapshots = [cohort.snapshot for cohort in cohorts]
    return RunReport(
        run_name=identity.run_name,
        run_id=identity.run_id,
        folder=str(final),
        experiment=snapshots[0].experiment,
        cells=tuple(_report(cell, comparison, run) for _, cell, comparison, run in judged),
        fingerprint_lines=tuple(fingerprint_lines(snapshots)),
        environment=environment_lines(snapshots[0]),
        advice=advice(Mode(str(snapshots[0].comparison_group["mode"])), identity.results, identity.run_name, verdicts),
        notes=tuple(archive.notes),
        exit_code=exit_code,
    )


def _explain(folder: RunFolder, judged: Sequence[tuple[Cohort, Cell, CellComparison, RunLabel | None]]) -> None:
    """Write down what caused the differences of a script, where it has any."""
    for cohort, _, comparison, run in judged:
        if run is not None and comparison.causes:
            explained = all(cause.explained for cause in comparison.causes)
            explanation = Explanation(against=run.run_id, explained=explained, causes=comparison.causes)
            folder.write(f"{cohort.folder}/{EXPLANATION}", pretty_json(explanation))


def _remember(identity: Identity, cells: Sequence[Cell], verdicts: Sequence[CellVerdict]) -> None:
    now = timestamp(datetime.now(UTC))
    append_history(
        identity.results,
        [
            HistoryEntry(at=now, run=cell.run, verdict=verdict, fingerprint=cell.fingerprint)
            for cell, verdict in zip(cells, verdicts, strict=True)
        ],
    )


def _report(cell: Cell, comparison: CellComparison, against: RunLabel | None) -> CellReport:
    name, value = main_metric(cell.metrics)
    return CellReport(
        target=cell.target,
        view=cell.view,
        symbol=cell.symbol,
        family=cell.family,
        metric_name=name,
        metric=value,
        fingerprint=cell.fingerprint,
        verdict=comparison.verdict,
        reasons=comparison.reasons,
        against=None if against is None else against.run_name,
        causes=comparison.causes,
    )
