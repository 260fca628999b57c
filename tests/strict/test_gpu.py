import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.strict import gpu

NONE = not any(Path(device).exists() for device in gpu._DEVICES)


def test_a_run_that_hides_the_gpu_has_none(monkeypatch):
    monkeypatch.setattr(gpu, "_DEVICES", ("/dev/null",))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the driver was asked"))
    assert gpu.describe({"CUDA_VISIBLE_DEVICES": "-1"}) is None


@pytest.mark.skipif(not NONE, reason="this machine has a GPU")
def test_a_machine_without_one_has_none_even_where_the_driver_is_asked(monkeypatch):
    assert gpu.describe({}) is None
    monkeypatch.setattr(gpu, "_DEVICES", ("/dev/null",))
    assert gpu.describe({}) is None
    answer = subprocess.run([sys.executable, "-S", "-E", gpu.__file__], capture_output=True, check=True).stdout
    assert json.loads(answer) is None


@pytest.mark.skipif(NONE, reason="this machine has no GPU")
def test_a_gpu_is_described_in_full():
    found = gpu.describe({})
    assert found is not None
    assert found["name"]
    assert found["multiprocessors"] > 0
    assert found["driver"][0].isdigit()
