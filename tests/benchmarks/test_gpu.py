"""The benchmark of GPUs, as far as it goes without one: how it compares, what an arm gets, how it says why not."""

import importlib.util

import pytest

from benchmarks import gpu


def test_ratios_are_within_rounds_and_a_goal_stands_by_strict_on_a_gpu_alone():
    taken = {
        "default": [1.0, 2.0, 4.0],
        "float32": [1.0, 2.0, 4.0],
        "strict": [1.04, 2.08, 4.4],
        "strict and fill": [1.1, 2.2, 4.4],
    }
    default, _, strict, filled = gpu.lines("cnn", "cuda", taken)
    assert "1.000 (1.000 … 1.000)" in default
    assert "1.040 (1.040 … 1.100)   goal: at most 1.05, met" in strict
    assert filled.endswith("1.100 (1.100 … 1.100)")
    slower = gpu.lines("cnn", "cuda", {**taken, "strict": [1.2, 2.4, 4.8]})[2]
    assert slower.endswith("MISSED")
    assert "goal" not in gpu.lines("cnn", "cpu", taken)[2]


def test_an_arm_by_default_gets_nothing_of_a_strict_run_and_a_strict_one_all_of_it():
    caller = {"PATH": "/bin", "REPRO_MODE": "strict", "CUDA_VISIBLE_DEVICES": "1", "CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    default, strict = (gpu.environment(arm, "cuda", caller) for arm in ("default", "strict and fill"))
    assert not {"REPRO_MODE", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"} & default.keys()
    assert strict["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert strict["NVIDIA_TF32_OVERRIDE"] == "0"
    assert default["CUDA_VISIBLE_DEVICES"] == strict["CUDA_VISIBLE_DEVICES"] == "1"
    assert "strict/site" in strict["PYTHONPATH"]
    assert "strict/site" not in default["PYTHONPATH"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed here")
def test_without_torch_it_says_so_and_fails_nothing(capsys):
    assert gpu.main([]) == 0
    assert capsys.readouterr().out == "not measured: torch is not installed here\n"


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--steps", "-1"], ["--device", "tpu"]])
def test_what_cannot_be_measured_is_refused(wrong):
    with pytest.raises(SystemExit) as ended:
        gpu.main(wrong)
    assert ended.value.code == 2
