"""What strict costs on a GPU, against the defaults: `python -m benchmarks.gpu [--rounds N] [--steps N] [--json FILE]`.

It needs torch for CUDA and nothing else, no engine; where there is no GPU it says so and measures nothing. Every arm is
a process of its own, because cuBLAS reads its workspace once; in each round every arm takes its turn on the GPU, and
each begins another round. A step is timed by CUDA events around many of them. The figures are medians of the ratios
within rounds, with their spread.

- `default`: torch as it ships (its convolutions may use TF32);
- `float32`: the same with TF32 off everywhere, which tells the price of determinism from that of precision;
- `strict`: what `harness exec` sets;
- `strict and fill`: with `fill_uninitialized_memory` on besides, as under `harness exec --audit`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.spec.variables import run_variables

ARMS = ("default", "float32", "strict", "strict and fill")
MODELS = ("transformer", "cnn")
GOAL = 0.05
"""How much longer a strict step may take than a step by default, as a share."""

_CODE = Path(__file__).parents[1]
_SITE = _CODE / "harness" / "strict" / "site"
_SIZES = {
    "cuda": {"batch": 64, "length": 256, "width": 512, "side": 64},
    "cpu": {"batch": 4, "length": 16, "width": 64, "side": 16},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 0, whatever was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="What strict costs on a GPU.")
    parser.add_argument("--rounds", type=int, default=15, help="how often each arm takes its turn (15)")
    parser.add_argument("--steps", type=int, default=50, help="training steps a turn (50)")
    parser.add_argument("--json", type=Path, help="write all measurements there too")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the benchmark itself out")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.steps < 1:
        parser.error("rounds and steps are at least 1")
    if reason := _reason(options.device):
        print(f"not measured: {reason}")
        return 0
    report: dict[str, Any] = {"device": _name(options.device), "rounds": options.rounds, "models": {}}
    print(f"{report['device']}: milliseconds a step, and ratios to default within rounds (median, spread)")
    for model in MODELS:
        taken = measure(model, options.device, options.rounds, options.steps)
        report["models"][model] = taken
        print("\n".join(lines(model, options.device, taken)))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(model: str, device: str, rounds: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds a step, by arm, one value a round."""
    workers = {arm: _start(arm, model, device, steps) for arm in ARMS}
    taken: dict[str, list[float]] = {arm: [] for arm in ARMS}
    try:
        for number in range(rounds):
            shift = number % len(ARMS)
            for arm in (*ARMS[shift:], *ARMS[:shift]):
                taken[arm].append(_turn(arm, workers[arm]))
    finally:
        for worker in workers.values():
            worker.communicate("")  # the end of its input ends it
    return taken


def lines(model: str, device: str, taken: Mapping[str, Sequence[float]]) -> list[str]:
    """A line an arm; on a GPU the goal stands by the strict one."""
    made = []
    for arm, values in taken.items():
        ratios = [value / base for value, base in zip(values, taken["default"], strict=True)]
        ratio = statistics.median(ratios)
        line = f"{model:12} {arm:16} {statistics.median(values):9.3f} ms   "
        line += f"{ratio:.3f} ({min(ratios):.3f} … {max(ratios):.3f})"
        if arm == "strict" and device == "cuda":
            line += f"   goal: at most {1 + GOAL:.2f}, {'met' if ratio <= 1 + GOAL else 'MISSED'}"
        made.append(line)
    return made


def environment(arm: str, device: str, caller: Mapping[str, str]) -> dict[str, str]:
    """The variables of one arm: those of a strict run, or none of them."""
    variant = "cuda" if device == "cuda" else "cpu"
    chosen = run_variables(mode="strict", profile="native", variant=variant, seed=42, version="v1", cores=1)
    kept = {name: value for name, value in caller.items() if name not in chosen or name == "CUDA_VISIBLE_DEVICES"}
    rest = [entry for entry in caller.get("PYTHONPATH", "").split(os.pathsep) if entry not in ("", str(_CODE))]
    if not arm.startswith("strict"):
        return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(_CODE), *rest])}
    return {**kept, **chosen, "PYTHONPATH": os.pathsep.join([str(_SITE), str(_CODE), *rest])}


def _start(arm: str, model: str, device: str, steps: int) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--turns", arm, model, device, str(steps)]
    return subprocess.Popen(
        command, env=environment(arm, device, os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _turn(arm: str, worker: "subprocess.Popen[str]") -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise RuntimeError(f"the process of arm {arm!r} ended with code {worker.wait()}; its error is above")
    return float(answer)


def _reason(device: str) -> str | None:
    try:
        import torch
    except ImportError:
        return "torch is not installed here"
    if device == "cuda" and torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return "there is no NVIDIA GPU that torch can use" if device == "cuda" and not torch.cuda.is_available() else None


def _name(device: str) -> str:
    import torch

    if device == "cpu":
        return f"CPU (a trial of the benchmark, no figure for a GPU), torch {torch.__version__}"
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}"


def _take_turns(arm: str, model: str, device: str, steps: int) -> None:
    """In a process of its own: after a warm-up, time as many steps for each line that is read."""
    import torch

    if arm == "float32":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if arm == "strict and fill":
        torch.utils.deterministic.fill_uninitialized_memory = True
    if torch.are_deterministic_algorithms_enabled() is not arm.startswith("strict"):
        raise RuntimeError(f"arm {arm!r} did not get its settings")
    step = _transformer(torch, device) if model == "transformer" else _cnn(torch, device)
    for _ in range(max(steps // 2, 3)):
        step()
    for _ in sys.stdin:
        print(_milliseconds(torch, device, step, steps), flush=True)


def _milliseconds(torch: Any, device: str, step: Callable[[], None], steps: int) -> float:
    if device == "cpu":
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - began) * 1000 / steps
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    first.record()
    for _ in range(steps):
        step()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / steps


def _transformer(torch: Any, device: str) -> Callable[[], None]:
    """Six encoder layers of GPT's shape: in float32, with dropout."""
    sizes = _SIZES[device]
    layer = torch.nn.TransformerEncoderLayer(sizes["width"], 8, 4 * sizes["width"], dropout=0.1, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).to(device)
    inputs = torch.randn(sizes["batch"], sizes["length"], sizes["width"], device=device)
    return _training_step(torch, model, inputs)


def _cnn(torch: Any, device: str) -> Callable[[], None]:
    """Eight convolutions with batch normalisation, strided in place of pooling."""
    layers, channels = [], 3
    for number, width in enumerate((64, 64, 128, 128, 256, 256, 512, 512)):
        convolution = torch.nn.Conv2d(channels, width, 3, stride=1 + number % 2, padding=1, bias=False)
        layers += [convolution, torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
        channels = width
    model = torch.nn.Sequential(*layers).to(device)
    inputs = torch.randn(_SIZES[device]["batch"], 3, _SIZES[device]["side"], _SIZES[device]["side"], device=device)
    return _training_step(torch, model, inputs)


def _training_step(torch: Any, model: Any, inputs: Any) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(inputs).square().mean().backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    if sys.argv[1:2] == ["--turns"]:
        _take_turns(*sys.argv[2:5], int(sys.argv[5]))
    else:
        sys.exit(main())
