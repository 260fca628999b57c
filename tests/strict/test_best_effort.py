"""What best_effort leaves free in torch, in a user's program and in what seeds by itself."""

import pytest

pytest.importorskip("torch")

SWITCHES = """
import torch
print(torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled())
torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
print(torch.backends.cudnn.benchmark)
"""
SEEDED = "from harness.strict.seeds import seed_all\nseed_all(42)\n"


@pytest.mark.parametrize("before", ["", SEEDED])
def test_cudnn_tunes_itself_in_best_effort_until_a_script_says_otherwise(script, before):
    assert script(before + SWITCHES, mode="best_effort").stdout.splitlines() == ["True False False", "False"]


def test_a_program_that_froze_torchs_flags_can_seed_everything_all_the_same(script):
    froze = "import torch\ntorch.backends.cudnn.benchmark = False\ntorch.backends.disable_global_flags()\n"
    done = script(froze + SEEDED + "print(torch.backends.cudnn.benchmark)", mode="best_effort")
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("before", ["", SEEDED])
def test_cudnn_never_tunes_itself_in_strict_whatever_a_script_says(script, before):
    done = script(before + SWITCHES)
    assert done.stdout.splitlines() == ["False True True", "False"], done.stderr
    assert "torch.backends.cudnn.benchmark stays False" in done.stderr
