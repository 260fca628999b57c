"""The sessions that `nox -l` offers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.another_engine import CANNOT

CHECKOUT = Path(__file__).parents[1]
QUICK = {"lint", "types", "imports"}
SESSIONS = QUICK | {
    "tests", "outside-3.11", "outside-3.12", "outside-3.13", "deterministic_run(host)", "deterministic_run(cpu)",
    "deterministic_run(cpu-prev)", "deterministic_run(cuda)", "matrix", "drift", "bench", "release", "scripts",
    "cross_cpu", "cuda_image", "fuzz_archives", "trixie", "arm64", "registry", "containerd_store", "podman",
    "verify_cpu", "third_party", "offline_cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def menu() -> str:
    """What `nox -l` prints."""
    command = [sys.executable, "-m", "nox", "-l", "--noxfile", CHECKOUT / "noxfile.py", "--nocolor"]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout


def entries(menu: str) -> dict[str, tuple[str, str]]:
    """Mark (`*` for what runs by default) and description by session."""
    lines = [line for line in menu.splitlines() if line.startswith(("* ", "- "))]
    found = {}
    for line in lines:
        name, _, description = line[2:].partition(" -> ")
        found[name.partition(" [")[0]] = (line[0], description)
    return found


def test_the_menu_lists_exactly_the_sessions_there_are(menu: str) -> None:
    assert entries(menu).keys() == SESSIONS


def test_only_the_quick_sessions_run_by_default(menu: str) -> None:
    assert {name for name, (mark, _) in entries(menu).items() if mark == "*"} == QUICK


def test_every_session_says_in_one_short_sentence_what_it_does(menu: str) -> None:
    for name, (_, description) in entries(menu).items():
        assert description.endswith("."), name
        assert 20 < len(description) <= 100, name


def test_the_page_on_releases_has_every_session() -> None:
    page = (CHECKOUT / "docs" / "releases.md").read_text()
    names = {re.sub(r"-3\.\d+$|\(.*", "", name) for name in SESSIONS}
    assert sorted(name for name in names if not re.search(rf"`{name}[(`]", page)) == []


def test_the_menu_says_how_to_start_a_session(menu: str) -> None:
    assert '.venv/bin/nox -s "deterministic_run(cpu)" -- --quick' in menu


PROBE = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("noxfile", sys.argv[1])
noxfile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(noxfile)
noxfile.ROOT = noxfile.Path(sys.argv[2])
noxfile._no_engine = lambda: "no engine"
noxfile.DEVICES = ()
print(json.dumps([noxfile._variables(json.loads(sys.argv[3])), [noxfile._cannot_run(name) for name in sys.argv[4:]]]))
"""


def probe(root: Path, variables: dict[str, str], *environments: str) -> tuple[dict[str, str], list[str | None]]:
    """What the noxfile lets through of `variables`, and why it would skip each environment in the checkout `root`."""
    arguments = [CHECKOUT / "noxfile.py", root, json.dumps(variables), *environments]
    kept, reasons = json.loads(subprocess.check_output([sys.executable, "-c", PROBE, *map(str, arguments)]))
    return kept, reasons


def test_a_session_sees_where_things_are_and_nothing_that_could_change_what_it_does(tmp_path: Path) -> None:
    kept = {
        "PATH": "/bin",
        "HOME": "/h",
        "HARNESS_HOME": "/s",
        "UV_FIND_LINKS": "/w",
        "PIP_FIND_LINKS": "/w",
        "CI": "1",
    }
    leaking = dict.fromkeys(
        ("PYTHONPATH", "VIRTUAL_ENV", "NOXSESSION", "REPRO_SEED", "OMP_NUM_THREADS", "MAKEFLAGS", "UV_PYTHON",
         "PYTHONHASHSEED", "LD_PRELOAD", "PIP_TARGET", "UV_CONSTRAINT", "XPATH"), "x",
    )  # fmt: skip
    assert probe(tmp_path, kept | leaking)[0] == kept


def test_a_session_says_why_it_cannot_run_here(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    for name, variant in (("new", "cpu"), ("gpu", "cuda"), ("cpu", "cpu")):
        (tmp_path / "docker" / f"{name}.yaml").write_text(f"name: {name}\nvariant: {variant}\n")
    for name in ("gpu", "cpu"):
        (tmp_path / "lockfiles" / name).mkdir(parents=True)
        (tmp_path / "lockfiles" / name / "image.lock").touch()
    assert probe(tmp_path, {}, "cuda", "new", "gpu", "cpu")[1] == [
        "there is no image spec docker/cuda.yaml yet",
        "there is no lockfiles/new/image.lock yet: harness build new --update",
        "there is no NVIDIA GPU on this machine",
        "no engine",
    ]


def test_what_has_nothing_to_check_yet_is_skipped_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "noxfile.py").write_bytes((CHECKOUT / "noxfile.py").read_bytes())
    command = [sys.executable, "-m", "nox", "--nocolor", "-s", "drift", "release"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    assert "drift: skipped (there is no baseline under lockfiles/baselines yet: harness baseline create" in said
    assert "release: skipped (say which release: nox -s release -- --release v1.0" in said


@pytest.mark.parametrize("arguments", [("--quick",), ("--release-notes", "x"), ("v1.0",)])
def test_a_release_that_is_not_named_is_skipped_whatever_else_is_asked_for(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "noxfile.py").write_bytes((CHECKOUT / "noxfile.py").read_bytes())
    command = [sys.executable, "-m", "nox", "--nocolor", "-s", "release", "--", *arguments]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    assert "skipped: say which release" in said


PLAYED = """
import importlib.util, json, sys
from types import SimpleNamespace
spec = importlib.util.spec_from_file_location("noxfile", sys.argv[1])
noxfile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(noxfile)
noxfile.ROOT = noxfile.Path(sys.argv[2])
noxfile._no_engine = lambda: None
noxfile._install = lambda session, *locks: ran.append(["install", *locks])

class Skipped(Exception):
    pass

def skip(reason):
    raise Skipped(reason)

def run(*command, env, **_):
    ran.append([*(f"{name}={env[name]}" for name in ("HARNESS_TEST_REQUIRE",) if name in env), *command])
    if answer and "tests.another_engine" in command:
        raise noxfile.CommandFailed(f"Returned code {answer}", return_code=answer)

answer = int(sys.argv[4])
if answer:  # as on a machine that has all it takes to try
    noxfile.os.geteuid, noxfile.shutil.which = lambda: 0, lambda *_, **__: "/bin/true"
ran = []
session = SimpleNamespace(
    posargs=sys.argv[5:], skip=skip, error=skip, warn=print, virtualenv=SimpleNamespace(location=sys.argv[2]), run=run
)
try:
    getattr(noxfile, sys.argv[3]).func(session)
except Skipped as skipped:
    ran.append(["skip", str(skipped)])
except noxfile.CommandFailed as failed:
    ran.append(["failed", str(failed)])
print(json.dumps(ran))
"""


def played(root: Path, session: str, *arguments: str, answer: int = 0) -> list[list[str]]:
    """What a session of that name installs and runs where `root` is its environment, and an engine gives an answer."""
    command = [sys.executable, "-c", PLAYED, CHECKOUT / "noxfile.py", root, session, str(answer), *arguments]
    variables = {name: value for name, value in os.environ.items() if name != "HARNESS_TEST_REQUIRE"}
    ran: list[list[str]] = json.loads(subprocess.check_output(command, env=variables))
    return ran


@pytest.mark.parametrize("arguments", [("--release", "v1.0"), ("--first", "--release=v1.0")])
def test_a_release_that_is_named_is_checked(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert played(tmp_path, "release", *arguments)[-1] == ["python", "-m", "harness", "release-check", *arguments]


def test_the_cuda_image_is_built_and_then_tested_in_a_session_alone(tmp_path: Path) -> None:
    _, built, tested = played(tmp_path, "cuda_image", "-k", "imports")
    assert built == ["python", "-m", "harness", "build", "cuda"]
    assert tested[:3] == ["python", "-m", "pytest"]
    assert "tests/integration/test_cuda_image.py" in tested
    assert tested[-2:] == ["-k", "imports"]


@pytest.mark.parametrize(("session", "image"), [("cuda_image", "cuda"), ("arm64", "cpu-arm64"), ("trixie", "trixie")])
def test_a_session_that_builds_an_image_checks_its_bill_of_materials(tmp_path: Path, session: str, image: str) -> None:
    _, built, tested, *_ = played(tmp_path, session)
    assert built[:5] == ["python", "-m", "harness", "build", image]
    test = next(argument for argument in tested if "test_image_sbom" in argument)
    file, _, name = test.partition("::")
    assert f"def {name.removesuffix(f'[{image}]')}(" in (CHECKOUT / file).read_text()


def test_the_image_is_verified_under_every_condition_in_its_session(tmp_path: Path) -> None:
    verify = ["python", "-m", "harness", "image", "verify", "cpu", "--every-condition"]
    assert played(tmp_path, "verify_cpu")[-1] == verify


def test_no_test_of_the_registrys_session_is_skipped_for_want_of_a_program(tmp_path: Path) -> None:
    installed, *ran = played(tmp_path, "registry")
    if installed[0] == "skip":
        assert "there is no" in installed[1]
    else:
        assert ran[0][:4] == ["HARNESS_TEST_REQUIRE=1", "python", "-m", "pytest"]


def dry(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What make says that it would do, whoever started these tests."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=False)


def test_the_whole_suite_runs_in_the_sessions_own_environment_and_leaves_the_checkouts_alone(tmp_path: Path) -> None:
    installed, linked, tested = played(tmp_path, "tests")
    assert installed == ["install", "-r", "lockfiles/host.txt", "-r", "lockfiles/dev.txt"]
    assert linked == ["python", "bin/link-checkout.py"]
    would = dry(*tested[1:]).stdout
    for what in ("ruff check .", "ruff format --check .", "mypy", "lint-imports", "harness lock --check", "-m pytest"):
        assert f"{tmp_path}/bin/{what.split()[0]}" in would or what == "-m pytest", what
        assert what in would, what
    assert f"--target {tmp_path}/inside" in would
    assert "tests/strict tests/training" in would
    for own in (" .venv", "build/inside", "make-environment"):
        assert own not in would, own


def test_without_a_session_make_uses_the_checkouts_environment() -> None:
    would = dry("test", "--assume-new=lockfiles/host.txt").stdout
    assert "bin/make-environment.sh" in would
    assert ".venv/bin/ruff check ." in would


def test_make_asks_for_a_releases_name_before_it_makes_anything() -> None:
    for nameless in (("release-check",), ("release-check", "RELEASE="), ("-j4", "release-check", "RELEASE= ")):
        refused = dry(*nameless)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "name the release: make release-check RELEASE=v1.3" in refused.stderr
    named = dry("release-check", "RELEASE=v1.3", "ARGS=--first")
    assert named.returncode == 0, named.stderr
    assert 'harness release-check --release "v1.3"  --first' in named.stdout
    assert dry("help").returncode == 0


def test_an_environment_that_was_linked_has_the_command_whatever_folder_it_is_called_in(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    question = [python, "-c", "import harness; print(harness.__file__)"]
    assert subprocess.run(question, cwd=tmp_path, capture_output=True, check=False).returncode != 0
    subprocess.run([python, CHECKOUT / "bin" / "link-checkout.py"], check=True)
    found = subprocess.run(question, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(found) == CHECKOUT / "harness" / "__init__.py"
    assert (tmp_path / "venv" / "bin" / "harness").read_text().startswith(f"#!{python}\n")


@pytest.mark.parametrize(("session", "engine"), [("containerd_store", "containerd"), ("podman", "podman")])
def test_the_engines_tests_run_in_another_engine_or_say_what_is_missing(
    tmp_path: Path, session: str, engine: str
) -> None:
    *before, last = played(tmp_path, session)
    if last[0] == "skip":
        assert "only root" in last[1] or "there is no" in last[1]
    else:
        assert before[-1] == ["python", "bin/link-checkout.py"], "a test starts the command `harness`"
        assert last[:4] == ["python", "-m", "tests.another_engine", engine]
        assert "tests/integration/test_docker_engine.py" in last


@pytest.mark.parametrize(("session", "engine"), [("containerd_store", "containerd"), ("podman", "podman")])
def test_an_engine_that_cannot_run_here_is_skipped_and_tests_that_fail_in_it_are_not(
    tmp_path: Path, session: str, engine: str
) -> None:
    skipped = f"{engine} cannot run on this machine: the reason stands above"
    assert played(tmp_path, session, answer=CANNOT)[-1] == ["skip", skipped]
    assert played(tmp_path, session, answer=1)[-1] == ["failed", "Returned code 1"]
