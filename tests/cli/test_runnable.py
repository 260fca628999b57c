"""What this machine cannot run is refused in one sentence, before an engine, the store or a network is asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines.gpu import find_driver

CHECKOUT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]
WAYS = {
    "make": "make deterministic-run VENV={venv} IMAGE={image}",
    "run": "{venv}/bin/harness run --image {image}",
    "exec": "{venv}/bin/harness exec --image {image} -- true",
    "ml-train": "{venv}/bin/ml-train --image {image}",
    "image runnable": "{venv}/bin/harness image runnable {image}",
}


class Machine:
    """A home without a store, an engine that does not answer, and the environment that make would make."""

    def __init__(self, folder: Path) -> None:
        self.store, self.venv = folder / "store", folder / "venv"
        self.variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "HOME": str(folder),
            "HARNESS_HOME": str(self.store),
            "DOCKER_HOST": f"unix://{folder}/nobody.sock",
        }
        (self.venv / "bin").mkdir(parents=True)
        for name, module in (("harness", "main"), ("ml-train", "ml_train")):
            program = self.venv / "bin" / name
            program.write_text(f"#!{sys.executable}\nfrom harness.cli.{module} import main\n\nmain()\n")
            program.chmod(0o755)
        (self.venv / ".ready").touch()

    def try_to(self, way: str, image: str) -> Done:
        command = WAYS[way].format(venv=self.venv, image=image).split()
        return subprocess.run(
            command, cwd=CHECKOUT, env=self.variables, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.skipif(find_driver() is not None, reason="this machine has an NVIDIA driver")
@pytest.mark.parametrize("way", WAYS)
def test_without_a_gpu_each_way_to_run_for_cuda_says_what_is_missing_and_no_more(machine: Machine, way: str) -> None:
    done = machine.try_to(way, "cuda")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith(("  ", "make: "))]
    assert len(said) == 1, done.stderr
    assert "The image cuda needs an NVIDIA GPU with its driver" in said[0]
    assert not machine.store.exists()


@pytest.mark.parametrize("way", [way for way in WAYS if way != "image runnable"])
def test_for_a_cpu_it_is_the_engine_that_is_missing(machine: Machine, way: str) -> None:
    done = machine.try_to(way, "cpu")
    assert done.returncode == 2
    assert "GPU" not in done.stderr
    assert "nobody.sock" in done.stderr


def test_an_image_that_can_run_here_is_nothing_to_speak_of(machine: Machine) -> None:
    done = machine.try_to("image runnable", "cpu")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("image", "said"), [("nowhere", "nowhere"), ("cpu-arm64", "it is for arm64")])
def test_an_image_that_is_unknown_or_for_another_processor_is_refused(machine: Machine, image: str, said: str) -> None:
    done = machine.try_to("image runnable", image)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not machine.store.exists()
