"""torch's own database of operators and sample inputs, forwards and backwards, contiguous and not."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from tests.cross_cpu.digests import digest
from tests.cross_cpu.groups import SAMPLES, Emit, Group
from tests.cross_cpu.recorder import Recorder

STRIDED = 1
"""Of these, how many are tried with strides too."""


def operators(dtype: torch.dtype, samples: int = SAMPLES) -> Iterator[Group]:
    """One group for each operator of the database that has `dtype` on the CPU, with its first `samples` inputs."""
    from torch.testing._internal.common_methods_invocations import op_db

    for info in op_db:
        if dtype in info.dtypes:
            name = ".".join(part for part in (info.name, info.variant_test_name) if part)
            yield Group(f"{name} of {samples}", partial(_run, info, dtype, samples))


def _run(info: Any, dtype: torch.dtype, count: int, emit: Emit) -> None:
    gradient = bool(info.supports_autograd and dtype in info.backward_dtypes)
    torch.manual_seed(42)
    recorder = Recorder()
    with recorder:
        samples = list(islice(info.sample_inputs("cpu", dtype, requires_grad=gradient), count))
    emit(f"first {count} inputs", recorder.take(), digest([_content(sample) for sample in samples]))
    for index, sample in enumerate(samples):
        emit(str(index), *_case(info, sample, recorder, gradient))
        if index < STRIDED:
            try:
                scattered = sample.noncontiguous()
            except Exception:  # a sample with tensors that cannot be laid out otherwise
                continue
            emit(f"{index} strided", *_case(info, scattered, recorder, gradient))


def _content(sample: Any) -> list[Any]:
    return [sample.input, sample.args, sample.kwargs]


def _case(info: Any, sample: Any, recorder: Recorder, gradient: bool) -> tuple[list[Any], str]:
    """One call of an operator and its gradients; what it raises is its result."""
    torch.manual_seed(42)
    found: list[Any] = []
    try:
        with recorder:
            result = info(sample.input, *sample.args, **sample.kwargs)
            found.append(result)
            if gradient:
                found.append(_gradients(sample, sample.output_process_fn_grad(result)))
        outcome = digest(found)
    except Exception as error:
        outcome = f"{digest(found)} {type(error).__name__}"
    return recorder.take(), outcome


def _gradients(sample: Any, result: Any) -> list[Any]:
    outputs: list[Any] = []
    tree_map_only(torch.Tensor, outputs.append, result)
    outputs = [output for output in outputs if output.requires_grad]
    inputs: list[Any] = []
    tree_map_only(torch.Tensor, inputs.append, _content(sample))
    inputs = [value for value in inputs if value.requires_grad and value.is_leaf]
    if not outputs or not inputs:
        return []
    return list(torch.autograd.grad(outputs, inputs, [pattern(output) for output in outputs], allow_unused=True))


def pattern(like: Any) -> Any:
    """Numbers of the shape and dtype of `like`, small multiples of a quarter: exact, and the same on every CPU."""
    with torch.no_grad():
        numbers = torch.arange(like.numel(), dtype=torch.int64).remainder(13).sub(6)
        return numbers.to(like.dtype).div(4).reshape(like.shape)
