"""The command as people call it: help, exit codes, and errors of one sentence. No engine is asked here."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main as command
from harness.cli.options import split
from harness.errors import ExitCode, HarnessError, IntegrityError, UsageError
from harness.release.formats.registry import FORMATS

EXPERIMENT = """
name: tiny
data: {path: panel.csv}
features: [ret_1d]
targets: [fwd_ret_5d]
families:
  ridge: {alpha: 1.0}
folds: {count: 2, min_train: 150}
"""

Harness = Callable[..., tuple[int, str, str]]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Harness:
    """Call the command in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "store"))
    for name in ("REPRO_MODE", "REPRO_SEED", "REPRO_VERSION"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as stop:
            command.main()
        out, error = capfd.readouterr()
        return int(stop.value.code or 0), out, error

    return call


@pytest.mark.parametrize(
    "path",
    ["", "run", "exec", "compare", "init", "build", "lock", "image", "image ls", "image show", "image export", "clean",
     "dataset", "host-environment", "release-check", "drift", "matrix", "image sbom", "keep", "runs prune", "store gc"],
)  # fmt: skip
def test_every_command_explains_itself(harness: Harness, path: str) -> None:
    code, out, error = harness(*path.split(), "--help")
    assert (code, error) == (0, "")
    assert "Usage: harness" in out
    if path not in ("", "image", "host-environment"):
        assert "Examples:" in out


def test_the_help_names_the_exit_codes(harness: Harness) -> None:
    _, out, _ = harness("--help")
    text = " ".join(out.split())
    for code in ExitCode:
        assert f"{code.value} " in text.partition("Exit codes:")[2]


@pytest.mark.parametrize(
    "arguments",
    [("nothing",), ("compare", "one"), ("run", "--seed", "x"), ("run", "--workers", "0"), ("run", "--mode", "strikt"),
     ("run", "--engine", "podman"), ("run", "--runs", "0"), ("run", "--no-such-option"),
     ("matrix", "--runs", "1"), ("matrix", "--environment", "none")],
)  # fmt: skip
def test_a_wrong_call_is_one_sentence_and_2(harness: Harness, arguments: tuple[str, ...]) -> None:
    code, out, error = harness(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("harness: ")
    assert error.count("harness: ") == 1
    assert "Traceback" not in error


def test_the_module_is_the_command_too() -> None:
    completed = subprocess.run([sys.executable, "-m", "harness", "run", "--seed", "x"], capture_output=True, text=True)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert completed.stderr.startswith("harness: Invalid value for '--seed'")


def run(harness: Harness, *arguments: str, text: str = EXPERIMENT) -> str:
    """The sentence with which `harness run` refuses an experiment; nothing may be left of it."""
    Path("tiny.yaml").write_text(text)
    code, out, error = harness("run", "--engine", "host", "--experiment-config", "tiny.yaml", *arguments)
    assert (code, out) == (2, ""), error
    assert "Traceback" not in error
    assert not list(Path("RESULTS").glob("runs/*"))
    return error.splitlines()[0].removeprefix("harness: ")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("targets:", "target:", "target"),
        ("features: [ret_1d]\n", "", "features"),
        ("folds: {count: 2,", "folds: {count: two,", "folds.count"),
        ("folds: {count: 2,", "folds: {count: 2, count: 3,", "count"),
        ("folds: {count: 2,", "folds: {count: -1,", "folds.count"),
        ("name: tiny", "name: ../tiny", "'../tiny'"),
        ("name: tiny", "name: [tiny]", "name"),
        ("[fwd_ret_5d]", "[fwd_ret_5d, fwd_ret_5d]", "fwd_ret_5d"),
        ("[fwd_ret_5d]", '["fwd_ret_5d/.."]', "fwd_ret_5d/.."),
        ("[fwd_ret_5d]", '["fwd_r\\u0435t_5d"]', "fwd_r\\u0435t_5d"),
        ("[ret_1d]", "[]", "features"),
        ("{path: panel.csv}", "{path: panel.csv, symbols: [AAA, aaa]}", "AAA and aaa"),
        ("{path: panel.csv}", '{path: panel.csv, symbols: ["A\\u202eB"]}', "U+202E"),
        ("{path: panel.csv}", '{path: panel.csv, symbols: ["A\\nB"]}', "U+000A"),
        ("{path: panel.csv}", "{}", "data"),
        ("{path: panel.csv}", "{path: panel.csv, dataset: sp500}", "data"),
        ("ridge:", "catboost:", "catboost"),
    ],
)
def test_a_bad_experiment_is_named_by_its_key(harness: Harness, old: str, new: str, named: str) -> None:
    assert old in EXPERIMENT
    assert named in run(harness, text=EXPERIMENT.replace(old, new))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--run-name", "../x"), "U+002F"),
        (("--run-name", "a\u202eb"), "U+202E"),
        (("--run-name", "con"), "device"),
        (("--symbols", "AAA,..,BBB"), ".."),
        (("--symbols", "AAA,,BBB"), "empty part"),
        (("--targets", "fwd_ret_0d"), "fwd_ret_0d"),
        (("--features", "ret_1d,ret_1d"), "ret_1d"),
        (("--families", "xgboost"), "xgboost"),
        (("--seed", "-1"), "-1"),
        (("--data-dir", "nowhere"), "nowhere"),
        (("--output-dir", "no/such/folder"), "no/such"),
    ],
)
def test_a_bad_option_is_named(harness: Harness, arguments: tuple[str, ...], named: str) -> None:
    assert named in run(harness, *arguments)


def test_the_experiment_of_these_tests_is_refused_for_nothing_but_its_data(harness: Harness) -> None:
    assert run(harness) == "There is no data at panel.csv"


@pytest.mark.parametrize(("name", "value"), [("REPRO_MODE", "strikt"), ("REPRO_SEED", "-3"), ("REPRO_VERSION", "v9")])
def test_a_bad_variable_is_named(harness: Harness, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert run(harness).startswith(name)


def test_an_unknown_experiment_gets_a_suggestion(harness: Harness) -> None:
    code, _, error = harness("run", "--engine", "host", "--experiment-config", "determinism_tset")
    assert code == 2
    assert "determinism_test" in error


@pytest.mark.parametrize(
    ("address", "named"), [("tcp://192.0.2.1:2375", "not on this machine"), ("ssh://far", "not on this machine"),
                           ("unix:///nonexistent/docker.sock", "No Docker daemon answers")],
)  # fmt: skip
def test_an_engine_that_is_remote_or_down_is_one_sentence(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, address: str, named: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    for arguments in (("run",), ("clean",), ("exec", "--", "true")):
        code, out, error = harness(*arguments)
        assert (code, out) == (2, "")
        assert named in error.splitlines()[0]
        assert not Path("RESULTS").exists()


def test_runs_that_are_not_there_are_named(harness: Harness) -> None:
    code, _, error = harness("compare", "a", "b")
    assert code == 2
    assert "There is no run 'a'" in error


def project(*baselines: str) -> Path:
    """A checkout in the working folder, with files that only look like baselines."""
    folder = Path("lockfiles/baselines")
    folder.mkdir(parents=True)
    Path("docker").mkdir()
    for name in baselines:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "There is no baseline"),
        (("--baseline", "v1"), "There is no baseline"),
        (("--baseline", "nowhere/v1.json"), "nowhere/v1.json"),
        (("--format", "jsn"), "Did you mean json?"),
        (("--format", "json", "--format", "table"), "cannot both go to stdout"),
        (("--json", "--format", "markdown"), "cannot both go to stdout"),
        (("--format", "json=", "--format", "table"), "names no file"),
        (("--format", "json=no/such/drift.json"), "there is no folder"),
        (("--format", "json=docker"), "it is a folder"),
        (("--format", "json=docker/drift.json"), "is read by the check"),
        (("--waivers", "w.yaml", "--format", "json=w.yaml"), "is read by the check"),
        (("--format", "json=new.yaml", "--draft-waivers", "./new.yaml"), "Name two files"),
        (("--draft-waivers", "docker"), "is there already"),
        (("--draft-waivers", "no/such/folder.yaml"), "There is no folder no/such"),
        (("--golden", "yes"), "yes"),
    ],
)
def test_a_drift_check_that_cannot_be_made_is_one_sentence(
    harness: Harness, arguments: tuple[str, ...], named: str
) -> None:
    project()
    code, out, error = harness("drift", *arguments)
    assert (code, out) == (2, "")
    assert error.startswith("harness: ")
    assert named in error


def test_baselines_that_are_none_or_of_one_name_are_refused(harness: Harness) -> None:
    folder = project("v1.json")
    code, out, error = harness("drift")
    assert (code, out) == (4, "")
    assert "v1.json" in error
    (folder / "V1.json").write_text("{}")
    code, out, error = harness("drift")
    assert (code, out) == (2, "")
    assert "two baselines of the same release" in error


@pytest.mark.parametrize("code", [2, 4])
def test_a_drift_check_that_comes_to_no_answer_leaves_no_report_of_another_day(harness: Harness, code: int) -> None:
    project(*(["v1.json"] if code == 4 else []))
    old, other = Path("drift.json"), Path("other.json")
    for path in (old, other):
        path.write_text("yesterday's")
    assert harness("drift", "--format", "json=drift.json")[0] == code
    assert not old.exists()
    assert other.exists()


@pytest.mark.parametrize(
    "place", ["harness/configs/drift.yaml", "pyproject.toml", "out/runs/x/manifest.json", "out/history.jsonl"]
)
def test_a_drift_check_removes_nothing_that_it_reads_or_that_is_evidence(harness: Harness, place: str) -> None:
    project()
    for path in (kept := Path(place), old := Path("drift.json")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as it was")
    arguments = ("--output-dir", "out", "--format", "json=drift.json", "--format")
    code, _, error = harness("drift", *arguments, f"html={place}")
    assert code == 2
    assert f"{place} cannot be written" in error
    assert kept.read_text() == "as it was"
    assert not old.exists()
    code, _, error = harness("drift", *arguments, "html=free.html")
    assert "There is no baseline" in error


def test_the_drift_check_names_its_formats_and_exit_codes(harness: Harness) -> None:
    _, out, _ = harness("drift", "--help")
    text = " ".join(out.replace("│", " ").split())
    assert all(name in text for name in FORMATS)
    for code in ExitCode:
        assert f"{code.value} " in text.partition("Exit codes:")[2]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("harness.cli.compare.locate_run", fail)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("a is wrong", hint="Do b."), 2, "harness: a is wrong\n  Do b.\n"),
        (IntegrityError("c is altered"), 4, "harness: c is altered\n"),
        (OSError(28, "No space left on device", "/x"), 2, "harness: No space left on device: /x\n"),
        (KeyboardInterrupt(), 130, "harness: interrupted\n"),
        (RuntimeError("odd"), 2, "harness: An error in the harness itself: RuntimeError: odd\n"),
    ],
)
def test_errors_become_a_sentence_and_a_code(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    failing(monkeypatch, error)
    answered, out, printed = harness("compare", "a", "b")
    assert (answered, out) == (code, "")
    assert printed.startswith(said)
    assert "Traceback" not in printed


def test_debug_shows_the_traceback_and_what_was_noted(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    error = HarnessError("broken")
    error.add_note("printed by the trainer")
    failing(monkeypatch, error)
    _, _, printed = harness("--debug", "compare", "a", "b")
    assert "Traceback" in printed
    assert "printed by the trainer" in printed
    monkeypatch.setattr(command, "_debug", False)


def test_lists_are_separated_by_single_commas() -> None:
    assert split("a, b") == ("a", "b")
    assert split(None) is None
    with pytest.raises(UsageError, match="empty part"):
        split("")


@pytest.mark.parametrize("name", ["a b", "a/b", "a-", "", "Größe", "a" * 64])
def test_a_host_name_that_is_none_is_refused(harness: Harness, name: str) -> None:
    code, _, error = harness("run", "--hostname", name)
    assert code == ExitCode.USAGE
    assert "is not a host name" in error


@pytest.mark.parametrize("arguments", [("run", "--experiment-config", "tiny.yaml"), ("exec", "--", "true")])
def test_a_production_run_is_refused_where_the_tree_is_not_one_commit(
    harness: Harness, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    def refusal() -> str:
        command, *rest = arguments
        code, out, error = harness(command, "--engine", "host", "--require-clean", *rest)
        assert (code, out) == (2, "")
        assert list(Path("RESULTS/runs").iterdir()) == []
        return error.splitlines()[0]

    (tmp_path / "docker").mkdir()
    (tmp_path / "lockfiles").mkdir()
    (tmp_path / ".gitignore").write_text("store\n")
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    assert "is in no git repository" in refusal()
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for call in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run([*git, *call], check=True)
    for number in range(11):
        (tmp_path / f"new{number:02}").touch()
    assert "is not clean: new00, " in refusal()
    assert refusal().endswith("new09 and 1 more")
    for path in tmp_path.glob("new*"):
        path.unlink()
    assert "clean" not in refusal(), "a clean tree is refused for what it lacks, and not for git"
