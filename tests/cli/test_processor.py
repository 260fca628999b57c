"""A processor without AVX2, as its own words would be: what asks for `x86-64-v3` there ends before anything is made."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main as command
from harness.cli import ml_train
from harness.errors import PrerequisiteError
from harness.runs import environment
from harness.runs.configuration import Configuration
from harness.runs.ensemble import train_ensemble
from harness.runs.opening import EngineName, Environment, open_engine
from harness.runs.project import find_root
from harness.runs.publish import RunReport
from harness.runs.request import RunRequest
from harness.runs.survey import survey
from harness.spec.processor import X86_64_V3
from harness.spec.run import Profile
from harness.store.progress import SILENT
from harness.store.store import Store

EXPERIMENT = """
name: tiny
data: {path: panel.csv}
features: [ret_1d]
targets: [fwd_ret_5d]
families:
  ridge: {alpha: 1.0}
folds: {count: 2, min_train: 150}
"""
OPTIONS = ("--engine=host", "--profile=x86-64-v3")
TRAIN = ("--experiment=tiny.yaml", *OPTIONS, "--deterministic")
COMMANDS = {
    "exec": ("harness", "exec", *OPTIONS, "--", "python", "train.py"),
    "run": ("harness", "run", *OPTIONS, "--experiment-config=tiny.yaml"),
    "ml-train": ("ml-train", *TRAIN),
    "ensemble": ("ml-train", *TRAIN, "--seed=1", "--seed=2"),
    "program": ("ml-train", "program.yaml", "--deterministic", *OPTIONS),
}

Says = Callable[[str], None]
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "store"))
    for name in ("REPRO_MODE", "REPRO_SEED", "REPRO_VERSION"):
        monkeypatch.delenv(name, raising=False)
    Path("panel.csv").write_text("Date,AAA\n2020-01-01,1.0\n")
    Path("tiny.yaml").write_text(EXPERIMENT)
    Path("train.py").write_text("print(1)\n")
    Path("program.yaml").write_text("program: [python, train.py]\n")
    return tmp_path


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Says:
    """What /proc/cpuinfo says from now on."""

    def says(flags: str) -> None:
        monkeypatch.setattr(environment, "processor_facts", lambda: {"vendor_id": "GenuineIntel", "flags": flags})

    return says


class ReachedError(Exception):
    """It got as far as making the environment."""


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made in these tests: whoever would begin to says so."""

    def reached(*_: object, **__: object) -> None:
        raise ReachedError("the environment would be made now")

    for module in ("execute", "train", "ensemble", "survey"):
        monkeypatch.setattr(f"harness.runs.{module}.make_ground", reached)
    monkeypatch.setattr("harness.runs.train.panel_mount", reached)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    def call(program: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as stop:
            (ml_train if program == "ml-train" else command).main()
        return int(stop.value.code or 0), capfd.readouterr().err

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_without_avx2_the_portable_profile_is_refused_before_anything_is_made(
    folder: Path, processor: Says, stopped: None, call: Call, name: str
) -> None:
    processor(" ".join(set(X86_64_V3) - {"avx2"}))
    code, said = call(*COMMANDS[name])
    assert code == 2
    assert "This processor cannot run the profile x86-64-v3: it has no avx2" in said
    assert "use the profile native" in " ".join(said.split())
    assert not list(Path().rglob("RESULTS/runs/*"))
    made = [path for path in (folder / "store").glob("*/*") if path.parent.name not in ("leases", "roots")]
    assert made == []  # who uses the store is noted


@pytest.mark.parametrize("name", COMMANDS)
def test_with_avx2_the_same_commands_go_on_and_without_it_those_of_native_do(
    folder: Path, processor: Says, stopped: None, call: Call, name: str
) -> None:
    processor(" ".join(X86_64_V3))
    assert "the environment would be made now" in call(*COMMANDS[name])[1]
    processor("sse4_2 avx")
    native = [argument for argument in COMMANDS[name] if argument != "--profile=x86-64-v3"]
    assert "the environment would be made now" in call(*native)[1]


def test_an_ensemble_is_refused_before_its_first_member_and_a_survey_before_its_image(
    folder: Path, processor: Says, stopped: None
) -> None:
    processor("sse4_2 avx")
    root, store = find_root(Path.cwd()), Store(folder / "store")
    engine = open_engine(EngineName.HOST, root, store, SILENT)
    configuration = Configuration(deterministic=True, profile=Profile.X86_64_V3, seed=(1, 2))

    def train(request: RunRequest) -> RunReport:
        raise AssertionError("a member was trained")

    with pytest.raises(PrerequisiteError, match="it has no abm, avx2"):
        train_ensemble(configuration, (), root=root, store=store, engine=engine, progress=SILENT, train=train)
    asked = Environment("host", EngineName.HOST, "cpu")
    with pytest.raises(PrerequisiteError, match="it has no abm, avx2"):
        survey(asked, root=root, store=store, engine=engine, progress=SILENT, profile=Profile.X86_64_V3)
    with pytest.raises(ReachedError):
        survey(asked, root=root, store=store, engine=engine, progress=SILENT)
