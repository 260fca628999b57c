"""A report as people read it: the three answers first, then what changed, what came with it, and what to do next.

Everything here is text that `formats.text` made fit to be shown; each format only has to escape its own syntax.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from harness.release.formats.changes import Together, fold
from harness.release.formats.fate import causes, fails, fate
from harness.release.formats.golden import CellView, cell_view
from harness.release.formats.names import goldens, label
from harness.release.formats.sentences import (
    FAILING_WAIVERS,
    advice,
    environment_sentence,
    expired_sentence,
    golden_sentence,
    numbers_sentence,
    unbaselined_sentence,
    unprobed_sentence,
    verdict,
)
from harness.release.formats.text import count, listed, shown
from harness.release.report import (
    NUMBERS,
    Answer,
    Change,
    DriftReport,
    EnvironmentDrift,
    GoldenName,
    Layer,
    NotTested,
    Purpose,
    Severity,
)


class Reply(msgspec.Struct, frozen=True):
    """One of the three answers: the word for machines, the sentence for people."""

    answer: str
    sentence: str


class RowView(msgspec.Struct, frozen=True, kw_only=True):
    """One root change, or all changed probe kernels of a library. `status` says whether it fails the check."""

    path: str
    kind: str
    before: str
    after: str
    severity: str
    numbers: str
    status: str
    fails: bool
    why: str
    details: str
    with_it: str
    where: str


class LayerView(msgspec.Struct, frozen=True):
    """The changes of one layer."""

    name: str
    rows: tuple[RowView, ...]


class EnvironmentView(msgspec.Struct, frozen=True, kw_only=True):
    """One environment: its three answers and what they rest on. `label` names the candidate too, if it is another."""

    label: str
    environment: Reply
    numbers: Reply
    tested: Reply
    unprobed: str
    not_tested: tuple[tuple[str, str], ...]
    layers: tuple[LayerView, ...]
    together: str
    cells: tuple[CellView, ...]
    golden: str
    expired: str
    expired_groups: tuple[tuple[str, str, str], ...]
    measured: str


class WaiverView(msgspec.Struct, frozen=True, kw_only=True):
    """One waiver, and what became of it."""

    id: str
    state: str
    fails: bool
    author: str
    reason: str
    expires: str
    detail: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report in words. `ok` only where the check answers 0. `asked` heads the columns of the answers."""

    kind: str
    title: str
    asked: tuple[str, str, str]
    verdict: str
    ok: bool
    advice: str
    note: str
    facts: tuple[tuple[str, str], ...]
    environments: tuple[EnvironmentView, ...]
    waivers: tuple[WaiverView, ...]


def view(report: DriftReport) -> View:
    """The report in words."""
    rehearsal = report.purpose is Purpose.REHEARSAL
    project, against = shown(report.project), shown(report.baseline)
    title = f"{project}: an upgrade against {against}" if rehearsal else f"{project} against baseline {against}"
    changed = ("Environment changes?", "Numbers change?") if rehearsal else ("Environment changed?", "Numbers changed?")
    return View(
        kind="Rehearsal" if rehearsal else "Drift",
        title=title,
        asked=(*changed, "Not tested"),
        verdict=verdict(report),
        ok=report.exit_code == 0,
        advice=advice(report),
        note=unbaselined_sentence(report),
        facts=(
            ("held against" if rehearsal else "baseline", f"{against} ({shown(report.baseline_digest)})"),
            ("commit", shown(report.commit) if report.commit else "not in git"),
            ("checked", shown(report.created_at)),
            ("rules", shown(report.rules)),
            ("exit code", str(report.exit_code)),
        ),
        environments=tuple(_environment(drift, report.purpose) for drift in report.environments),
        waivers=tuple(
            WaiverView(
                id=shown(waiver.id),
                state=waiver.state.value,
                fails=waiver.state in FAILING_WAIVERS,
                author=shown(waiver.author),
                reason=shown(waiver.reason),
                expires=shown(waiver.expires),
                detail=shown(waiver.detail),
            )
            for waiver in report.waivers
        ),
    )


def _environment(drift: EnvironmentDrift, purpose: Purpose) -> EnvironmentView:
    folded = fold(drift.changes)
    paths = {cell.path for cell in drift.golden}
    kernels = frozenset(change.path for change in drift.changes if change.layer is Layer.PROBE)
    layers = []
    for layer in Layer:
        together = [
            item
            for item in folded.roots
            if item.root.layer is layer and not (layer is Layer.GOLDEN and item.root.path in paths)
        ]
        rows = (
            _probe_rows(together, drift.probed, purpose)
            if layer is Layer.PROBE
            else tuple(_row(item, kernels, drift, purpose) for item in together)
        )
        if rows:
            layers.append(LayerView(layer.value, rows))
    golden = {change.path: change for change in drift.changes if change.layer is Layer.GOLDEN}
    return EnvironmentView(
        label=shown(label(drift, purpose)),
        environment=Reply(drift.environment.value, environment_sentence(drift, purpose)),
        numbers=Reply(drift.numbers.value, numbers_sentence(drift, purpose)),
        tested=_tested(drift.not_tested),
        unprobed=unprobed_sentence(drift),
        not_tested=tuple((shown(item.what), shown(item.reason)) for item in drift.not_tested),
        layers=tuple(layers),
        together=listed([shown(change.name) for change in folded.shared], 40),
        cells=tuple(cell_view(cell, golden.get(cell.path), purpose) for cell in drift.golden),
        golden=golden_sentence(drift),
        expired=expired_sentence(drift, purpose),
        expired_groups=tuple(
            (shown(group.golden), shown(group.group), listed([shown(run) for run in group.stored_runs], 20))
            for group in drift.expired
        ),
        measured=shown(drift.measured_at) if drift.measured_at else "",
    )


def _tested(not_tested: tuple[NotTested, ...]) -> Reply:
    if not not_tested:
        return Reply("nothing", "Nothing was left untested.")
    what = listed([shown(item.what) for item in not_tested], 4)
    return Reply(Answer.NOT_TESTED.value, f"Not tested: {what}.")


def _numbers(change: Change) -> str:
    match change.numbers:
        case None:
            return "cannot move numbers"
        case Answer.CHANGED:
            return "numbers changed"
        case Answer.UNCHANGED:
            return "numbers unchanged"
    return "numbers not tested"


def _row(item: Together, kernels: frozenset[str], drift: EnvironmentDrift, purpose: Purpose) -> RowView:
    change = item.root
    place = change.location
    details = []
    if change.layer in NUMBERS:
        details += [f"because of {causes(change)}"] if change.follows_from else []
    elif change.evidence:
        details.append(f"changed with it: {_evidence(change, kernels, drift.known_golden)}")
    if change.expires:
        ended = [group.golden for group in drift.expired if group.group in change.expires]
        named = f" ({goldens(ended, drift.known_golden, 3)})" if ended else ""
        details.append(f"ends {count(len(change.expires), 'comparison group')}{named}")
    return RowView(
        path=shown(change.path),
        kind=change.kind.value,
        before=shown(change.before) if change.before is not None else "-",
        after=shown(change.after) if change.after is not None else "-",
        severity=change.severity.value,
        numbers=_numbers(change),
        status=fate(change, purpose),
        fails=fails(change, purpose),
        why=shown(change.why),
        details="; ".join(details),
        with_it=listed([shown(consequence.name) for consequence in item.consequences], 20),
        where="" if place is None else shown(place.file) + (f":{place.line}" if place.line else ""),
    )


def _evidence(change: Change, kernels: frozenset[str], known: Sequence[GoldenName]) -> str:
    """The numbers that moved: kernels counted by library, golden cells by name."""
    libraries = Counter(name.partition("/")[0] for name in change.evidence if name in kernels)
    found = [f"{count(amount, 'kernel')} of {shown(library)}" for library, amount in libraries.items()]
    cells = [name for name in change.evidence if name not in kernels]
    return ", ".join([listed(found, 6)] * bool(found) + [goldens(cells, known, 3)] * bool(cells))


def _probe_rows(items: list[Together], probed: dict[str, int], purpose: Purpose) -> tuple[RowView, ...]:
    """All changed kernels of a library that share their fate, in one row."""
    alike: dict[tuple[str, str, Severity, str, str], list[Change]] = {}
    for item in items:
        change = item.root
        library = change.path.partition("/")[0]
        shared = (library, change.kind.value, change.severity, fate(change, purpose), causes(change))
        alike.setdefault(shared, []).append(change)
    rows = []
    for (library, kind, severity, status, because), changes in alike.items():
        of = f" of {probed[library]:,}" if library in probed else ""
        kernels = [shown(change.path.partition("/")[2] or change.path) for change in changes]
        rows.append(
            RowView(
                path=f"{shown(library)}: {len(changes):,}{of} kernels",
                kind=kind,
                before="",
                after="",
                severity=severity.value,
                numbers="numbers changed",
                status=status,
                fails=any(fails(change, purpose) for change in changes),
                why=shown(changes[0].why),
                details=listed(kernels, 6) + (f"; because of {because}" if because else ""),
                with_it="",
                where="",
            )
        )
    return tuple(rows)
