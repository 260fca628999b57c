import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from harness.spec.experiment import Experiment
from harness.spec.run import Mode, Profile
from harness.spec.task import TrainingOutput, TrainingTask
from harness.spec.variables import run_variables

CODE = Path(__file__).parents[2]
CORES = len(os.sched_getaffinity(0))


class Trained(NamedTuple):
    """How a trainer ended, and what it said and left."""

    exit_code: int
    events: list[dict[str, Any]]
    stderr: str
    folder: Path

    @property
    def output(self) -> TrainingOutput:
        return msgspec.json.decode((self.folder / "training.json").read_bytes(), type=TrainingOutput)

    @property
    def error(self) -> dict[str, Any]:
        (event,) = (event for event in self.events if event["event"] == "error")
        return event

    @property
    def fingerprints(self) -> dict[tuple[str, str, str | None, str], str]:
        return {
            (cohort.target, cohort.view, cohort.symbol, name): family.fingerprint
            for cohort in self.output.cohorts
            for name, family in cohort.families.items()
        }


def write_panel(path: Path, *, changed: bool = False) -> None:
    """Prices of four symbols on 260 days; `changed` moves one of them a little."""
    rng = np.random.default_rng(1)
    prices = 100 * np.exp(np.cumsum(rng.standard_normal((260, 4)) * 0.02, axis=0))
    prices[130, 2] *= 1.0001 if changed else 1.0
    days = np.datetime64("2020-01-01") + np.arange(len(prices))
    rows = [f"{day},{','.join(map(repr, row))}" for day, row in zip(days, prices.tolist(), strict=True)]
    path.write_text("\n".join(["Date,AAA,BBB,CCC,DDD", *rows]) + "\n")


def _arguments(
    folder: Path, chosen: Experiment, *, mode: str, seed: int, workers: int, plugins: Path | None, **changes: str
) -> dict[str, str]:
    for name in ("output", "task"):
        (folder / name).mkdir(parents=True)
    task = TrainingTask(
        run_id="run", experiment=chosen, panel="panel.csv", mode=Mode(mode), profile=Profile.NATIVE, seed=seed,
        workers=workers,
    )  # fmt: skip
    (folder / "task" / "task.json").write_bytes(msgspec.json.encode(task))
    threads = chosen.threading.threads_per_fit
    numeric = run_variables(
        mode=mode, profile="native", variant="cpu", seed=seed, version="v1", threads=threads, cores=CORES
    )
    own = {"PLUGINS": plugins, "DATA": folder / "data", "TASK": folder / "task", "OUTPUT": folder / "output"}
    rest = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {
        **numeric,
        **{f"HARNESS_{name}": str(value) for name, value in own.items() if value is not None},
        "HARNESS_HOOK": "trainer",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(CODE), *rest]),
        **changes,
    }


@pytest.fixture(scope="session")
def trainer(tmp_path_factory):
    """`trainer(experiment, …)`: run `python -m harness.training` as an engine does, to its end."""

    def run(
        chosen: Experiment,
        *,
        mode: str = "strict",
        seed: int = 42,
        workers: int = 2,
        plugins: Path | None = None,
        changed: bool = False,
        interrupt: str | None = None,
        **changes: str,
    ) -> Trained:
        folder = tmp_path_factory.mktemp("run")
        (folder / "data").mkdir()
        write_panel(folder / "data" / "panel.csv", changed=changed)
        environment = _arguments(folder, chosen, mode=mode, seed=seed, workers=workers, plugins=plugins, **changes)
        stdout, stderr, code = _run(environment, folder, interrupt)
        events = [json.loads(line) for line in stdout]
        return Trained(code, events, stderr, folder / "output")

    return run


@pytest.fixture
def tiny_disk(tmp_path_factory):
    """`tiny_disk("200k")`: a folder on a disk of that size."""
    folders = []

    def mount(size: str) -> Path:
        folder = tmp_path_factory.mktemp("disk")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this user cannot mount a file system")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


def _run(environment: dict[str, str], folder: Path, interrupt: str | None) -> tuple[Sequence[bytes], str, int]:
    """What the trainer wrote and how it ended; it is sent SIGTERM when it first says the text `interrupt`."""
    lines = []
    with (
        (folder / "stderr").open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "harness.training"],
            env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=stderr,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if interrupt is not None and interrupt.encode() in line:
                process.send_signal(signal.SIGTERM)
                interrupt = None
        code = process.wait(timeout=120)
    return lines, (folder / "stderr").read_text(errors="replace"), code
