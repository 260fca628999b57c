"""`diff_prev.json`: what changed in a cohort since the last time that its cells were run, comparable or not."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from harness.record.archive import Archive, StoredCell
from harness.record.cells import Cell, RunLabel
from harness.record.compare import SILENT_CHANGE, CellComparison, MetricDelta, compare_cells
from harness.record.patch import json_patch
from harness.record.snapshot import Snapshot
from harness.record.verdicts import Verdict

SCHEMA = "harness.diff-prev/1"
NO_PREVIOUS = "no earlier run of this cell"
_DERIVED = {"metrics", "feature_importances"}
_NOT_COMPARED = ("schema", "run_id", "attempt_id", "created_at", "host")


class Severity(StrEnum):
    """How much a difference matters, worst first."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    NONE = "none"


class FamilyDifference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell against its last run: the same fields as the cohort's, and the verdict."""

    previous: RunLabel | None
    verdict: Verdict
    comparable: bool
    reasons: tuple[str, ...]
    changed_keys: tuple[str, ...]
    environment_changes: tuple[str, ...]
    outputs_changed: tuple[str, ...]
    metric_deltas: dict[str, MetricDelta]
    severity: Severity
    severity_reason: str


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cohort against its last run; every field is there on a first run too.

    `comparable` says that every cell has an earlier run of the same comparison group. `previous` is the latest of the
    cells' earlier runs, and `patch` (RFC 6902) turns the comparable parts of that run's snapshot (all but run_id,
    attempt_id, created_at and host) into this one's; it is empty where there is none. `severity` is the worst of the
    families'.
    """

    schema: str = SCHEMA
    run_id: str
    cohort_id: str
    target: str
    view: str
    symbol: str | None
    previous: RunLabel | None
    comparable: bool
    reasons: tuple[str, ...]
    changed_keys: tuple[str, ...]
    outputs_changed: dict[str, tuple[str, ...]]
    metric_deltas: dict[str, dict[str, MetricDelta]]
    severity: Severity
    severity_reason: str
    families: dict[str, FamilyDifference]
    families_gone: tuple[str, ...]
    patch: list[dict[str, Any]]


def diff_prev(snapshot: Snapshot, cells: Sequence[Cell], archive: Archive) -> Difference:
    """A cohort's difference from the last run of each of its cells; `cells` are all cells of `snapshot`."""
    found = {cell.family: archive.latest_of_cell(cell) for cell in cells}
    families = {cell.family: _family(cell, found[cell.family]) for cell in cells}
    earlier = [stored for stored in found.values() if stored is not None]
    last = max(earlier, key=lambda stored: stored.cell.run, default=None)
    gone = tuple(sorted(last.snapshot.families.keys() - snapshot.families.keys())) if last is not None else ()
    severity, severity_reason = _worst(families, gone)
    return Difference(
        run_id=snapshot.run_id,
        cohort_id=snapshot.cohort_id,
        target=snapshot.target,
        view=snapshot.view,
        symbol=snapshot.symbol,
        previous=last.cell.run if last is not None else None,
        comparable=all(family.comparable for family in families.values()),
        reasons=_reasons(families),
        changed_keys=tuple(sorted({key for family in families.values() for key in family.changed_keys})),
        outputs_changed={name: family.outputs_changed for name, family in families.items() if family.outputs_changed},
        metric_deltas={name: family.metric_deltas for name, family in families.items() if family.metric_deltas},
        severity=severity,
        severity_reason=severity_reason,
        families=families,
        families_gone=gone,
        patch=json_patch(comparable_parts(last.snapshot), comparable_parts(snapshot)) if last is not None else [],
    )


def comparable_parts(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot without what differs between any two runs: identity, time and host."""
    plain: dict[str, Any] = msgspec.to_builtins(snapshot)
    return {name: value for name, value in plain.items() if name not in _NOT_COMPARED}


def severity_of(comparison: CellComparison) -> tuple[Severity, str]:
    """How much one cell's difference matters, and why.

    critical: the same comparison group gave other bits. major: the group changed, and with it predictions, models or a
    script's files. minor: the group changed, and no output or only what is derived from predictions and models did.
    none: the same bits, or nothing to compare with.
    """
    match comparison.verdict:
        case Verdict.UNVERIFIED:
            return Severity.NONE, NO_PREVIOUS
        case Verdict.IDENTICAL:
            return Severity.NONE, "same comparison group, same bits"
        case Verdict.DIVERGENT:
            silent = f" ({SILENT_CHANGE})" if SILENT_CHANGE in comparison.reasons else ""
            return (
                Severity.CRITICAL,
                f"same comparison group, other bits in {_listed(comparison.changed_outputs)}{silent}",
            )
        case Verdict.INCOMPARABLE:
            keys, outputs = _listed(comparison.changed_keys), _listed(comparison.changed_outputs)
            if set(comparison.changed_outputs) - _DERIVED:
                return Severity.MAJOR, f"{keys} changed, and with it {outputs}"
            return Severity.MINOR, f"{keys} changed, and of the outputs {outputs}"


def _family(cell: Cell, stored: StoredCell | None) -> FamilyDifference:
    if stored is None:
        return FamilyDifference(
            previous=None,
            verdict=Verdict.UNVERIFIED,
            comparable=False,
            reasons=(NO_PREVIOUS,),
            changed_keys=(),
            environment_changes=(),
            outputs_changed=(),
            metric_deltas={},
            severity=Severity.NONE,
            severity_reason=NO_PREVIOUS,
        )
    comparison = compare_cells(stored.cell, cell)
    severity, severity_reason = severity_of(comparison)
    return FamilyDifference(
        previous=stored.cell.run,
        verdict=comparison.verdict,
        comparable=comparison.verdict is not Verdict.INCOMPARABLE,
        reasons=comparison.reasons,
        changed_keys=comparison.changed_keys,
        environment_changes=comparison.environment_changes,
        outputs_changed=comparison.changed_outputs,
        metric_deltas=comparison.metric_deltas,
        severity=severity,
        severity_reason=severity_reason,
    )


def _reasons(families: Mapping[str, FamilyDifference]) -> tuple[str, ...]:
    """The families' reasons, each once, with the families it holds for where these are not all."""
    holders: dict[str, list[str]] = {}
    for name, family in families.items():
        for reason in family.reasons:
            holders.setdefault(reason, []).append(name)
    return tuple(
        reason if len(names) == len(families) else f"{', '.join(names)}: {reason}" for reason, names in holders.items()
    )


def _worst(families: Mapping[str, FamilyDifference], gone: Sequence[str]) -> tuple[Severity, str]:
    order = list(Severity)
    name, worst = min(families.items(), key=lambda item: (order.index(item[1].severity), item[0]))
    if worst.severity is Severity.NONE and gone:
        return Severity.MINOR, f"family {', '.join(gone)} is gone"
    return worst.severity, worst.severity_reason if len(families) == 1 else f"{name}: {worst.severity_reason}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "nothing"
