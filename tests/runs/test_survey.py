"""What an environment says is asked once, and asked again as soon as anything could have changed it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.engines.interface import Output
from harness.errors import HarnessError, IntegrityError, PrerequisiteError, ToolError
from harness.images.build import Image
from harness.record.environment import Captured, Cpu, Library
from harness.record.hashing import digest_of
from harness.record.jsonfile import pretty_json
from harness.runs import survey as surveying
from harness.runs.machine import Machine
from harness.runs.opening import EngineName, Environment
from harness.runs.survey import FOLDER, Surveyed, survey, survey_key
from harness.spec.run import ImageReference, Mount, Profile, Resources, RunResult, RunSpec
from harness.store.store import Store

ROOT = Path(__file__).parents[2]
CPU = Environment("cpu", EngineName.DOCKER, "cpu")
HOST = Environment("host", EngineName.HOST, "cpu")
CAPTURED = Captured(
    python={"version": "3.11.2", "implementation": "CPython"},
    libraries={"numpy": Library("2.4.6", digest_of(b"numpy"))},
    native={"libc": "glibc 2.36"},
    cpu=Cpu("x86_64", "AuthenticAMD", "25", "17", "AMD EPYC", {"numpy": "X86_V4"}),
    gpu=None,
    settings={"OMP_NUM_THREADS": "1"},
    probe={"numpy": {"exp64": digest_of(b"exp64")}},
    host={"kernel": "Linux 6.1.0", "cores": "2"},
)
MACHINE = Machine(
    processors=({"vendor_id": "AuthenticAMD", "microcode": "0x1"},),
    caches=("3 Unified 32768K",),
    cores=(0, 1),
    memory=8 << 30,
    kernel="6.1.0 #1 x86_64",
    boot="3a62b39e",
    gpu=None,
)


class Inside:
    """An engine in which the survey's program leaves what a test wants it to, and which counts the times."""

    def __init__(self, name: str = "docker", captured: Captured = CAPTURED, *, errors: str = "", **ended: Any) -> None:
        self.name = name
        self.captured: Captured | None = captured
        self.version = "28.5.1"
        self.errors = errors
        self.ended = {"exit_code": 0, "wall_seconds": 1.0, **ended}
        self.refused: str | None = None
        self.specs: list[RunSpec] = []

    def describe(self) -> dict[str, str]:
        return {"engine": self.name, "version": self.version}

    def prepare(self, image: Image) -> None:
        assert self.name == "docker"

    def run(self, spec: RunSpec, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        if spec.argv[-1] != "harness.strict.survey":
            return RunResult(exit_code=1, wall_seconds=0.0)  # no bytecode here
        self.specs.append(spec)
        output = Path(spec.output)
        if self.captured is not None:
            (output / "environment.json").write_bytes(pretty_json(self.captured))
        if self.refused is not None:
            (output / "refused.txt").write_text(self.refused)
        on_stdout(b"a library's greeting\n")
        on_stderr(self.errors.encode())
        return RunResult(**self.ended)  # type: ignore[arg-type]


class Notes:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def task(self, description: str, *, total: float | None = None, unit: str = "items"):
        from harness.store.progress import SILENT

        return SILENT.task(description, total=total, unit=unit)

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: what takes time is to copy this checkout's code into it."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def ask(home: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Surveyed]:
    """`ask(engine, environment, profile=, fresh=)`: a survey on a machine that is always the same."""
    store = Store(home)
    for path in (home / FOLDER).glob("*"):
        path.unlink()
    monkeypatch.setattr(surveying, "this_machine", lambda: MACHINE)

    def call(engine: Inside, environment: Environment = CPU, **options: Any) -> Surveyed:
        return survey(environment, root=ROOT, store=store, engine=engine, progress=notes, **options)

    return call


def kept(home: Path) -> list[Path]:
    return sorted((home / FOLDER).glob("*"))


def test_an_environment_says_what_it_is_under_the_variables_of_a_strict_run(ask, home: Path) -> None:
    engine = Inside()
    found = ask(engine)
    (spec,) = engine.specs
    assert found.survey.captured == CAPTURED
    assert found.survey.engine == {"engine": "docker", "version": "28.5.1"}
    assert found.survey.variables == spec.environment
    assert found.survey.variables["REPRO_MODE"] == "strict"
    assert found.survey.memory == spec.resources.memory
    assert not found.kept
    assert not Path(spec.output).exists()


def test_while_nothing_changed_the_earlier_answer_is_taken(ask, home: Path) -> None:
    engine = Inside()
    first, second = ask(engine), ask(engine)
    assert (second.survey, second.measured_at, second.kept) == (first.survey, first.measured_at, True)
    assert len(engine.specs) == len(kept(home)) == 1


def test_a_fresh_survey_is_measured_and_takes_the_earlier_ones_place(ask, home: Path) -> None:
    ask(Inside())
    other = msgspec.structs.replace(CAPTURED, native={"libc": "glibc 2.37"})
    assert ask(Inside(captured=other), fresh=True).survey.captured == other
    later = ask(Inside())
    assert (later.survey.captured, later.kept) == (other, True)
    assert len(kept(home)) == 1


def test_nothing_of_the_callers_own_variables_gets_into_it(ask, monkeypatch: pytest.MonkeyPatch, notes: Notes) -> None:
    before = ask(Inside())
    for name, value in {"REPRO_SEED": "7", "REPRO_MODE": "best_effort", "OMP_NUM_THREADS": "8"}.items():
        monkeypatch.setenv(name, value)
    assert ask(Inside()) == msgspec.structs.replace(before, kept=True)
    assert not any("OMP_NUM_THREADS" in note for note in notes.notes)


def test_each_profile_has_a_survey_of_its_own(ask) -> None:
    engine = Inside()
    native, capped = ask(engine), ask(engine, profile=Profile.X86_64_V3)
    assert not capped.kept
    assert native.survey.variables != capped.survey.variables


def test_another_version_of_the_engine_is_asked_anew(ask) -> None:
    engine = Inside()
    ask(engine)
    engine.version = "29.0.0"
    assert ask(engine).survey.engine["version"] == "29.0.0"


def test_a_restarted_machine_is_asked_anew(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(Inside())
    monkeypatch.setattr(surveying, "this_machine", lambda: msgspec.structs.replace(MACHINE, boot="another"))
    assert not ask(Inside()).kept


def test_on_a_machine_that_is_not_known_nothing_is_kept(ask, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "this_machine", lambda: None)
    assert not ask(Inside()).kept
    assert not ask(Inside()).kept
    assert kept(home) == []


def test_a_plain_process_is_asked_anew_when_its_files_change(
    ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"environment": digest_of(b"one")}
    monkeypatch.setattr(surveying, "ensure_environment", lambda *_: tmp_path)
    monkeypatch.setattr(surveying, "plain_environment", lambda *_: dict(files))
    engine = Inside("host")
    assert [ask(engine, HOST).kept for _ in range(2)] == [False, True]
    assert engine.specs[0].image is None
    files["environment"] = digest_of(b"two")
    assert not ask(engine, HOST).kept


def test_a_plain_process_is_not_surveyed_in_an_environment_that_was_altered(
    ask, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "ensure_environment", lambda *_: tmp_path / "bin" / "python3")
    monkeypatch.setattr(surveying, "plain_environment", lambda *_: {"environment": digest_of(b"one")})
    checked: list[Path] = []

    def altered(folder: Path) -> None:
        checked.append(folder)
        raise IntegrityError("numpy/__init__.py is another")

    monkeypatch.setattr(surveying, "check_installed", altered)
    engine = Inside("host")
    with pytest.raises(IntegrityError, match="is another"):
        ask(engine, HOST)
    assert (checked, engine.specs, kept(home)) == ([tmp_path], [], [])
    assert ask(Inside()).survey.captured == CAPTURED  # an image's files are those of its layers
    assert checked == [tmp_path]


def test_the_files_of_a_plain_process_are_read_when_it_is_surveyed_and_not_when_the_survey_was_kept(
    ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "ensure_environment", lambda *_: tmp_path / "bin" / "python3")
    monkeypatch.setattr(surveying, "plain_environment", lambda *_: {"environment": digest_of(b"one")})
    checked: list[Path] = []
    monkeypatch.setattr(surveying, "check_installed", checked.append)
    engine = Inside("host")
    assert [ask(engine, HOST, fresh=fresh).kept for fresh in (False, False, True)] == [False, True, False]
    assert len(checked) == len(engine.specs) == 2


def flipped(data: bytes) -> bytes:
    return data.replace(b"glibc 2.36", b"glibc 2.35")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_another_time(data: bytes) -> bytes:
    return data.replace(b'"measured_at": "2', b'"measured_at": "3')


def of_another_schema(data: bytes) -> bytes:
    return data.replace(b"harness.survey/1", b"harness.survey/0")


@pytest.mark.parametrize("damage", [flipped, cut, of_another_time, of_another_schema, lambda _: b"", lambda _: b"\xff"])
def test_a_damaged_survey_is_measured_anew_and_said_so(
    ask, home: Path, notes: Notes, damage: Callable[[bytes], bytes]
) -> None:
    ask(Inside())
    (path,) = kept(home)
    whole = path.read_bytes()
    assert damage(whole) != whole
    path.write_bytes(damage(whole))
    assert not ask(Inside()).kept
    assert any("anew" in note and path.name in note for note in notes.notes)
    assert ask(Inside()).kept


def test_a_survey_under_anothers_name_is_not_taken_for_it(ask, home: Path, notes: Notes) -> None:
    ask(Inside(), profile=Profile.X86_64_V3)
    (other,) = kept(home)
    ask(Inside())
    (own,) = set(kept(home)) - {other}
    own.write_bytes(other.read_bytes())
    assert not ask(Inside()).kept


def test_two_who_ask_at_once_measure_once(ask) -> None:
    engine = Inside()
    answers: list[Surveyed] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(engine))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.kept for answer in answers) == [False, True, True]
    assert len(engine.specs) == 1


def test_surveys_that_nothing_asks_for_any_more_do_not_pile_up(
    ask, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "_MOST_KEPT", 2)
    engine = Inside()
    for version in ("1", "2", "3"):
        engine.version = version
        ask(engine)
    assert len(kept(home)) == 2
    assert ask(engine).kept


def failing(**ended: Any) -> Inside:
    return Inside(**{"exit_code": 1, "errors": "Traceback\nValueError: no\n", **ended})


def refusing() -> Inside:
    engine = Inside()  # whatever becomes of the exit code
    engine.refused = "torch's number of threads is 2, not 1: OMP_NUM_THREADS did not take effect"
    return engine


@pytest.mark.parametrize(
    ("engine", "error", "words"),
    [
        (refusing(), IntegrityError, "torch's number of threads"),
        (failing(exit_code=4, errors="noise\nharness: it was not strict\n  Mend it.\n"), IntegrityError, "not strict"),
        (failing(exit_code=2, errors="harness: xgboost cannot be imported: no libgomp\n"), ToolError, "xgboost"),
        (failing(exit_code=139), ToolError, "ValueError: no"),
        (failing(exit_code=137, timed_out=True), ToolError, "within 300 s"),
        (failing(exit_code=137, out_of_memory=True), ToolError, "memory"),
        (Inside(captured=msgspec.structs.replace(CAPTURED, probe={})), ToolError, "without having probed"),
    ],
)
def test_a_survey_that_failed_says_why_and_is_not_kept(
    ask, home: Path, engine: Inside, error: type[HarnessError], words: str
) -> None:
    with pytest.raises(error, match=words):
        ask(engine)
    assert kept(home) == []


def test_a_capture_that_is_not_one_is_refused(ask, home: Path) -> None:
    engine = Inside()
    engine.captured = None
    with pytest.raises(HarnessError, match=r"environment\.json"):
        ask(engine)
    assert kept(home) == []


def gpu_spec(home: Path) -> tuple[RunSpec, Store]:
    return msgspec.structs.replace(SPEC, gpu=True), Store(home)


def test_a_container_that_finds_no_gpu_lacks_one(home: Path) -> None:
    spec, store = gpu_spec(home)
    with pytest.raises(PrerequisiteError, match="does not find it"):
        surveying._measure(spec, Inside(), store)
    assert surveying._measure(msgspec.structs.replace(spec, gpu=False), Inside(), store) == CAPTURED


SPEC = RunSpec(
    run_id="survey-cpu",
    image=ImageReference("cpu", digest_of(b"manifest"), digest_of(b"config")),
    argv=("python3", "-m", "harness.strict.survey"),
    environment={"OMP_NUM_THREADS": "1"},
    mounts=(Mount("code", "/store/code", digest_of(b"code")),),
    output="",
    resources=Resources(cpus=(0, 1), memory=8 << 30),
)
BASE: dict[str, Any] = {"spec": SPEC, "machine": MACHINE, "engine": {"version": "28"}, "plain": None}


def spec_with(**fields: Any) -> dict[str, Any]:
    return {"spec": msgspec.structs.replace(SPEC, **fields)}


def machine_with(**fields: Any) -> dict[str, Any]:
    return {"machine": msgspec.structs.replace(MACHINE, **fields)}


def key(**changes: Any) -> str:
    values = {**BASE, **changes}
    return survey_key(values.pop("spec"), **values)


@pytest.mark.parametrize(
    "change",
    [
        spec_with(image=None),
        spec_with(image=ImageReference("cpu", digest_of(b"another"), digest_of(b"config"))),
        spec_with(argv=("python3", "-m", "harness.strict.other")),
        spec_with(environment={"OMP_NUM_THREADS": "2"}),
        spec_with(environment={}),
        spec_with(mounts=(Mount("code", "/store/code", digest_of(b"other code")),)),
        spec_with(resources=Resources(cpus=(0,), memory=8 << 30)),
        spec_with(resources=Resources(cpus=(0, 1), memory=4 << 30)),
        spec_with(hostname="other"),
        spec_with(gpu=True),
        *(
            machine_with(**fields)
            for fields in (
                {"processors": ({"vendor_id": "AuthenticAMD", "microcode": "0x2"},)},
                {"caches": ()},
                {"cores": (0,)},
                {"memory": 16 << 30},
                {"kernel": "6.1.1 #1 x86_64"},
                {"boot": "another"},
                {"gpu": "NVIDIA H100, 570.1"},
            )
        ),
        {"engine": {"version": "29"}},
        {"plain": {"lock": digest_of(b"lock")}},
    ],
)
def test_each_thing_that_could_change_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_a_machines_every_field_is_in_the_key() -> None:
    changed = {"processors", "caches", "cores", "memory", "kernel", "boot", "gpu"}
    assert changed == set(Machine.__struct_fields__)


def test_the_runs_name_and_places_are_not_in_the_key() -> None:
    assert key() == key()
    assert key(**spec_with(run_id="another", output="/elsewhere")) == key()
    assert key(**spec_with(mounts=(Mount("code", "/elsewhere", digest_of(b"code")),))) == key()


def test_other_walls_around_a_run_change_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    profile = tmp_path / "seccomp.json"
    profile.write_text("{}")
    monkeypatch.setattr(surveying, "SECCOMP_PROFILE", profile)
    assert key() != before
