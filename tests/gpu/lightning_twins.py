"""What two processes make of the same Lightning fit, tensor by tensor, and what another seed makes of it."""

import json
from pathlib import Path
from typing import Any

from tests.gpu.processes import CODE, start

KINDS = ("transformer", "convolutions")


def fit_twice(device: str, output: Path) -> dict[str, Any]:
    """By kind: how many tensors there are, which differ between two processes, and which between two seeds in one.

    `refusal` is what an operator without a deterministic form said, null on the CPU.
    """
    one, other = (_fits(device, seeds, output / seeds[-1]) for seeds in (("42", "7"), ("42",)))
    return {**{kind: _compared(one[kind], other[kind]) for kind in KINDS}, "refusal": one["refusal"]}


def _fits(device: str, seeds: tuple[str, ...], output: Path) -> dict[str, Any]:
    ended = start(device, [str(CODE / "tests" / "gpu" / "lightning_fits.py"), device, *seeds], output)
    assert ended.returncode == 0, ended.stderr
    answers: dict[str, Any] = json.loads(ended.stdout)
    return answers


def _compared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    here, there, reseeded = one["42"], other["42"], one["7"]
    assert here.keys() == there.keys() == reseeded.keys()
    return {
        "tensors": len(here),
        "differ": [name for name in here if here[name] != there[name]],
        "weights": [name for name in here if name.startswith("model/") and here[name].startswith("torch.float")],
        "other": [name for name in here if here[name] != reseeded[name]],
    }
