"""Rehearsals: the trial, locking and assessing are the real ones; resolving, building and running are told."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import ExitCode, IntegrityError, ToolError, UsageError
from harness.locking import lock as lock_module
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.imagespec import ImageSpec, python_inputs
from harness.locking.lockfile import read_lock, write_lock
from harness.locking.python import LockedWheel, PythonLock
from harness.locking.resolve import ResolvedPython
from harness.locking.upgrade import Upgrades, parse_upgrades
from harness.record.hashing import digest_of, signature
from harness.release import rehearsal as module
from harness.release.observe import Observation, sources
from harness.release.rehearsal import Rehearsal, RehearsalRequest, exit_code_of, rehearse
from harness.release.report import Answer, EnvironmentDrift, GoldenCell, NotTested, Purpose
from harness.release.site import Site
from harness.store.progress import SILENT
from harness.store.store import Store

ROOT = Path(__file__).parents[2]
FRESH = digest_of(b"upgraded")
EXPERIMENT = "determinism_test"


def files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


class Scene:
    """A checkout of its own, and what resolving, building, surveying and training answer."""

    def __init__(self, root: Path, state: Callable[..., Any], golden: Callable[..., Any]) -> None:
        self.site = Site(root=root, store=Store(root.parent / "home"), progress=SILENT, results=root / "RESULTS")
        self.moved: dict[str, str] = {"numpy": "2.4.7"}
        self.kernels: tuple[str, ...] = ()
        self.fails: dict[str, Exception] = {}
        self.answer = Answer.UNCHANGED
        self.seen: list[tuple[str, Path | None]] = []
        self._state = state
        self._golden = golden

    def resolve_python(
        self, spec: ImageSpec, environment: object, *, kept: PythonLock, upgrades: Upgrades
    ) -> ResolvedPython:
        def wheel(old: LockedWheel) -> LockedWheel:
            if old.name not in upgrades.names or old.name not in self.moved:
                return old
            version = self.moved[old.name]
            return LockedWheel(old.name, version, old.filename.replace(old.version, version), FRESH)

        wheels = tuple(map(wheel, kept.wheels))
        lock = msgspec.structs.replace(kept, inputs=signature(python_inputs(spec)), wheels=wheels)
        return ResolvedPython(lock=lock, sizes={}, arguments=())

    def build(self, name: str, *, root: Path, store: Store, progress: object, update: bool) -> None:
        assert root != self.site.root
        assert update
        path = root / "lockfiles" / name / "image.lock"
        old = read_lock(path, ImageLock, schema=SCHEMA)
        write_lock(path, msgspec.structs.replace(old, manifest=FRESH, config=FRESH))
        self._raise("build")

    def observe(self, name: str, site: Site, *, root: Path | None = None) -> Observation:
        self.seen.append((f"observe {name}", root))
        of = sources(root or site.root, name)
        try:
            self._raise("observe" if root is None else "observe upgraded")
        except ToolError as error:
            return Observation(state=self._state(sources=of, survey=None, unsurveyed=error.message), measured_at=None)
        whole = self._state(sources=of)
        if root is not None and self.kernels:
            captured = whole.survey.captured
            probe = {**captured.probe, "numpy": dict(captured.probe["numpy"])}
            probe["numpy"] |= dict.fromkeys(self.kernels, FRESH)
            survey = msgspec.structs.replace(whole.survey, captured=msgspec.structs.replace(captured, probe=probe))
            whole = msgspec.structs.replace(whole, survey=survey)
        return Observation(state=whole, measured_at=None)

    def run_golden(
        self, name: str, experiment: str, quick: bool, site: Site, *, root: Path | None = None, profile: object
    ) -> str:
        assert site.results != self.site.results
        self.seen.append((f"train {experiment}{' quick' if quick else ''}", root))
        self._raise("train" if root is None else "train upgraded")
        return "before" if root is None else "after"

    def golden_of(self, run: str, environment: str, experiment: str, quick: bool) -> Any:
        assert run == "before"
        return self._golden()

    def compare_golden(self, stored: Any, candidate: str, again: str) -> tuple[GoldenCell, ...]:
        assert (candidate, again) == ("after", "before")
        return tuple(
            GoldenCell(
                experiment=stored.experiment, target=cell.target, view=cell.view, symbol=cell.symbol,
                family=cell.family, answer=self.answer, before=cell.fingerprint,
                after=cell.fingerprint if self.answer is Answer.UNCHANGED else FRESH,
            )
            for cell in stored.cells
        )  # fmt: skip

    def rehearse(self, *items: str, **fields: Any) -> Rehearsal:
        request = {"image": "cpu", "upgrades": parse_upgrades(items), "experiment": EXPERIMENT, "quick": True}
        return rehearse(RehearsalRequest(**{**request, **fields}), self.site)

    def _raise(self, step: str) -> None:
        if step in self.fails:
            raise self.fails[step]


@pytest.fixture
def scene(
    tmp_path: Path, state: Callable[..., Any], golden: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Scene:
    root = tmp_path / "checkout"
    for folder in ("docker", "lockfiles/cpu"):
        shutil.copytree(ROOT / folder, root / folder)
    for path in (root / "docker").glob("*.yaml"):
        if path.stem != "cpu":
            path.unlink()
    made = Scene(root, state, golden)
    monkeypatch.setattr(lock_module, "resolve_python", made.resolve_python)
    for name in ("build", "observe", "run_golden", "golden_of", "compare_golden"):
        monkeypatch.setattr(module, name, getattr(made, name))
    return made


def test_an_upgrade_that_moves_kernels_answers_1_and_writes_nothing(scene: Scene) -> None:
    before = files(scene.site.root)
    scene.kernels = ("exp64", "svd64")
    done = scene.rehearse("numpy")
    (drift,) = done.report.environments
    assert done.report.exit_code == ExitCode.DIVERGENT
    assert (drift.name, drift.candidate) == ("cpu", "cpu with numpy")
    assert (drift.environment, drift.numbers) == (Answer.CHANGED, Answer.CHANGED)
    changes = {change.name: change for change in drift.changes}
    assert {"probe numpy/exp64", "probe numpy/svd64", "wheel numpy", "image manifest"} <= changes.keys()
    assert "wheel numpy" in changes["probe numpy/exp64"].follows_from
    assert [(change.package, change.before, change.after) for change in done.changes] == [("numpy", "2.4.6", "2.4.7")]
    assert files(scene.site.root) == before


def test_both_environments_are_seen_and_trained_in_and_what_was_tried_is_gone(scene: Scene) -> None:
    scene.rehearse("numpy")
    steps, roots = [step for step, _ in scene.seen], [root for _, root in scene.seen]
    assert steps == ["observe cpu", "observe cpu", f"train {EXPERIMENT} quick", f"train {EXPERIMENT} quick"]
    assert roots[0] is roots[2] is None
    assert roots[1] == roots[3]
    assert roots[1] is not None
    assert not roots[1].exists()


def test_an_upgrade_that_changes_the_environment_alone_answers_0(scene: Scene) -> None:
    done = scene.rehearse("numpy")
    (drift,) = done.report.environments
    assert (drift.environment, drift.numbers, drift.not_tested) == (Answer.CHANGED, Answer.UNCHANGED, ())
    assert done.report.exit_code == ExitCode.OK
    assert drift.tested_by == ("probe", "golden")
    assert done.report.purpose is Purpose.REHEARSAL
    assert [each.path for each in drift.known_golden] == [cell.path for cell in drift.golden]


def test_a_golden_run_with_other_bits_answers_1_although_no_kernel_moved(scene: Scene) -> None:
    scene.answer = Answer.CHANGED
    report = scene.rehearse("numpy").report
    assert report.exit_code == ExitCode.DIVERGENT
    assert report.environments[0].numbers is Answer.CHANGED


def test_without_an_experiment_nothing_is_trained_and_the_probe_decides(scene: Scene) -> None:
    report = scene.rehearse("numpy", experiment=None).report
    assert report.exit_code == ExitCode.OK
    assert report.environments[0].tested_by == ("probe",)
    assert not any(step.startswith("train") for step, _ in scene.seen)


def test_a_pin_that_gave_way_is_said(scene: Scene) -> None:
    scene.moved = {"torch": "2.14.0+cpu"}
    done = scene.rehearse("torch==2.14.0")
    assert [(pin.before, pin.after) for pin in done.replaced] == [("torch==2.13.0+cpu", "torch==2.14.0+cpu")]
    (drift,) = done.report.environments
    assert drift.candidate == "cpu with torch==2.14.0+cpu (its spec asks for torch==2.13.0+cpu)"
    assert "spec python.requirements/torch" in {change.name for change in drift.changes}


@pytest.mark.parametrize("step", ["observe", "observe upgraded", "train", "train upgraded"])
def test_what_cannot_run_with_the_upgrade_or_without_it_is_not_tested_and_never_a_pass(scene: Scene, step: str) -> None:
    scene.fails = {step: ToolError("scipy does not import")}
    report = scene.rehearse("numpy").report
    (drift,) = report.environments
    assert report.exit_code == ExitCode.INCOMPARABLE
    assert any("scipy does not import" in item.reason for item in drift.not_tested)
    assert drift.environment is Answer.CHANGED


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("observe", IntegrityError("it was not strict")),
        ("build", IntegrityError("a wheel is damaged")),
        ("observe upgraded", IntegrityError("it was not strict")),
        ("train upgraded", IntegrityError("it was not strict")),
    ],
)
def test_what_is_no_finding_about_the_upgrade_ends_the_rehearsal(scene: Scene, step: str, error: Exception) -> None:
    before = files(scene.site.root)
    scene.fails = {step: error}
    with pytest.raises(type(error), match=str(error)):
        scene.rehearse("numpy")
    assert files(scene.site.root) == before


def test_an_upgrade_that_changes_no_lock_runs_nothing(scene: Scene) -> None:
    scene.moved = {}
    done = scene.rehearse("numpy")
    assert (done.report.environments, done.report.exit_code, done.changes) == ((), ExitCode.OK, ())
    assert scene.seen == []


@pytest.mark.parametrize(
    ("items", "fields", "said"),
    [
        (("numppy",), {}, "holds no package numppy"),
        (("torch",), {}, "pins torch"),
        (("numpy",), {"experiment": "no_such_experiment"}, "no_such_experiment"),
        (("numpy",), {"image": "no-such"}, "no-such"),
        (("numpy",), {"rules": Path("/no/such.yaml")}, "such.yaml"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    scene: Scene, items: tuple[str, ...], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        scene.rehearse(*items, **fields)
    assert scene.seen == []


def drift(**fields: Any) -> EnvironmentDrift:
    return EnvironmentDrift(
        **{
            "name": "cpu", "candidate": "cpu", "environment": Answer.CHANGED, "numbers": Answer.UNCHANGED,
            "tested_by": ("probe",), "not_tested": (), "changes": (), "golden": (), "expired": (),
            "measured_at": None, **fields,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 0),
        ({"environment": Answer.UNCHANGED}, 0),
        ({"numbers": Answer.CHANGED}, 1),
        ({"numbers": Answer.CHANGED, "not_tested": (NotTested("a", "b"),)}, 1),
        ({"numbers": Answer.NOT_TESTED}, 3),
        ({"not_tested": (NotTested("a", "b"),)}, 3),
    ],
)
def test_the_exit_code_is_about_numbers(fields: dict[str, Any], code: int) -> None:
    assert exit_code_of([drift(**fields)]) == code
    assert exit_code_of([drift(), drift(**fields)]) == code
    assert exit_code_of([]) == 0
