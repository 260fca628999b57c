"""What a run makes of how its engine's process ended. The engine is played here; real ones are in tests/integration."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.engines.interface import Output
from harness.errors import HarnessError, IntegrityError, ToolError, UsageError
from harness.images.build import Image
from harness.record.hashing import digest_of
from harness.record.jsonfile import pretty_json
from harness.runs.project import find_root
from harness.runs.request import RunRequest
from harness.runs.train import train
from harness.spec.run import Mode, RunResult, RunSpec
from harness.spec.task import CohortResult, TrainingOutput, TrainingTask
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
reproducibility: {seed: 5}
threading: {parallel: {enabled: true}}
"""

Play = Callable[[RunSpec, Output, Output], RunResult]


class Stage:
    """An engine without isolation or process: `play` is the whole run. Keeps the RunSpecs that it got."""

    name = "host"

    def __init__(self, play: Play) -> None:
        self.play = play
        self.specs: list[RunSpec] = []

    def describe(self) -> dict[str, str]:
        return {"engine": "stage"}

    def prepare(self, image: Image) -> None:
        raise AssertionError("the host engine has no images")

    def run(self, spec: RunSpec, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        self.specs.append(spec)
        return self.play(spec, on_stdout, on_stderr)


def ended(exit_code: int = 0, **how: bool) -> RunResult:
    return RunResult(exit_code=exit_code, wall_seconds=1.0, **how)


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("REPRO_MODE", "REPRO_SEED", "REPRO_VERSION"):
        monkeypatch.delenv(name, raising=False)
    Path("panel.csv").write_text("Date,AAA\n2020-01-01,1.0\n")
    Path("tiny.yaml").write_text(EXPERIMENT)
    return tmp_path


def run(play: Play, **request: object) -> tuple[HarnessError, Stage]:
    """A run that fails: its error, and the engine. Nothing may be left of it."""
    engine = Stage(play)
    asked = RunRequest(experiment="tiny.yaml", **request)  # type: ignore[arg-type]
    with pytest.raises(HarnessError) as failed:
        train(asked, root=find_root(Path.cwd()), store=Store(Path.cwd() / "store"), engine=engine, progress=SILENT)
    assert list(Path("RESULTS/runs").iterdir()) == []
    return failed.value, engine


def says(text: bytes, result: RunResult, *, stderr: bytes = b"") -> Play:
    def play(spec: RunSpec, on_stdout: Output, on_stderr: Output) -> RunResult:
        on_stdout(text)
        on_stderr(stderr)
        return result

    return play


@pytest.mark.parametrize(("code", "kind"), [(2, ToolError), (4, IntegrityError)])
def test_a_trainers_own_words_and_code_are_the_runs(code: int, kind: type[HarnessError]) -> None:
    event = msgspec.json.encode({"event": "error", "message": "m", "hint": "h", "exit_code": code})
    error, _ = run(says(event + b"\n", ended(code), stderr=b"Traceback: deep\n"))
    assert (type(error), error.message, error.hint) == (kind, "m", "h")
    assert "Traceback: deep" in error.__notes__[0]


def test_a_refusal_of_the_launcher_is_an_integrity_failure() -> None:
    error, _ = run(says(b"", ended(4), stderr=b"harness: this run would not be strict: X\n  Do Y.\n"))
    assert (type(error), error.message, error.hint) == (IntegrityError, "this run would not be strict: X", "Do Y.")


def test_memory_and_time_are_named_before_what_they_led_to() -> None:
    event = msgspec.json.encode({"event": "error", "message": "EOFError", "hint": None, "exit_code": 2}) + b"\n"
    error, _ = run(says(event, ended(2, out_of_memory=True)))
    assert "more memory" in error.message
    error, _ = run(says(event, ended(143, timed_out=True)), time_limit=7.0)
    assert "within its 7 s" in error.message


def test_a_trainer_that_was_killed_is_said_to_be() -> None:
    error, _ = run(says(b"", ended(137), stderr=b"the last line\n"))
    assert type(error) is ToolError
    assert error.message == "Something killed the trainer (SIGKILL)"
    assert "memory" in error.hint
    assert "the last line" in error.__notes__[0]


def test_a_trainer_that_dies_in_silence_is_quoted() -> None:
    error, _ = run(says(b"", ended(139), stderr=b"Segmentation fault\n"))
    assert type(error) is ToolError
    assert "exit code 139" in error.message
    assert "Segmentation fault" in error.message


def test_a_trainer_that_answers_nothing_is_an_error() -> None:
    error, _ = run(says(b"", ended(0)))
    assert "training.json" in error.message


def answers(output: TrainingOutput) -> Play:
    def play(spec: RunSpec, on_stdout: Output, on_stderr: Output) -> RunResult:
        (Path(spec.output) / "file").write_bytes(b"as written")
        (Path(spec.output) / "training.json").write_bytes(
            pretty_json(msgspec.structs.replace(output, run_id=output.run_id or spec.run_id))
        )
        return ended()

    return play


def test_an_answer_for_another_run_is_refused() -> None:
    error, _ = run(answers(TrainingOutput(run_id="other", cohorts=(), timings={})))
    assert type(error) is IntegrityError
    assert "answered for run other" in error.message


@pytest.mark.parametrize("found", [b"as written!", b"as Written", b""])
def test_a_file_that_is_not_what_the_trainer_said_is_refused(found: bytes) -> None:
    cohort = CohortResult(
        cohort_id="cs_0", target="t", view="CROSS_SECTIONAL", symbol=None, folder="targets/t", signatures={},
        families={}, files={"file": digest_of(found)},
    )  # fmt: skip
    error, _ = run(answers(TrainingOutput(run_id="", cohorts=(cohort,), timings={})))
    assert type(error) is IntegrityError
    assert "file" in error.message


def test_what_a_run_gets_is_the_table_of_variables_and_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("REPRO_SEED", "6")
    _, engine = run(says(b"", ended(1)), hostname="h", randomize_addresses=False, workers=1)
    (spec,) = engine.specs
    assert spec.environment["OMP_NUM_THREADS"] == "1"
    assert spec.environment["REPRO_SEED"] == "6"
    assert (spec.hostname, spec.randomize_addresses, spec.image) == ("h", False, None)
    assert [mount.name for mount in spec.mounts] == ["code", "data", "task"]
    task = msgspec.json.decode((Path(spec.mounts[2].source) / "task.json").read_bytes(), type=TrainingTask)
    assert (task.seed, task.workers, task.mode, task.run_id) == (6, 1, Mode.STRICT, spec.run_id)
    assert task.experiment.quick == {}


def test_a_flag_beats_the_variable_and_the_variable_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def seed(**request: object) -> str:
        return run(says(b"", ended(1)), **request)[1].specs[0].environment["REPRO_SEED"]

    assert seed() == "5"
    monkeypatch.setenv("REPRO_SEED", "6")
    assert seed() == "6"
    assert seed(seed=7) == "7"
    assert seed(variables=False) == "5"


def test_parallel_switched_off_means_one_worker() -> None:
    Path("tiny.yaml").write_text(EXPERIMENT.replace("enabled: true", "enabled: false"))
    _, engine = run(says(b"", ended(1)), workers=2)
    mount = engine.specs[0].mounts[2]
    assert msgspec.json.decode((Path(mount.source) / "task.json").read_bytes(), type=TrainingTask).workers == 1


def test_an_image_that_the_host_cannot_be_is_refused() -> None:
    error, engine = run(says(b"", ended()), image="nope")
    assert type(error) is UsageError
    assert engine.specs == []


def test_what_ends_the_harness_leaves_nothing(working_folder: Path) -> None:
    def stopped(spec: RunSpec, on_stdout: Output, on_stderr: Output) -> RunResult:
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        train(
            RunRequest(experiment="tiny.yaml"), root=find_root(Path.cwd()), store=Store(Path.cwd() / "store"),
            engine=Stage(stopped), progress=SILENT,
        )  # fmt: skip
    assert list(Path("RESULTS/runs").iterdir()) == []
