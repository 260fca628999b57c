"""What scripts switch in torch out of habit, and what becomes of it in a strict run."""

import json

import pytest

pytest.importorskip("torch")

# Written as scripts write it; what each is told.
HABITS = {
    "torch.set_float32_matmul_precision('medium')": "torch.set_float32_matmul_precision stays highest, not medium",
    "torch.backends.fp32_precision = 'tf32'": "torch.backends' fp32_precision stays ieee, not tf32",
    "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'": "torch.backends' fp32_precision stays ieee, not bf16",
    "torch.backends.cudnn.conv.fp32_precision = 'tf32'": "torch.backends' fp32_precision stays ieee, not tf32",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'": "torch.backends' fp32_precision stays ieee, not tf32",
    "torch.backends.cuda.matmul.allow_tf32 = True": "torch.backends.cuda.matmul.allow_tf32 stays False, not True",
    "torch.backends.cudnn.allow_tf32 = True": "torch.backends.cudnn.allow_tf32 stays False, not True",
    "torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=True, allow_tf32=False).__enter__()": (
        "torch.backends.cudnn.benchmark stays False, not True"
    ),
}
SHOW = """
import json
precision = torch._C._get_fp32_precision_getter
print(json.dumps([
    torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32,
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
    *sorted({precision(b, w) for b in ("cuda", "mkldnn") for w in ("matmul", "conv", "rnn")} - {"none"}),
]))
"""


def test_reduced_precision_and_autotuning_stay_off_and_each_is_said_by_name(script, tmp_path):
    ended = script("import torch\n" + "\n".join(HABITS) + SHOW, HARNESS_OUTPUT=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == ["highest", False, False, False, True, "ieee"]
    assert [line for line in ended.stderr.splitlines() if line.startswith("harness")] == [
        f"harness: strict: {said}" for said in HABITS.values()
    ]


@pytest.mark.parametrize("habit", [*HABITS][:2])
def test_without_strict_the_same_lines_take_effect(script, tmp_path, habit):
    show = "import torch\n{}\nprint(torch._C._get_fp32_precision_getter('mkldnn', 'matmul'))"
    ended = script(show.format(habit), mode="best_effort", HARNESS_OUTPUT=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout in ("bf16\n", "tf32\n")
    assert "harness" not in ended.stderr


def test_asking_for_what_strict_has_anyway_is_no_news(script):
    code = (
        "import torch\ntorch.set_float32_matmul_precision('highest')\ntorch.backends.cudnn.allow_tf32 = False\n"
        "torch.backends.fp32_precision = 'ieee'\ntorch.use_deterministic_algorithms(True)\n"
        "torch.set_deterministic_debug_mode(2)\n"
    )
    ended = script(code)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_precision_that_was_reduced_behind_its_back_is_found_when_the_program_ends(script, tmp_path):
    code = (
        "import torch\n"
        "keep = torch._C._set_fp32_precision_setter\n"
        "own = [cell.cell_contents for cell in keep.__closure__]\n"
        "original = next(value for value in own if 'builtin' in str(type(value)))\n"
        "original('mkldnn', 'matmul', 'bf16')\nprint('ran')\n"
    )
    ended = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "ran\n")
    assert "fp32_precision (mkldnn, matmul: 'bf16') == 'ieee' is False" in (tmp_path / "refused.txt").read_text()


def test_a_seed_from_the_system_follows_from_the_base_seed(script):
    code = "import torch\nprint(torch.seed(), torch.random.seed(), torch.initial_seed(), torch.rand(()).item())"
    first, second, other = script(code), script(code), script(code, seed=7)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout != other.stdout
    one, another, initial, _ = first.stdout.split()
    assert one != another == initial
    assert len({script(code, mode="best_effort").stdout for _ in range(2)}) == 2


COMPILED = """
import torch
@torch.jit.script
def f(x):
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        return torch.mm(x, x)
print(f(torch.ones(2, 2)).dtype)
"""


def test_a_compiled_script_may_use_it_too(script):
    ended = script(COMPILED)
    assert (ended.returncode, ended.stdout) == (0, "torch.bfloat16\n"), ended.stderr


AMP = """
import torch
layer, x = torch.nn.Linear(64, 64), torch.randn(8, 64)
with torch.autocast("cpu", dtype=torch.bfloat16, enabled=ENABLED):
    y = layer(x)
y.float().sum().backward()
print(y.dtype, layer.weight.grad.sum().item().hex())
"""


def test_mixed_precision_repeats_and_is_recorded_where_it_is_used(script, tmp_path):
    said, recorded = {}, {}
    for name, enabled in (("first", True), ("second", True), ("off", False)):
        output = tmp_path / name
        output.mkdir()
        ended = script(AMP.replace("ENABLED", str(enabled)), HARNESS_OUTPUT=str(output))
        assert ended.returncode == 0, ended.stderr
        said[name] = ended.stdout
        recorded[name] = json.loads((output / "environment.json").read_text())["settings"]
    assert said["first"] == said["second"]
    assert said["first"].startswith("torch.bfloat16")
    assert said["off"].startswith("torch.float32")
    assert recorded["first"].pop("torch/autocast") == recorded["second"].pop("torch/autocast") == "cpu:bfloat16"
    assert recorded["first"] == recorded["off"], "nothing else of the environment depends on it"


def test_that_it_was_used_makes_no_other_environment():
    from harness.record.environment import covered
    from harness.spec.run import Profile

    settings = {"OMP_DYNAMIC": "FALSE", "torch/autocast": "cpu:bfloat16"}
    assert covered(settings, Profile.NATIVE) == {"OMP_DYNAMIC": "FALSE"}


MEMORY = """
import torch
whole = torch.empty(3)
print(bool(torch.isnan(whole).all()), torch.utils.deterministic.fill_uninitialized_memory)
net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
for _ in range(5):
    optimizer.zero_grad()
    net(torch.randn(8, 1, 8, 8)).square().mean().backward()
    optimizer.step()
print(b"".join(part.detach().numpy().tobytes() for part in net.parameters()).hex())
"""


@pytest.mark.parametrize("profile", ["native", "x86-64-v3"])
def test_an_audited_run_shows_reads_of_memory_that_nobody_wrote_and_computes_the_same(script, tmp_path, profile):
    plain = script(MEMORY, profile=profile, HARNESS_OUTPUT=str(tmp_path))
    (tmp_path / "audit").touch()
    audited = script(MEMORY, profile=profile, HARNESS_OUTPUT=str(tmp_path))
    assert plain.returncode == audited.returncode == 0, plain.stderr + audited.stderr
    (memory, weights), (shown, same) = plain.stdout.splitlines(), audited.stdout.splitlines()
    assert (memory.split()[1], shown) == ("False", "True True")
    assert same == weights
