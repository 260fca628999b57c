"""Every pointwise operator of torch on thousands of numbers over its domain: a rare bit shows in no small sample.

MKL's vector functions are what this is for: torch hands it whole arrays of `exp`, `sin`, `erfinv` and their kin.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from tests.cross_cpu.digests import digest
from tests.cross_cpu.groups import Emit, Group
from tests.cross_cpu.numbers import heavy, uniform
from tests.cross_cpu.recorder import Recorder

LEAST = 8192
"""Numbers of each domain and dtype at the least."""
COUNT = LEAST + 5
DTYPES = (torch.float32, torch.float64)
WHOLE = 10_000
"""Whole numbers that each operator gets: torch computes them in float32, in kernels of their own way."""
EXPONENTS = (-2.0, -1.0, -0.5, 0.3, 0.5, 1.5, 2.0, 3.0)
# Degrees and orders: torch computes one number after the other, thousands of times as long as for a sine.
_SLOW = ("special_", "igamma", "polygamma", "mvlgamma", "i0", "lgamma", "digamma", "erfinv")


def groups() -> Iterator[Group]:
    """One group for each operator and dtype, the quick ones first."""
    names = operators()
    for name in sorted(names, key=lambda name: (name.removeprefix("aten::").startswith(_SLOW[0]), name)):
        for dtype in DTYPES:
            yield Group(f"{name.removeprefix('aten::')}/{str(dtype).partition('.')[2]}", partial(_run, name, dtype))
    for name in names:
        yield Group(f"{name.removeprefix('aten::')}/int64", partial(_run_whole, name))


def operators() -> list[str]:
    """The operators that torch tags as pointwise, run on a CPU, and take nothing but tensors and what has a default.

    In-place and `out=` overloads run the kernels of their plain form.
    """
    found = set()
    for overload in torch._C._dispatch_get_all_op_names():
        name, _, kind = overload.partition(".")
        if kind in ("", "Tensor", "Tensor_Tensor") and name.startswith("aten::") and not name.endswith("_"):
            packet = getattr(torch.ops.aten, name.removeprefix("aten::"), None)
            chosen = getattr(packet, kind or "default", None)
            if chosen is not None and torch.Tag.pointwise in chosen.tags and _tensors(chosen):
                found.add(name)
    return sorted(found)


def _tensors(overload: Any) -> int:
    """How many tensors an overload takes; 0 where it needs something else too."""
    needed = [argument for argument in overload._schema.arguments if not argument.has_default_value()]
    return len(needed) if all(str(argument.type) == "Tensor" for argument in needed) else 0


def domains(dtype: torch.dtype, stream: int) -> dict[str, torch.Tensor]:
    """Numbers of [-1, 1), of [-32, 32), of both signs and 40 powers of two, and positive ones from 2**-21 to 2**20."""
    spread = heavy(COUNT, stream)
    arrays = {
        "unit": uniform(COUNT, stream),
        "wide": uniform(COUNT, stream) * 32,
        "spread": spread,
        "positive": np.abs(spread) + 2.0**-21,
    }
    return {name: torch.from_numpy(array).to(dtype) for name, array in arrays.items()}


def whole_domains() -> list[dict[str, torch.Tensor]]:
    """For each argument: 1 to `WHOLE`, with small numbers as those that follow; -1, 0 and 1 in turn; and booleans."""
    numbers = torch.arange(1, WHOLE + 1)
    return [
        {"whole": first, "signs": (numbers * step) % 3 - 1, "booleans": numbers % (step + 1) == 0}
        for first, step in ((numbers, 1), (numbers % 31, 2), (numbers % 7, 5), (numbers % 5, 7))
    ]


def _run(name: str, dtype: torch.dtype, emit: Emit) -> None:
    _cases(name, [domains(dtype, stream) for stream in (51, 52, 53, 54)], emit)


def _run_whole(name: str, emit: Emit) -> None:
    _cases(name, whole_domains(), emit)


def _cases(name: str, inputs: list[dict[str, torch.Tensor]], emit: Emit) -> None:
    packet = getattr(torch.ops.aten, name.removeprefix("aten::"))
    for kind in packet.overloads():
        if kind not in ("default", "Tensor", "Tensor_Tensor"):
            continue
        overload = getattr(packet, kind)
        for domain in inputs[0] if (count := _tensors(overload)) else ():
            _case(emit, f"{kind} {domain}", overload, [given[domain] for given in inputs[:count]])
    if name == "aten::pow":
        for exponent in EXPONENTS:
            for domain in inputs[0]:
                _case(emit, f"{domain} to {exponent}", packet.Tensor_Scalar, [inputs[0][domain], exponent])


def _case(emit: Emit, case: str, overload: Any, inputs: list[Any]) -> None:
    recorder = Recorder()
    torch.manual_seed(42)
    try:
        with recorder:
            outcome = digest(overload(*inputs))
    except Exception as error:
        outcome = type(error).__name__
    emit(case, recorder.take(), outcome)
