"""On a machine with an NVIDIA GPU and torch for CUDA: what strict promises there. No engine is needed.

    PYTHONPATH=. python -m pytest tests/gpu

in an environment with torch (CUDA), NumPy, XGBoost and pytest. Elsewhere all of it is skipped, with the reason.
"""

import importlib.util
import json

import pytest

from tests.gpu.processes import ask, start


def _reason() -> str | None:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed here"
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return None if torch.cuda.is_available() else "there is no NVIDIA GPU that torch can use"


REASON = _reason()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")
FITS = ("mlp", "cnn", "transformer", "amp")
TASKS = (*FITS, "settings", "operators", "states")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What two processes with one seed and one with another answered."""
    return [ask("cuda", TASKS, tmp_path_factory.mktemp("output"), seed=seed) for seed in (42, 42, 7)]


@pytest.mark.parametrize("fit", FITS)
def test_a_fit_gives_the_same_bits_in_every_process_and_another_seed_others(answers, fit):
    first, second, other = (answer[fit] for answer in answers)
    assert first == second
    assert first != other


def test_xgboosts_histograms_on_the_gpu_give_the_same_bits_and_another_seed_others(tmp_path):
    pytest.importorskip("xgboost")
    first, second, other = (
        ask("cuda", ("xgboost",), tmp_path / name, seed=seed)["xgboost"]
        for name, seed in (("one", 42), ("two", 42), ("three", 7))
    )
    assert first == second
    assert first[0] != other[0]


def test_strict_settings_are_in_effect(answers):
    found = dict(answers[0]["settings"])
    assert found.pop("matmul_error") < 1e-5, "TF32 keeps 10 bits: its error is near 1e-3"
    assert found.pop("conv_error") < 1e-5
    assert found == {
        "deterministic": True, "warn_only": False, "cudnn.deterministic": True, "cudnn.benchmark": False,
        "cudnn.allow_tf32": False, "matmul.allow_tf32": False, "float32_matmul_precision": "highest",
        "fill_uninitialized_memory": False,
        "variables": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NVIDIA_TF32_OVERRIDE": "0", "NCCL_ALGO": "Ring"},
    }  # fmt: skip


def test_operators_without_a_deterministic_form_raise_by_name(answers):
    for name, message in answers[0]["operators"].items():
        assert message is not None, f"{name} ran"
        assert "does not have a deterministic implementation" in message, name


def test_without_strict_the_same_operators_run(tmp_path):
    assert set(ask("cuda", ("operators",), tmp_path, mode="best_effort")["operators"].values()) == {None}


def test_every_device_is_seeded_and_goes_on_where_a_checkpoint_left_it(answers):
    first, second, again = answers[0]["states"]
    assert second == again != first
    assert answers[1]["states"] == answers[0]["states"]
    for number, drawn in enumerate(first):
        assert drawn != answers[2]["states"][0][number], f"cuda:{number} draws the same with another seed"


def test_without_cublas_workspace_a_product_is_refused(tmp_path):
    script = tmp_path / "product.py"
    script.write_text(
        "import os\nos.environ.pop('CUBLAS_WORKSPACE_CONFIG')\nimport torch\n"
        "x = torch.ones(8, 8, device='cuda')\nprint((x @ x).sum().item())\n"
    )
    ended = start("cuda", [str(script)], tmp_path)
    assert ended.returncode != 0
    assert "CUBLAS_WORKSPACE_CONFIG" in ended.stderr


def test_tuning_that_a_script_turns_on_stays_off_on_the_gpu_and_it_is_told(tmp_path):
    script = tmp_path / "habits.py"
    script.write_text(
        "import torch\ntorch.backends.cudnn.benchmark = True\ntorch.backends.cuda.matmul.allow_tf32 = True\n"
        "torch.set_float32_matmul_precision('high')\nx = torch.randn(2, 3, 8, 8, device='cuda')\n"
        "torch.nn.functional.conv2d(x, torch.randn(4, 3, 3, 3, device='cuda'))\n"
        "print(torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32)\n"
    )
    ended = start("cuda", [str(script)], tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "False False\n"), ended.stderr
    assert ended.stderr.count("stays") == 3


def test_the_gpu_and_mixed_precision_are_recorded(tmp_path):
    ask("cuda", ("amp",), tmp_path)
    recorded = json.loads((tmp_path / "environment.json").read_text())
    assert recorded["gpu"]["name"]
    assert recorded["settings"]["torch/autocast"] == "cuda:bfloat16"
