"""The survey as engines start it, and what it refuses."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import msgspec
import pytest

from harness.record.environment import Captured
from harness.strict.probe import KNOWN
from harness.strict.survey import divided, installed

PROGRAM = ("--", "python3", "-m", "harness.strict.survey")
INSTALLED = [name for name in KNOWN if name == "python" or importlib.util.find_spec(name) is not None]


@pytest.fixture
def surveyed(launch, tmp_path):
    """Start a survey of some libraries (all that are installed by default): how it ended, and what it left."""

    def run(*libraries: str, **changes):
        ended = launch(*PROGRAM, *libraries, **changes)
        left = tmp_path / "output" / "environment.json"
        return ended, json.loads(left.read_text()) if left.exists() else None

    return run


@pytest.fixture
def broken(variables, tmp_path):
    """`broken(name, source)`: the `PYTHONPATH` on which the library `name` is this module of ours."""

    def make(name: str, source: str) -> str:
        folder = tmp_path / "broken"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        return os.pathsep.join([variables()["PYTHONPATH"], str(folder)])

    return make


def test_every_installed_library_is_probed_and_says_what_it_selected(surveyed):
    ended, left = surveyed()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    captured = msgspec.convert(left, Captured)
    assert sorted(captured.probe) == sorted(INSTALLED)
    assert all(captured.probe.values())
    if "torch" in INSTALLED:
        assert {"torch/aten", "openblas", "scipy/openblas"} <= captured.cpu.dispatch.keys()
        assert captured.settings["torch/deterministic_algorithms"] == "true"
        assert captured.settings["scipy/openblas.threads"] == "1"


def test_two_processes_find_what_one_finds_alone(surveyed):
    pytest.importorskip("scipy")
    pytest.importorskip("torch")
    _, together = surveyed("torch", "scipy")
    _, scipy = surveyed("scipy")
    assert together["probe"]["scipy"] == scipy["probe"]["scipy"]
    assert set(together["probe"]) == {"torch", "scipy"}
    assert set(scipy["probe"]) == {"scipy"}
    assert scipy["cpu"]["dispatch"].items() <= together["cpu"]["dispatch"].items()


def test_what_needs_no_library_is_probed_without_any(surveyed):
    ended, left = surveyed("python")
    assert ended.returncode == 0
    assert list(left["probe"]) == ["python"]
    assert left["probe"]["python"]
    assert not any("openblas" in name for name in left["native"])


def test_a_library_that_cannot_be_imported_is_named(surveyed, broken):
    path = broken("xgboost", "raise OSError('libgomp.so.1: cannot open shared object file')")
    if importlib.util.find_spec("xgboost") is not None:
        path = os.pathsep.join(reversed(path.split(os.pathsep)))  # before the real one
    ended, left = surveyed("xgboost", PYTHONPATH=path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("harness: xgboost is installed in this environment and cannot be imported: OSError")
    assert "libgomp" in ended.stderr
    assert left["probe"] == {}


def test_what_the_second_process_refuses_ends_the_first(surveyed, broken):
    pytest.importorskip("torch")
    path = os.pathsep.join(reversed(broken("xgboost", "raise ImportError('no')").split(os.pathsep)))
    ended, _ = surveyed("torch", "xgboost", PYTHONPATH=path)
    assert ended.returncode == 2
    assert "xgboost is installed" in ended.stderr


def test_a_library_that_undoes_a_setting_is_refused(surveyed, broken, tmp_path):
    pytest.importorskip("numpy")
    source = (
        "import numpy, threadpoolctl\n"
        "for one in threadpoolctl.ThreadpoolController().select(user_api='blas').lib_controllers:\n"
        "    one._get_symbol('openblas_set_num_threads')(2)\n"
    )
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: there are no two threads")
    path = os.pathsep.join(reversed(broken("xgboost", source).split(os.pathsep)))
    ended, left = surveyed("numpy", "xgboost", PYTHONPATH=path)
    assert ended.returncode == 4
    assert "OPENBLAS_NUM_THREADS did not take effect" in (tmp_path / "output" / "refused.txt").read_text()
    assert left["probe"] == {}


def test_variables_that_are_not_those_of_a_strict_run_are_refused(surveyed):
    ended, left = surveyed("python", OPENBLAS_NUM_THREADS="2")
    assert ended.returncode == 4
    assert "OPENBLAS_NUM_THREADS" in ended.stderr
    assert left is None


def test_without_an_output_folder_or_with_an_unknown_library_it_says_so(variables, start, surveyed, tmp_path):
    ended = start(["-m", "harness.strict.survey"], variables(HARNESS_HOOK="trainer"), tmp_path)
    assert (ended.returncode, "HARNESS_OUTPUT is not set" in ended.stderr) == (2, True)
    ended, _ = surveyed("json")
    assert ended.returncode == 2
    assert "json has no probe" in ended.stderr


@pytest.mark.parametrize(
    ("libraries", "shares"),
    [
        (("python", "numpy", "torch"), (("torch",), ("python", "numpy"))),
        (("python", "numpy"), (("python", "numpy"), ())),
        (("torch",), (("torch",), ())),
        ((), ((), ())),
    ],
)
def test_torch_is_alone_where_there_is_anything_else(libraries, shares):
    assert divided(libraries) == shares


def test_only_what_is_installed_is_surveyed(monkeypatch):
    assert list(installed()) == INSTALLED
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    assert "torch" not in installed()
    assert "python" in installed()
