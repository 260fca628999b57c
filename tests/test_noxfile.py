"""The sessions that `nox -l` offers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
QUICK = {"lint", "types", "imports"}
SESSIONS = QUICK | {
    "tests", "outside-3.11", "outside-3.12", "outside-3.13", "deterministic_run(host)", "deterministic_run(cpu)",
    "deterministic_run(cpu-prev)", "deterministic_run(cuda)", "matrix", "drift", "bench", "release",
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
