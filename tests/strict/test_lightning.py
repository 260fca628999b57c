"""Lightning, unmodified, on the CPU; `tests/gpu/test_lightning.py` does the same on a GPU."""

import importlib.util

import pytest

from tests.gpu.lightning_twins import KINDS, fit_twice
from tests.gpu.processes import start

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="Lightning is not installed here")


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    return fit_twice("cpu", tmp_path_factory.mktemp("output"))


@pytest.mark.parametrize("kind", KINDS)
def test_fits_of_two_processes_are_equal_in_every_tensor_and_another_seed_differs_in_every_weight(fits, kind):
    found = fits[kind]
    assert found["tensors"] > 20
    assert found["differ"] == []
    assert set(found["weights"]) <= set(found["other"])


def test_a_trainer_that_asks_for_less_than_strict_is_told_and_draws_by_the_base_seed(tmp_path):
    code = (
        "import lightning, torch\n"
        "trainer = lightning.Trainer(deterministic='warn', benchmark=True, logger=False, accelerator='cpu')\n"
        "print(torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark, torch.rand(()).item())\n"
    )
    (tmp_path / "script.py").write_text(code)
    one, other = (start("cpu", ["script.py"], tmp_path, seed=seed) for seed in (42, 7))
    assert one.returncode == 0, one.stderr
    assert one.stdout.split()[:2] == ["2", "False"]
    assert one.stdout != other.stdout
    assert "torch.use_deterministic_algorithms stays True, not warn_only=True" in one.stderr
    assert "torch.backends.cudnn.benchmark stays False, not True" in one.stderr
