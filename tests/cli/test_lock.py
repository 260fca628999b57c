"""`harness lock` as people call it, in a checkout of the test's own; no index and no mirror is asked."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main as command

ROOT = Path(__file__).parents[2]

Lock = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Lock:
    for folder in ("docker", "lockfiles/cpu", "lockfiles/cpu-prev"):
        shutil.copytree(ROOT / folder, tmp_path / "checkout" / folder)
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("UV_OFFLINE", "1")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", "lock", *arguments])
        with pytest.raises(SystemExit) as stop:
            command.main()
        out, error = capfd.readouterr()
        return int(stop.value.code or 0), out, error

    return call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cpu", "--upgrade", ""), "is not a package that can be upgraded"),
        (("cpu", "--upgrade", "numpy>=2"), "is not an exact version"),
        (("cpu", "--upgrade", "numpy", "--upgrade", "NumPy==2"), "numpy is to be upgraded twice"),
        (("cpu", "--upgrade", "numpy", "--upgrade-all"), "--upgrade-all leaves nothing"),
        (("cpu", "--upgrade", "numppy"), "lockfiles/cpu holds no package numppy"),
        (("cpu", "--upgrade", "torch"), "docker/cpu.yaml pins torch==2.13.0+cpu"),
        (("cpu-prev", "--upgrade", "numpy==2.4.6"), "docker/cpu-prev.yaml asks for numpy==1.26.*"),
        (("cpu", "--check", "--dry-run"), "--check changes nothing"),
        (("cpu", "--check", "--upgrade", "numpy"), "--check changes nothing"),
        (("cpu", "--drift"), "it goes with --dry-run"),
        (("cpu", "--dry-run", "--quick"), "about --drift"),
        (("cpu", "--dry-run", "--format", "json"), "about --drift"),
        (("cpu", "--dry-run", "--drift", "--probe-only", "--quick"), "--probe-only trains nothing"),
        (("cpu", "--dry-run", "--drift", "--format", "jsn"), "no format 'jsn'"),
        (("no-such", "--upgrade", "numpy"), "There is no image spec"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_2_and_writes_nothing(
    lock: Lock, arguments: tuple[str, ...], said: str
) -> None:
    before = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}
    code, out, error = lock(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("harness: ")
    assert said in error.splitlines()[0]
    assert "Traceback" not in error
    assert {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()} == before


def test_a_check_in_json_is_a_list_of_problems(lock: Lock) -> None:
    assert lock("cpu", "--check", "--json")[:2] == (0, "[]\n")
    Path("lockfiles/cpu/image.lock").unlink()
    code, out, _ = lock("cpu", "--check", "--json")
    assert (code, json.loads(out)[0]["lock"]) == (1, "lockfiles/cpu/image.lock")


def test_a_rehearsal_that_comes_to_no_answer_leaves_no_report_of_another_day(lock: Lock) -> None:
    old, other = Path("old.json"), Path("other.json")
    for path in (old, other):
        path.write_text("yesterday's")
    rehearsal = ("cpu", "--dry-run", "--drift", "--format", "json=old.json")
    assert lock(*rehearsal, "--probe-only", "--quick")[0] == 2  # before anything is read
    assert old.exists()
    assert lock(*rehearsal, "--upgrade", "numppy")[0] == 2
    assert not old.exists()
    assert other.exists()


@pytest.mark.parametrize("place", ["docker/cpu.yaml", "lockfiles/cpu/new.json", "mine.yaml", "RESULTS/runs/x.json"])
def test_a_rehearsal_writes_over_nothing_that_it_reads(lock: Lock, place: str) -> None:
    Path("mine.yaml").write_text("name: mine\n")
    Path("RESULTS/runs").mkdir(parents=True)
    Path("RESULTS/runs/x.json").touch()
    before = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}
    code, _, error = lock("cpu", "--dry-run", "--drift", "--experiment", "mine.yaml", "--format", f"json={place}")
    assert code == 2
    assert ("earlier runs" if place.startswith("RESULTS") else "is read by the check") in error
    assert {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()} == before
