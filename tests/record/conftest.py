"""Runs made by hand: the trainer's part is played here, all the rest is the room itself."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.record.archive import Archive
from harness.record.cells import Cell, cells_of
from harness.record.compare import judge_all
from harness.record.difference import diff_prev
from harness.record.environment import Captured, Cpu, Library
from harness.record.fingerprints import cell_fingerprint, cohort_id, universe_signature
from harness.record.jsonfile import pretty_json
from harness.record.layout import DIFF_PREV, METRICS, SNAPSHOT, cohort_folder
from harness.record.manifest import make_manifest, write_manifest
from harness.record.results import RunFolder
from harness.record.snapshot import Code, RunFacts, Snapshot, Surroundings, build_snapshot, timestamp
from harness.spec.digest import Digest
from harness.spec.experiment import View
from harness.spec.run import ImageReference, Mode, Profile, Resources, RunSpec
from harness.spec.task import CohortResult, FamilyOutputs, FamilyResult

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def digest(*parts: object) -> Digest:
    """Some digest, another one for other parts."""
    return Digest(f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}")


CAPTURED = Captured(
    python={"version": "3.11.2", "implementation": "CPython"},
    libraries={
        "numpy": Library("2.4.6", digest("numpy")),
        "lightgbm": Library("4.7.0", digest("lightgbm")),
    },
    native={"glibc": "2.36", "openblas": "0.3.31"},
    cpu=Cpu("x86_64", "AuthenticAMD", "26", "2", "AMD EPYC", {"numpy": "X86_V4", "openblas": "SkylakeX"}),
    gpu=None,
    settings={"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "42"},
    probe={"numpy": {"matmul": digest("matmul"), "exp": digest("exp")}},
    host={"kernel": "6.1.0"},
)
IMAGE = ImageReference("cpu", digest("manifest"), digest("config"))


@dataclass(frozen=True)
class Scene:
    """What a made-up run was given; change a field and the signatures and outputs that hang on it change."""

    seed: int = 42
    data: str = "panel"
    experiment: str = "determinism_test"
    targets: tuple[str, ...] = ("fwd_ret_10d",)
    symbols: tuple[str, ...] = ("AAPL", "MSFT")
    alone: tuple[str, ...] = ("AAPL",)
    families: tuple[str, ...] = ("lightgbm", "xgboost")
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=lambda: {"rmse": 0.1, "ic": None})
    threads: int | None = None
    probe: str = "probe"
    captured: Captured = CAPTURED
    image: ImageReference | None = IMAGE
    profile: Profile = Profile.NATIVE
    mode: Mode = Mode.STRICT
    code: Code = field(default_factory=lambda: Code("c0ffee", False, digest("code")))

    def but(self, **changes: Any) -> "Scene":
        return replace(self, **changes)

    def family(self, target: str, symbol: str | None, family: str) -> FamilyResult:
        settings = self.hyperparameters.get(family, "default")
        cause = (self.data, self.seed, target, symbol, family, settings)
        outputs = FamilyOutputs(
            predictions=digest("predictions", *cause, self.noise.get("predictions")),
            model=digest("model", *cause, self.noise.get("model")),
            metrics=digest("metrics", *cause, self.metrics, self.noise.get("metrics")),
            feature_importances=digest("importances", *cause, self.noise.get("feature_importances")),
        )
        return FamilyResult(
            hyperparameters_signature=digest("hyperparameters", family, settings),
            probe_signature=digest(self.probe, family),
            threads_per_fit=self.threads,
            outputs=outputs,
            fingerprint=cell_fingerprint(outputs),
            metrics=self.metrics,
            files={},
        )

    def cohort(self, target: str, symbol: str | None) -> CohortResult:
        view = View.CROSS_SECTIONAL if symbol is None else View.SYMBOL_SPECIFIC
        members = self.symbols if symbol is None else (symbol,)
        name = cohort_id(self.experiment, target, view, members)
        return CohortResult(
            cohort_id=name,
            target=target,
            view=view.value,
            symbol=symbol,
            folder=str(cohort_folder(target, view, symbol, name)),
            signatures={
                "dataset_signature": digest("data", self.data),
                "task_signature": digest("task", target),
                "routing_signature": digest("routing", view, symbol),
                "split_signature": digest("split"),
                "feature_signature": digest("features"),
                "universe_signature": universe_signature(members),
            },
            families={name: self.family(target, symbol, name) for name in self.families},
            files={},
        )

    def cohorts(self) -> list[CohortResult]:
        return [self.cohort(target, symbol) for target in self.targets for symbol in (None, *self.alone)]

    def surroundings(self, run_id: str = "r1", created_at: str = timestamp(START)) -> Surroundings:
        facts = RunFacts(
            run_id=run_id,
            attempt_id="1",
            created_at=created_at,
            experiment=self.experiment,
            train_seed=self.seed,
            mode=self.mode,
            profile=self.profile,
            code=self.code,
            host={"engine": "docker 20.10.24", "workers": 2},
        )
        return Surroundings(facts=facts, captured=self.captured, image=self.image, locks={"python.txt": digest("lock")})

    def snapshots(self) -> list[Snapshot]:
        return [build_snapshot(cohort, self.surroundings()) for cohort in self.cohorts()]

    def cells(self, run_id: str = "r1") -> tuple[Cell, ...]:
        surroundings = self.surroundings(run_id)
        return tuple(
            cell
            for cohort in self.cohorts()
            for cell in cells_of(
                build_snapshot(cohort, surroundings), run_id, {name: f.metrics for name, f in cohort.families.items()}
            )
        )


RUN_SPEC = RunSpec(
    run_id="r1",
    image=IMAGE,
    argv=("python3", "-m", "harness.training"),
    environment={"OMP_NUM_THREADS": "1"},
    mounts=(),
    output="/somewhere",
    resources=Resources(cpus=(0, 1), time_limit=60),
)


def record(results: Path, name: str, scene: Scene, *, number: int = 0, exit_code: int | None = None) -> Path:
    """One run from the trainer's answer to the published folder, step by step as a real one goes."""
    surroundings = scene.surroundings(run_id=f"id-{name}", created_at=timestamp(START + timedelta(minutes=number)))
    archive = Archive(results)
    with RunFolder.create(results, name) as folder:
        placed: list[tuple[str, Cell]] = []
        for cohort in scene.cohorts():
            snapshot = build_snapshot(cohort, surroundings)
            cells = cells_of(snapshot, name, {family: result.metrics for family, result in cohort.families.items()})
            folder.write(f"{cohort.folder}/{SNAPSHOT}", pretty_json(snapshot))
            folder.write(f"{cohort.folder}/{METRICS}", pretty_json({c.family: c.metrics for c in cells}))
            folder.write(f"{cohort.folder}/{DIFF_PREV}", pretty_json(diff_prev(snapshot, cells, archive)))
            placed += [(cohort.folder, cell) for cell in cells]
        verdicts, code = judge_all([cell for _, cell in placed], archive)
        manifest = make_manifest(
            folder.path,
            placed,
            run_spec=msgspec.structs.replace(RUN_SPEC, run_id=f"id-{name}"),
            verdicts=verdicts,
            exit_code=code if exit_code is None else exit_code,
        )
        write_manifest(folder.path, manifest)
        return folder.publish()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "RESULTS"


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def recorded(results: Path) -> Callable[..., Path]:
    """Record a run: `recorded(name, scene)`; each call is a minute later than the last."""
    calls: list[str] = []

    def call(name: str, scene: Scene, **options: Any) -> Path:
        calls.append(name)
        return record(results, name, scene, number=len(calls), **options)

    return call


@pytest.fixture
def verdicts() -> Callable[[Sequence[Any]], list[str]]:
    return lambda cells: [cell.verdict.value for cell in cells]
