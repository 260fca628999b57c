"""Reports to be rendered: one with everything in it, one that is all green, one whose every text is hostile."""

from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec
import pytest

from harness.record.compare import MetricDelta
from harness.record.distance import Distance
from harness.record.hashing import digest_of
from harness.release.report import (
    Answer,
    Change,
    DriftReport,
    EnvironmentDrift,
    ExpiredGroup,
    GoldenCell,
    GoldenName,
    Kind,
    Layer,
    Location,
    NotTested,
    Purpose,
    Severity,
    WaiverOutcome,
    WaiverState,
)
from harness.spec.digest import Digest

HOSTILE = "<script>alert(1)</script>|`a`[red]\x1b[31m\n</td>\0\u202e&\"'--> ]]> ```\r"


def digest(name: str) -> Digest:
    return digest_of(name.encode())


def change(layer: Layer, path: str, before: str | None, after: str | None, **fields: Any) -> Change:
    environment = fields.pop("environment", "cpu")
    settings: dict[str, Any] = {
        "kind": Kind.UPGRADED,
        "severity": Severity.MAJOR,
        "why": f"a change of {layer.value} can move numbers",
        "can_move_numbers": True,
        "numbers": Answer.CHANGED,
        "fingerprint": digest(f"{environment} {layer.value} {path} {before} {after}"),
    }
    return Change(environment=environment, layer=layer, path=path, before=before, after=after, **(settings | fields))


def golden_cell(target: str, answer: Answer, **fields: Any) -> GoldenCell:
    settings: dict[str, Any] = {"before": digest(f"{target} before"), "after": digest(f"{target} after")}
    names = {"experiment": "golden.yaml", "view": "CROSS_SECTIONAL", "symbol": None, "family": "lightgbm"}
    return GoldenCell(target=target, answer=answer, **(names | settings | fields))


def named(*cells: GoldenCell) -> tuple[GoldenName, ...]:
    """The cells as a baseline that has them names them."""
    return tuple(
        GoldenName(experiment=cell.experiment, target=cell.target, family=cell.family, path=cell.path) for cell in cells
    )


def _changes() -> tuple[Change, ...]:
    why_image = "the image is made from what changed"
    consequence = {"kind": Kind.CHANGED, "severity": Severity.MINOR, "why": why_image, "numbers": None}
    consequence["can_move_numbers"] = False
    return (
        change(
            Layer.IMAGE,
            "manifest",
            digest("old"),
            digest("new"),
            follows_from=("wheel numpy", "os-package libc6"),
            **consequence,
        ),
        change(
            Layer.OS_PACKAGE,
            "libc6",
            "2.36-9+deb12u12",
            "2.36-9+deb12u13",
            severity=Severity.MINOR,
            numbers=Answer.UNCHANGED,
            waived_by="libc-point-release",
        ),
        change(Layer.HARDWARE, "cores", "8", "16", kind=Kind.CHANGED, severity=Severity.NONE, numbers=None),
        change(
            Layer.WHEEL,
            "numpy",
            "1.26.4",
            "2.4.6",
            evidence=("numpy/exp64", "numpy/matmul64"),
            expires=(digest("group"),),
            location=Location("lockfiles/cpu/python.txt", 12),
        ),
        change(Layer.LOCK, "python.txt", digest("a"), digest("b"), follows_from=("wheel numpy",), **consequence),
        *(
            change(Layer.PROBE, f"numpy/{name}", digest(f"{name} 1"), digest(f"{name} 2"), kind=Kind.CHANGED)
            for name in ("exp64", "matmul64", "svd64")
        ),
        change(
            Layer.GOLDEN,
            "golden.yaml/fwd_ret_5d/CROSS_SECTIONAL/all/lightgbm",
            digest("fwd_ret_5d before"),
            digest("fwd_ret_5d after"),
            kind=Kind.CHANGED,
            severity=Severity.CRITICAL,
        ),
    )


@pytest.fixture
def sample() -> DriftReport:
    """Two environments: one changed in every way, one where little could be tested."""
    moved = golden_cell(
        "fwd_ret_5d",
        Answer.CHANGED,
        because_of="environment",
        reasons=("predictions changed",),
        metric_deltas={"ic": MetricDelta(0.0412, 0.0398, -0.0014)},
        distance=Distance(
            predictions=5000, differing=4210, largest=0.003, root_mean_square=0.0004, relative=0.02, correlation=0.9998
        ),
    )
    cpu = EnvironmentDrift(
        name="cpu",
        candidate="cpu",
        environment=Answer.CHANGED,
        numbers=Answer.CHANGED,
        tested_by=("probe", "golden"),
        not_tested=(),
        changes=_changes(),
        golden=(moved, still := golden_cell("fwd_ret_20d", Answer.UNCHANGED)),
        expired=(ExpiredGroup(group=digest("group"), golden=moved.path, stored_runs=("run_1", "run_2")),),
        measured_at="2026-11-22T10:00:00.000000Z",
        probed={"numpy": 63, "scipy": 20},
        known_golden=named(moved, still),
    )
    cuda = EnvironmentDrift(
        name="cuda",
        candidate="cuda",
        environment=Answer.UNCHANGED,
        numbers=Answer.NOT_TESTED,
        tested_by=(),
        not_tested=(NotTested("probe", "this machine has no GPU"), NotTested("golden runs", "this machine has no GPU")),
        changes=(),
        golden=(
            lost := golden_cell("fwd_ret_5d", Answer.NOT_TESTED, after=None, reasons=("this machine has no GPU",)),
        ),
        expired=(),
        measured_at=None,
        known_golden=named(lost),
    )
    waivers = (
        waiver("libc-point-release", WaiverState.USED, "covers os-package libc6"),
        waiver("old-blas", WaiverState.EXPIRED, "expired on 2026-10-01"),
    )
    return report((cpu, cuda), waivers, 1)


@pytest.fixture
def green() -> DriftReport:
    """Nothing changed, all was tested."""
    cpu = EnvironmentDrift(
        name="cpu",
        candidate="cpu",
        environment=Answer.UNCHANGED,
        numbers=Answer.UNCHANGED,
        tested_by=("probe", "golden"),
        not_tested=(),
        changes=(),
        golden=(still := golden_cell("fwd_ret_5d", Answer.UNCHANGED),),
        expired=(),
        measured_at="2026-11-22T10:00:00.000000Z",
        probed={"numpy": 63},
        known_golden=named(still),
    )
    return report((cpu,), (), 0)


@pytest.fixture
def untested(sample: DriftReport) -> DriftReport:
    """Nothing was found, but not all was tested: never a pass."""
    return msgspec.structs.replace(sample, environments=sample.environments[1:], waivers=(), exit_code=3)


@pytest.fixture
def rehearsal(sample: DriftReport) -> DriftReport:
    """An upgrade tried: the environment changes in every way, and numbers with it."""
    drift = msgspec.structs.replace(sample.environments[0], candidate="cpu with numpy==2.4.6")
    changes = tuple(msgspec.structs.replace(change, waived_by=None) for change in drift.changes)
    return msgspec.structs.replace(
        sample,
        purpose=Purpose.REHEARSAL,
        baseline="the locks as they are",
        environments=(msgspec.structs.replace(drift, changes=changes),),
        waivers=(),
    )


@pytest.fixture
def harmless(rehearsal: DriftReport) -> DriftReport:
    """The same upgrade, had no number moved with it."""
    drift = rehearsal.environments[0]
    changes = tuple(change for change in drift.changes if change.layer not in (Layer.PROBE, Layer.GOLDEN))
    still = tuple(golden_cell(cell.target, Answer.UNCHANGED) for cell in drift.golden)
    drift = msgspec.structs.replace(drift, changes=changes, golden=still, numbers=Answer.UNCHANGED)
    return msgspec.structs.replace(rehearsal, environments=(drift,), exit_code=0)


@pytest.fixture
def crossed(sample: DriftReport) -> DriftReport:
    """Another environment held against that of the baseline."""
    drift = msgspec.structs.replace(sample.environments[0], candidate="cpu-prev")
    return msgspec.structs.replace(sample, environments=(drift,))


@pytest.fixture
def waived(sample: DriftReport) -> DriftReport:
    """Somebody answers for the environment, and nobody for the numbers that moved with it."""
    drift = sample.environments[0]
    changes = tuple(
        msgspec.structs.replace(change, follows_from=("wheel numpy",))
        if change.layer in (Layer.PROBE, Layer.GOLDEN)
        else msgspec.structs.replace(change, waived_by="upgrade")
        for change in drift.changes
    )
    return msgspec.structs.replace(
        sample, environments=(msgspec.structs.replace(drift, changes=changes),), waivers=sample.waivers[:1]
    )


@pytest.fixture
def hostile(sample: DriftReport) -> DriftReport:
    """The sample with `HOSTILE` in its every text."""
    found: DriftReport = poisoned(sample, HOSTILE)
    return found


@pytest.fixture
def many(sample: DriftReport) -> Callable[[int], DriftReport]:
    """The sample with so many changed wheels."""

    def make(amount: int) -> DriftReport:
        changes = tuple(change(Layer.WHEEL, f"package-{index}", "1", "2", why="x" * 200) for index in range(amount))
        drift = msgspec.structs.replace(sample.environments[0], changes=changes)
        return msgspec.structs.replace(sample, environments=(drift,))

    return make


def waiver(name: str, state: WaiverState, detail: str) -> WaiverOutcome:
    return WaiverOutcome(
        id=name, author="A. Quant", reason="numbers did not move", expires="2027-01-31", state=state, detail=detail
    )


def report(
    environments: tuple[EnvironmentDrift, ...], waivers: tuple[WaiverOutcome, ...], exit_code: int
) -> DriftReport:
    return DriftReport(
        project="hermetic-training-harness",
        baseline="v1.2",
        baseline_digest=digest("baseline"),
        commit="77632f2c0ffee",
        created_at="2026-11-22T10:00:01.000000Z",
        rules=digest("rules"),
        environments=environments,
        waivers=waivers,
        exit_code=exit_code,
    )


def poisoned(value: Any, poison: str) -> Any:
    """`value` with `poison` after every free text in it; enumerations, digests and the schema's name stay."""
    if isinstance(value, msgspec.Struct):
        names = [name for name in value.__struct_fields__ if name != "schema"]
        return msgspec.structs.replace(value, **{name: poisoned(getattr(value, name), poison) for name in names})
    if isinstance(value, tuple):
        return tuple(poisoned(item, poison) for item in value)
    if isinstance(value, dict):
        return {poisoned(key, poison): poisoned(item, poison) for key, item in value.items()}
    if isinstance(value, str) and not isinstance(value, Enum) and not value.startswith("sha256:"):
        return value + poison
    return value
