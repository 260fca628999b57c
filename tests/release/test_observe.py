"""What is known of an environment without running it, with running it, and why it could not be run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import HarnessError, IntegrityError, PrerequisiteError, ToolError, UsageError
from harness.locking.check import input_digests
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.imagespec import load_image_spec
from harness.locking.lockfile import read_lock, write_lock
from harness.record.environment import environment_signature
from harness.release import observe as observing
from harness.release.observe import Observation, observe, sources
from harness.release.site import Site
from harness.release.state import EnvironmentState, Sources
from harness.runs.opening import EngineName
from harness.runs.survey import Surveyed
from harness.spec.run import ImageReference, Profile
from harness.spec.variables import image_variables
from harness.store.progress import SILENT
from harness.store.store import Store

ROOT = Path(__file__).parents[2]
MEASURED = "2026-01-02T03:04:05.000000Z"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout of the specs and locks alone."""
    for name in (
        "docker/cpu.yaml",
        "lockfiles/cpu/debian.lock",
        "lockfiles/cpu/python.txt",
        "lockfiles/cpu/image.lock",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


class Machine:
    """What stands for the engine and for the survey in it: a test sets `failure` to have one of them fail."""

    def __init__(self, surveyed: Surveyed) -> None:
        self.surveyed = surveyed
        self.opening: HarnessError | None = None
        self.surveying: HarnessError | None = None
        self.asked: list[dict[str, Any]] = []

    def open(self, *_: object) -> object:
        if self.opening is not None:
            raise self.opening
        return self

    def survey(self, environment: object, **options: Any) -> Surveyed:
        if self.surveying is not None:
            raise self.surveying
        self.asked.append({"environment": environment, **options})
        return self.surveyed


@pytest.fixture
def machine(state: Callable[..., EnvironmentState], monkeypatch: pytest.MonkeyPatch) -> Machine:
    survey = state().survey
    assert survey is not None
    made = Machine(Surveyed(survey=survey, measured_at=MEASURED, kept=False))
    monkeypatch.setattr(observing, "open_engine", made.open)
    monkeypatch.setattr(observing, "survey", made.survey)
    return made


@pytest.fixture
def look(root: Path, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Observation]:
    """`look(name, …)`: observe the environment `name` of the checkout `root`."""
    site = Site(root=root, store=Store(tmp_path_factory.mktemp("store")), progress=SILENT)
    return lambda name="cpu", **options: observe(name, site, **options)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def relock(root: Path, **fields: Any) -> None:
    """Make the image's lock fit what it is made from, as `harness build --update` would."""
    path = root / "lockfiles/cpu/image.lock"
    lock = msgspec.structs.replace(
        read_lock(path, ImageLock, schema=SCHEMA), inputs=input_digests(root, load_image_spec(root, "cpu"))
    )
    write_lock(path, msgspec.structs.replace(lock, **fields))


def test_sources_hold_the_spec_both_locks_and_the_image_lock_whole(cpu_sources: Sources) -> None:
    assert cpu_sources.image is not None
    assert cpu_sources.digests == cpu_sources.image.inputs
    assert cpu_sources.variables == image_variables("cpu")
    assert "numpy" in {wheel.name for wheel in cpu_sources.python.wheels}


def test_sources_survive_being_written_and_read(cpu_sources: Sources) -> None:
    assert msgspec.json.decode(msgspec.json.encode(cpu_sources), type=Sources) == cpu_sources


def test_an_image_that_was_never_built_has_no_lock(root: Path) -> None:
    (root / "lockfiles/cpu/image.lock").unlink()
    assert sources(root, "cpu").image is None


def test_a_golden_run_was_made_in_the_environment_that_it_names(state, golden) -> None:
    one: EnvironmentState = state()
    assert one.survey is not None
    locked = one.sources.image
    assert locked is not None
    image = ImageReference(locked.name, locked.manifest, locked.config)
    signature = environment_signature(one.survey.captured, image, one.profile)
    assert {cell.group["environment_signature"] for cell in golden(one).cells} == {signature}


def test_an_environment_that_runs_is_surveyed(look, machine: Machine, cpu_sources: Sources) -> None:
    seen = look()
    assert seen.state == EnvironmentState(
        name="cpu",
        engine=EngineName.DOCKER,
        profile=Profile.NATIVE,
        sources=cpu_sources,
        survey=machine.surveyed.survey,
        unsurveyed=None,
    )
    assert seen.measured_at == MEASURED


def test_profile_and_freshness_reach_the_survey(look, machine: Machine) -> None:
    assert look(profile=Profile.X86_64_V3, fresh=True).state.profile is Profile.X86_64_V3
    look()
    first, second = machine.asked
    assert (first["profile"], first["fresh"]) == (Profile.X86_64_V3, True)
    assert (second["profile"], second["fresh"]) == (Profile.NATIVE, False)


def test_another_times_specs_and_locks_are_looked_at_where_they_lie(
    look, machine: Machine, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("restored")
    shutil.copytree(root, other, dirs_exist_ok=True)
    rewrite(other / "docker/cpu.yaml", "name: harness, uid: 65532", "name: harness, uid: 1000")
    relock(other)
    assert look(root=other).state.sources.spec.users[1].uid == 1000
    assert machine.asked[0]["root"] == other


def test_the_host_has_the_cpu_images_locks_and_no_image(look, machine: Machine, cpu_sources: Sources) -> None:
    state = look("host").state
    assert (state.name, state.engine, state.sources.image) == ("host", EngineName.HOST, None)
    assert state.sources.python == cpu_sources.python
    assert state.survey is not None


def unsurveyed(seen: Observation) -> str:
    assert seen.state.survey is None
    assert seen.measured_at is None
    assert seen.state.unsurveyed is not None
    assert "\n" not in seen.state.unsurveyed
    return seen.state.unsurveyed


def test_where_no_engine_answers_the_rest_is_known(look, machine: Machine, cpu_sources: Sources) -> None:
    machine.opening = PrerequisiteError("No Docker daemon answers", hint="Start it.")
    seen = look()
    assert unsurveyed(seen) == "No Docker daemon answers"
    assert seen.state.sources == cpu_sources


def test_an_artifact_that_nobody_has_keeps_an_environment_from_being_run(look, machine: Machine) -> None:
    machine.surveying = PrerequisiteError("numpy-2.4.6.whl cannot be fetched from anywhere")
    assert "numpy-2.4.6.whl" in unsurveyed(look())


def test_a_library_that_cannot_be_imported_keeps_nothing_else_from_being_known(
    look, machine: Machine, cpu_sources: Sources
) -> None:
    machine.surveying = ToolError("xgboost is installed in this environment and cannot be imported: OSError")
    seen = look()
    assert unsurveyed(seen).startswith("xgboost is installed")
    assert seen.state.sources == cpu_sources


def test_an_image_that_was_never_built_says_how(look, root: Path) -> None:
    (root / "lockfiles/cpu/image.lock").unlink()
    said = unsurveyed(look())
    assert "lockfiles/cpu/image.lock is not there" in said
    assert "harness build cpu --update" in said


def test_a_lock_edited_by_hand_is_named(look, root: Path, cpu_sources: Sources) -> None:
    version = next(wheel.version for wheel in cpu_sources.python.wheels if wheel.name == "numpy")
    for before, after in ((f"numpy-{version}-", "numpy-2.99.0-"), (f"numpy=={version}", "numpy==2.99.0")):
        rewrite(root / "lockfiles/cpu/python.txt", before, after)
    seen = look()
    said = unsurveyed(seen)
    assert "image.lock" in said
    assert "python.txt" in said
    assert seen.state.sources.digests["python.txt"] != cpu_sources.digests["python.txt"]
    relock(root)
    assert look().state.survey is not None


def test_a_spec_edited_since_it_was_locked_is_named(look, root: Path) -> None:
    rewrite(root / "docker/cpu.yaml", "    - pyyaml\n", "    - pyyaml\n    - pandas\n")
    assert "python.txt was made from other requirements than docker/cpu.yaml" in unsurveyed(look())
    assert "python.txt" in unsurveyed(look("host"))


def test_what_only_the_image_is_made_from_keeps_no_plain_process_from_running(look, root: Path) -> None:
    rewrite(root / "docker/cpu.yaml", "uid: 65532", "uid: 1000")
    assert "spec" in unsurveyed(look())
    assert look("host").state.survey is not None


def test_a_gpus_environment_needs_a_gpu(look, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(root / "docker/cpu.yaml", "variant: cpu", "variant: cuda")
    relock(root)
    monkeypatch.setattr(observing, "gpu_driver", lambda: None)
    assert "NVIDIA GPU" in unsurveyed(look())
    monkeypatch.setattr(observing, "gpu_driver", lambda: "NVIDIA H100, 570.1")
    assert look().state.survey is not None


def test_an_environment_without_a_gpu_does_not_ask_for_one(look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "gpu_driver", lambda: None)
    assert look().state.survey is not None


def test_what_is_not_what_it_says_is_no_mere_obstacle(look, machine: Machine) -> None:
    machine.surveying = IntegrityError("the image is not what its lock says")
    with pytest.raises(IntegrityError, match="not what its lock says"):
        look()


def test_an_image_lock_that_contradicts_itself_is_refused(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    relock(root, manifest="sha256:" + "0" * 64)
    monkeypatch.setattr(observing, "open_engine", lambda *_: _Docker())
    site = Site(root=root, store=Store(tmp_path_factory.mktemp("store")), progress=SILENT)
    with pytest.raises(IntegrityError, match="contradicts itself"):
        observe("cpu", site)


class _Docker:
    name = "docker"


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("docker/cpu.yaml", "name: cpu\n", UsageError),
        ("docker/cpu.yaml", None, UsageError),
        ("lockfiles/cpu/debian.lock", None, UsageError),
        ("lockfiles/cpu/debian.lock", "{}", IntegrityError),
        ("lockfiles/cpu/python.txt", "numpy\n", IntegrityError),
        ("lockfiles/cpu/image.lock", "{}", IntegrityError),
    ],
)
def test_a_missing_or_invalid_document_is_refused(
    look, root: Path, file: str, text: str | None, error: type[HarnessError]
) -> None:
    path = root / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(error, match=path.name.replace(".", r"\.")):
        look()


def test_an_environment_that_nobody_knows_is_refused(look) -> None:
    with pytest.raises(UsageError, match="tpu"):
        look("tpu")
