"""The examples as a person copies them: out of the checkout, into a folder of their own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines.docker import DockerEngine

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(CHECKOUT / "examples", tmp_path / "mine", ignore=shutil.ignore_patterns("RESULTS"))


def harness(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.docker
@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("exec -- python forest.py", "predictions.npy"),
        ("exec --data data -- python boosting.py panel_long.csv", "model.txt"),
        ("exec -- python digits.py --epochs 1", "model.pt"),
        ("exec -- python lightning_digits.py --epochs 1", "logs/transformer/version_0/checkpoints/last.ckpt"),
    ],
)
def test_a_script_of_the_examples_repeats(docker_engine: DockerEngine, copy: Path, command: str, output: str) -> None:
    first, second = (harness(copy, *command.split()) for _ in range(2))
    assert first.stdout == second.stdout
    assert first.stdout
    assert "\nidentical sha256:" in f"\n{second.stderr}", "a program may have said something before"
    kept = list((copy / "RESULTS" / "runs").glob(f"*/exec/outputs/{output}"))
    assert len(kept) == 2
    assert kept[0].read_bytes() == kept[1].read_bytes()
    assert not (copy / output).exists()


def test_the_experiment_on_a_long_panel_trains_on_its_own_column(copy: Path) -> None:
    harness(copy, "run", "--experiment-config", "long_panel", "--engine", "host", "--run-name", "one")
    run = copy / "RESULTS" / "runs" / "one"
    cohorts = [json.loads(path.read_bytes()) for path in run.rglob("snapshot.json")]
    assert sorted((cohort["view"], *cohort["families"]) for cohort in cohorts) == [
        ("CROSS_SECTIONAL", "lightgbm", "ridge"),
        ("SYMBOL_SPECIFIC", "lightgbm", "ridge"),
    ]
    importances = next(run.rglob("CROSS_SECTIONAL/**/lightgbm.csv")).read_text()
    assert "col_drawdown" in importances
