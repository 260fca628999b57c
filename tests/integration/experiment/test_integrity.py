"""Altered records, and strict runs that were not strict: both answer 4."""

import shutil
import subprocess
import sys

import msgspec
import pytest

pytestmark = pytest.mark.docker

TAMPERED = """
import sys
import harness.runs.train as train
from harness.cli.main import main

real = train.run_environment
threads = sys.argv[1]
train.run_environment = lambda *arguments, **options: real(*arguments, **options) | {"OMP_NUM_THREADS": threads}
sys.argv[:] = ["harness", *sys.argv[2:]]
main()
"""
MEDDLER = """
import os

os.environ["OPENBLAS_NUM_THREADS"] = "2"
"""


@pytest.fixture
def copy(shop, first, tmp_path):
    """A copy of the first run, to be altered."""
    return shutil.copytree(shop.run_folder("first"), tmp_path / "copy")


def flip(path, position: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_an_unaltered_copy_compares_as_identical(shop, copy):
    assert shop.compare("first", copy)[0] == 0


@pytest.mark.parametrize(
    "pattern",
    ["snapshot.json", "metrics.json", "models/lightgbm/*", "predictions/torch_mlp.npy", "xgboost.csv"],
)
def test_one_changed_byte_is_refused_and_named(shop, copy, pattern):
    file = sorted(copy.glob(f"targets/**/{pattern}"))[0]
    flip(file)
    finished = shop.harness("compare", "first", copy)
    assert finished.code == 4
    assert file.name in finished.sentence


def test_a_missing_file_is_refused_and_named(shop, copy):
    next(copy.glob("targets/**/metadata.json")).unlink()
    finished = shop.harness("compare", copy, "first")
    assert finished.code == 4
    assert "metadata.json" in finished.sentence


def test_a_damaged_run_is_skipped_by_the_next_run_and_said(own_shop):
    for name in ("good", "damaged"):
        assert own_shop.run("--run-name", name, "--quick", "--families", "ridge").code == 0
    for snapshot in own_shop.run_folder("damaged").glob("targets/**/snapshot.json"):
        flip(snapshot)
    finished = own_shop.run("--run-name", "next", "--quick", "--families", "ridge", "--json")
    report = msgspec.json.decode(finished.stdout)
    assert [(cell["verdict"], cell["against"]) for cell in report["cells"]] == [("identical", "good")] * 4
    assert any(note.startswith("Skipped damaged: ") for note in report["notes"])
    shutil.rmtree(own_shop.run_folder("next"))
    assert "Skipped damaged: " in own_shop.run("--quick", "--families", "ridge").stderr


@pytest.mark.parametrize("engine", ["docker", "host"])
def test_a_strict_run_whose_variables_were_altered_answers_4_and_leaves_nothing(own_shop, engine):
    command = ["run", "--experiment-config", "tiny.yaml", "--quick", "--families", "ridge", "--engine", engine]
    codes = {}
    for threads in ("1", "2"):
        codes[threads] = subprocess.run(
            [sys.executable, "-c", TAMPERED, threads, *command], cwd=own_shop.folder, env=own_shop.environment(),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if threads == "1":
            shutil.rmtree(own_shop.results)
    assert codes["1"].returncode == 0
    assert codes["2"].returncode == 4
    assert "this run would not be strict: OMP_NUM_THREADS is '2', not '1'" in codes["2"].stderr
    assert own_shop.left() == []


def test_a_strict_run_that_a_plug_in_changes_from_within_answers_4_and_leaves_nothing(own_shop):
    (own_shop.folder / "plugins/sitecustomize.py").write_text(MEDDLER)
    finished = own_shop.run("--plugins", "plugins", experiment="plugged.yaml")
    assert finished.code == 4
    assert finished.sentence == (
        "this run would not be strict: OPENBLAS_NUM_THREADS is '2', not '1'; the run is not kept"
    )
    assert own_shop.left() == []
