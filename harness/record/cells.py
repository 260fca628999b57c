"""Cells as they are compared: everything of a run's snapshots that speaks about one cell, in one value."""

from collections.abc import Mapping

import msgspec

from harness.record.hashing import signature
from harness.record.snapshot import Code, EnvironmentRecord, Group, Snapshot, cell_group
from harness.spec.digest import Digest

Metrics = dict[str, float | None]


class RunLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """Which run: ordered by (created_at, run_id), as runs follow each other."""

    created_at: str
    run_id: str
    run_name: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of one run. `metrics` is flat, by name."""

    run: RunLabel
    experiment: str | None
    cohort_id: str
    target: str
    view: str
    symbol: str | None
    family: str
    group: Group
    environment: EnvironmentRecord
    code: Code
    outputs: dict[str, Digest]
    fingerprint: Digest
    metrics: Metrics

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two cells of two runs the same cell: (target, view, symbol or empty, family)."""
        return (self.target, self.view, self.symbol or "", self.family)

    @property
    def group_digest(self) -> Digest:
        """The digest of the cell's comparison group."""
        return signature(self.group)


def cells_of(snapshot: Snapshot, run_name: str, metrics: Mapping[str, Metrics]) -> tuple[Cell, ...]:
    """A snapshot's cells by family; `metrics` are those of each family (none where it is not in them)."""
    run = RunLabel(snapshot.created_at, snapshot.run_id, run_name)
    return tuple(
        Cell(
            run=run,
            experiment=snapshot.experiment,
            cohort_id=snapshot.cohort_id,
            target=snapshot.target,
            view=snapshot.view,
            symbol=snapshot.symbol,
            family=family,
            group=cell_group(snapshot, family),
            environment=snapshot.environment,
            code=snapshot.code,
            outputs=record.outputs,
            fingerprint=record.fingerprint,
            metrics=dict(metrics.get(family, {})),
        )
        for family, record in sorted(snapshot.families.items())
    )
