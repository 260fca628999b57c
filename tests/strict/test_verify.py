import importlib.util

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


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
def test_torch_tells_what_it_selected_and_its_caps_are_verified(script):
    code = (
        "import torch\nfrom harness.strict.dispatch import torch_dispatch as f\nprint(f() == f(), sorted(f().items()))"
    )
    capped = script(code, profile="x86-64-v3", HARNESS_HOOK="trainer")
    assert capped.stdout == "True [('aten', 'AVX2'), ('mkl', 'COMPATIBLE'), ('onednn', 'Intel AVX2')]\n"
    wrong = script("import torch", profile="x86-64-v3", HARNESS_HOOK="trainer", ONEDNN_MAX_CPU_ISA="SSE41")
    assert wrong.returncode == 4
    assert "torch's onednn is Intel SSE4.1, not Intel AVX2: ONEDNN_MAX_CPU_ISA" in wrong.stderr
