"""Start `tasks.py` as a strict run's process, without an engine: its variables, its hook, and an output folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.spec.variables import run_variables

CODE = Path(__file__).parents[2]
SITE = CODE / "harness" / "strict" / "site"
_OWN = ("REPRO_", "HARNESS_", "PYTHON", "OMP_", "CUBLAS", "NVIDIA_TF32", "CUDA_VISIBLE")


def ask(
    device: str, tasks: tuple[str, ...], output: Path, *, seed: int = 42, mode: str = "strict", **changes: str
) -> dict[str, Any]:
    """Each task's answer in a new process on `device` (`cuda` or `cpu`), started as a run of that variant is."""
    script = [str(Path(__file__).with_name("tasks.py")), device, *tasks]
    ended = start(device, script, output, seed=seed, mode=mode, **changes)
    assert ended.returncode == 0, ended.stderr
    answers: dict[str, Any] = json.loads(ended.stdout)
    return answers


def start(
    device: str, argv: list[str], output: Path, *, seed: int = 42, mode: str = "strict", **changes: str
) -> "subprocess.CompletedProcess[str]":
    """Run this interpreter so; what the caller has set of a run's own variables does not count, but for GPUs."""
    output.mkdir(parents=True, exist_ok=True)
    chosen = run_variables(
        mode=mode, profile="native", variant="cuda" if device == "cuda" else "cpu", seed=seed, version="v1",
        cores=len(os.sched_getaffinity(0)),
    )  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    if device == "cuda" and "CUDA_VISIBLE_DEVICES" in os.environ:
        kept["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
    rest = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in (str(CODE), "")]
    path = os.pathsep.join([str(SITE), str(CODE), *rest])
    environment = {**kept, **chosen, "PYTHONPATH": path, "HARNESS_OUTPUT": str(output), **changes}
    return subprocess.run(
        [sys.executable, *argv], env=environment, cwd=output, capture_output=True, text=True, check=False, timeout=600
    )
