"""Convolutions of bfloat16 and half, computed in float32 and rounded once.

torch asks the processor whether oneDNN may take them as they are, whatever its caps say: without this, two processors
take two ways.
"""

from typing import Any

from harness.strict.kernels.library import Registered


def replace_convolutions(registered: Registered) -> None:
    """Replace `convolution` and its derivative for the two low precisions; others pass on to torch's own kernel."""
    torch = registered.torch
    low = frozenset((torch.bfloat16, torch.float16))
    forward = registered.original("aten::convolution")
    backward = registered.original("aten::convolution_backward")
    run_forward = torch.ops.aten.convolution.default
    run_backward = torch.ops.aten.convolution_backward.default

    def convolution(source: Any, weight: Any, bias: Any, *rest: Any) -> Any:
        dtype = source.dtype
        if dtype not in low or weight.dtype is not dtype or (bias is not None and bias.dtype is not dtype):
            return forward(source, weight, bias, *rest)
        return run_forward(source.float(), weight.float(), None if bias is None else bias.float(), *rest).to(dtype)

    def convolution_backward(grad_output: Any, source: Any, weight: Any, *rest: Any) -> Any:
        dtype = source.dtype
        if dtype not in low or weight.dtype is not dtype or grad_output.dtype is not dtype:
            return backward(grad_output, source, weight, *rest)
        gradients = run_backward(grad_output.float(), source.float(), weight.float(), *rest)
        return tuple(None if gradient is None else gradient.to(dtype) for gradient in gradients)

    registered.replace("aten::convolution", convolution)
    registered.replace("aten::convolution_backward", convolution_backward)
