"""The program that the page on checkpoints shows, killed and resumed as a person would."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that holds the page's program."""
    page = (CHECKOUT / "docs/checkpoints.md").read_text("utf-8")
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "train.py").write_text(program)
    return tmp_path


def start(folder: Path, *options: str, engine: str = "host") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harness", "exec", f"--engine={engine}", *options]
    return subprocess.Popen(
        [*command, "--", "python", "train.py", "8"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def kill_after_a_checkpoint(folder: Path, process: "subprocess.Popen[str]") -> None:
    """SIGKILL to the harness after two checkpoints; the program of the host engine ends with it."""
    runs = folder / "RESULTS/runs"
    while len(list(runs.glob(".*/work/checkpoints/step-*.checkpoint"))) < 2:
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
    assert processes_in(runs), "the program works in its run's folder"
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while working := processes_in(runs):  # it ends a moment after the harness, and may write until then
        assert time.monotonic() < deadline, working
        time.sleep(0.01)


def processes_in(folder: Path) -> list[str]:
    """The processes that work below a folder, by number."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(process.name)
    return found


def outputs(folder: Path, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "RESULTS/runs" / name / "exec/outputs").iterdir()}


def test_the_pages_program_goes_on_where_it_was_killed(folder: Path) -> None:
    code, said = finish(start(folder, "--run-name=whole"))
    assert code == 0, said
    kill_after_a_checkpoint(folder, start(folder, "--run-name=cut"))
    [left] = (folder / "RESULTS/runs").glob(".cut.partial-*/work")
    newest = max((left / "checkpoints").glob("step-*.checkpoint"))
    data = bytearray(newest.read_bytes())
    data[-20] ^= 1
    newest.write_bytes(data)
    code, said = finish(start(folder, "--resume", "--run-name=damaged"))
    assert code == 4, said
    assert f"{newest.name} is damaged" in said
    assert "exit code" not in said, "the program was not even started"
    before = int(newest.stem[5:])
    assert f"Add --resume-before {before}" in said
    code, said = finish(start(folder, "--resume", f"--resume-before={before}", "--run-name=resumed"))
    assert code == 0, said
    assert "Resuming cut, attempt 2" in said
    assert f"identical {fingerprint(folder, 'whole')}" in said
    assert outputs(folder, "resumed") == outputs(folder, "whole")
    attempts = json.loads((folder / "RESULTS/runs/resumed/attempts.json").read_bytes())["attempts"]
    assert [len(attempt["resumed_from"]) for attempt in attempts] == [0, 1]
    assert [attempt["run_name"] for attempt in attempts] == ["cut", "resumed"]
    assert not (folder / "RESULTS/runs/whole/attempts.json").exists()
    assert not (folder / "RESULTS/runs/damaged").exists()
    assert [path.name for path in (folder / "RESULTS/runs").glob(".*")] == []
    assert list((folder / "RESULTS/runs/resumed").rglob("*.checkpoint")) == []


def fingerprint(folder: Path, name: str) -> str:
    snapshot = json.loads((folder / "RESULTS/runs" / name / "exec/snapshot.json").read_bytes())
    [family] = snapshot["families"].values()
    return family["fingerprint"]
