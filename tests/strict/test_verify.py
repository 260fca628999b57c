import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest

from harness.errors import IntegrityError
from harness.strict import dispatch
from harness.strict.dispatch import Pool
from harness.strict.verify import verify_settings

POOL = Pool(owner="numpy", library="openblas", version="0.3", architecture="Haswell", threads=1)


@pytest.fixture
def environment(monkeypatch):
    pytest.importorskip("numpy")

    def chosen(profile, pools, mode="strict", features=()):
        for name, value in (("REPRO_MODE", mode), ("REPRO_PROFILE", profile), ("REPRO_THREADS", "1")):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(dispatch, "sees_pools", lambda: True)
        monkeypatch.setattr(dispatch, "pools", lambda: list(pools))
        monkeypatch.setattr(dispatch, "numpy_features", lambda: list(features))

    return chosen


def changed(**values):
    return Pool(**{**{name: getattr(POOL, name) for name in Pool.__dataclass_fields__}, **values})


def test_settings_that_took_effect_are_accepted(environment):
    environment("native", [POOL, changed(architecture="SkylakeX")], features=["X86_V3", "X86_V4"])
    verify_settings(["numpy"])
    environment("x86-64-v3", [POOL], features=["X86_V3"])
    verify_settings(["numpy"])


@pytest.mark.parametrize(
    ("profile", "pool", "features", "message"),
    [
        ("native", changed(threads=8), [], "numpy's openblas is 8, not 1: OPENBLAS_NUM_THREADS"),
        ("native", changed(owner="system", library="openmp", threads=2), [], "system's openmp is 2, not 1: OMP_NUM"),
        ("x86-64-v3", changed(architecture="Zen"), [], "OpenBLAS is Zen, not Haswell: OPENBLAS_CORETYPE"),
        ("x86-64-v3", POOL, ["X86_V3", "X86_V4"], "X86_V4, not nothing: NPY_DISABLE_CPU_FEATURES"),
        ("x86-64-v3", POOL, ["AVX512F"], "AVX512F"),
    ],
)
def test_one_that_did_not_is_refused_with_what_was_wanted_and_found(environment, profile, pool, features, message):
    environment(profile, [pool], features=features)
    with pytest.raises(IntegrityError, match=message):
        verify_settings(["numpy"])


def test_best_effort_leaves_threads_free_and_keeps_the_profiles_caps(environment):
    environment("x86-64-v3", [changed(threads=8)], mode="best_effort")
    verify_settings(["numpy"])
    environment("x86-64-v3", [changed(architecture="Zen")], mode="best_effort")
    with pytest.raises(IntegrityError, match="OPENBLAS_CORETYPE"):
        verify_settings(["numpy"])


def test_a_library_that_is_not_loaded_is_not_asked(environment):
    environment("native", [changed(threads=8)])
    verify_settings(["catboost"])


def test_a_library_belongs_to_the_package_that_ships_it():
    assert dispatch._owner("/x/lib/python3.11/site-packages/numpy.libs/libopenblas.so") == "numpy"
    assert dispatch._owner("/usr/lib/python3/dist-packages/torch/lib/libgomp.so.1") == "torch"
    assert dispatch._owner("/x/site-packages/scikit_learn.libs/libgomp.so") == "sklearn"
    assert dispatch._owner("/usr/lib/x86_64-linux-gnu/libgomp.so.1") == "system"


torch_only = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
numpy_only = pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="NumPy is not installed here")


@torch_only
def test_torch_tells_what_it_selected(script):
    code = (
        "import torch\nfrom harness.strict.dispatch import torch_dispatch as f\nprint(f() == f(), sorted(f().items()))"
    )
    capped = script(code, profile="x86-64-v3", HARNESS_HOOK="trainer")
    assert capped.stdout == "True [('aten', 'AVX2'), ('mkl', 'COMPATIBLE'), ('onednn', 'Intel AVX2')]\n"


@torch_only
@pytest.mark.parametrize(
    ("library", "variable", "value", "found"),
    [
        ("numpy", "OPENBLAS_CORETYPE", "Nehalem", "numpy's OpenBLAS is Nehalem, not Haswell"),
        ("scipy.linalg", "OPENBLAS_CORETYPE", "Nehalem", "OpenBLAS is Nehalem, not Haswell"),
        ("numpy", "NPY_DISABLE_CPU_FEATURES", "X86_V9", "not nothing"),
        ("torch", "ATEN_CPU_CAPABILITY", "default", "torch's aten is DEFAULT, not AVX2"),
        ("torch", "ONEDNN_MAX_CPU_ISA", "SSE41", "torch's onednn is Intel SSE4.1, not Intel AVX2"),
        ("torch", "MKL_CBWR", "COMPATIBEL", "not COMPATIBLE"),
    ],
)
def test_each_wrong_pin_stops_the_program_by_its_name(script, tmp_path, library, variable, value, found):
    if variable == "NPY_DISABLE_CPU_FEATURES" and not any(
        name.startswith(("X86_V4", "AVX512")) for name in dispatch.numpy_features()
    ):
        pytest.skip("this CPU has nothing beyond AVX2")
    code = f"import {library}\nprint('ran')"
    assert script(code, profile="x86-64-v3", HARNESS_OUTPUT=str(tmp_path)).stdout == "ran\n"
    wrong = script(code, profile="x86-64-v3", HARNESS_OUTPUT=str(tmp_path), **{variable: value})
    assert (wrong.returncode, wrong.stdout) == (4, "")
    refused = (tmp_path / "refused.txt").read_text()
    assert found in refused
    assert f"{variable} did not take effect" in refused


@pytest.mark.parametrize(("name", "variable"), [("mkl", "MKL_CBWR"), ("onednn", "ONEDNN_MAX_CPU_ISA")])
def test_a_backend_of_torch_that_says_nothing_of_its_kernels_is_refused_and_one_that_is_not_there_not(
    environment, monkeypatch, name, variable
):
    environment("x86-64-v3", [], mode="best_effort")
    told = {"aten": "AVX2", "onednn": "Intel AVX2", "mkl": "COMPATIBLE"}
    there = dict.fromkeys(("mkl", "onednn"), True)
    backends = SimpleNamespace(
        mkl=SimpleNamespace(is_available=lambda: there["mkl"]),
        mkldnn=SimpleNamespace(is_available=lambda: there["onednn"]),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(backends=backends))
    monkeypatch.setattr(dispatch, "torch_dispatch", lambda: told)
    verify_settings(["torch"])
    del told[name]
    with pytest.raises(IntegrityError, match=f"torch's {name} is unknown, not .*: {variable}"):
        verify_settings(["torch"])
    there[name] = False
    verify_settings(["torch"])


WITHOUT = "import sys\nsys.modules['threadpoolctl'] = None\nimport numpy, numpy.linalg\nprint('ran')"


@numpy_only
def test_without_threadpoolctl_it_is_said_once_and_recorded_that_threads_are_not_verified(script, tmp_path):
    pytest.importorskip("threadpoolctl")
    said = "harness: strict: the libraries' numbers of threads are not verified: threadpoolctl is not installed\n"
    recorded = {}
    for name, code in (("without", WITHOUT), ("with", "import numpy\nprint('ran')")):
        folder = tmp_path / name
        folder.mkdir()
        ended = script(code, HARNESS_OUTPUT=str(folder))
        assert (ended.returncode, ended.stdout) == (0, "ran\n")
        settings = json.loads((folder / "environment.json").read_text())["settings"]
        recorded[ended.stderr] = settings.get("threadpoolctl/threads")
    assert recorded == {said: "unknown: threadpoolctl is not installed", "": None}
    assert script(WITHOUT, mode="best_effort").stderr == ""


@numpy_only
def test_without_threadpoolctl_nothing_runs_whose_bits_rest_on_openblas_kernels(script, tmp_path):
    ended = script(WITHOUT, profile="x86-64-v3", HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "")
    refused = (tmp_path / "refused.txt").read_text()
    assert "OPENBLAS_CORETYPE took effect in numpy cannot be verified: threadpoolctl is not installed" in refused
    assert "Add threadpoolctl" in refused
