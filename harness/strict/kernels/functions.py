"""Functions of single numbers that are NumPy's: torch's own come from MKL, whose bits here differ between processors.

For square roots MKL takes each processor's own approximation; NumPy's are correctly rounded. NumPy's other functions
here are the C library's or its own for AVX2, which are the same on every processor with FMA. Of whole numbers and
booleans torch computes them in its default type, and so do these.
"""

from typing import Any

from harness.strict.kernels.library import Kernel, Registered
from harness.strict.kernels.memory import make_views

FUNCTIONS = {"sqrt": "sqrt", "acos": "arccos", "asin": "arcsin", "atan": "arctan", "log": "log", "tan": "tan"}
"""NumPy's name of each function by torch's."""


def replace_functions(registered: Registered) -> None:
    """Replace `FUNCTIONS`, and `pow` where its exponent is one half: torch calls the kernel of `sqrt` for it."""
    torch = registered.torch
    kernels = {}
    for name, theirs in FUNCTIONS.items():
        function, operator = make_function(torch, theirs), f"aten::{name}"
        kernels[operator] = _functional(function, registered.original(operator))
        kernels[f"{operator}.out"] = _out(function, registered.original(f"{operator}.out"), torch._C._is_alias_of)
        kernels[f"{operator}_"] = _in_place(function, registered.original(f"{operator}_"))
    half = {
        "aten::pow.Tensor_Scalar": torch.ops.aten.sqrt.default,
        "aten::pow_.Scalar": torch.ops.aten.sqrt_.default,
        "aten::pow.Tensor_Scalar_out": torch.ops.aten.sqrt.out,
    }
    for name, sqrt in half.items():
        kernels[name] = _power(sqrt, registered.original(name))
    for name, kernel in kernels.items():
        registered.replace(name, kernel)


def make_function(torch: Any, name: str) -> Kernel:
    """NumPy's `name` of a tensor, laid out as torch would, or into another tensor.

    `NotImplemented` where what is computed in is neither float32 nor float64, or is not the type of `into`.
    """
    import numpy as np

    exact = frozenset((torch.float32, torch.float64))
    # As torch, which says nothing of negative numbers, nor of the logarithm of 0.
    quiet, compute, empty_like = np.errstate, getattr(np, name), torch.empty_like
    _, flat = make_views(torch)

    def function(self: Any, into: Any = None) -> Any:
        if self.dtype not in exact and not (self.dtype.is_floating_point or self.dtype.is_complex):
            self = self.to(torch.get_default_dtype())
        if self.dtype not in exact or (into is not None and into.dtype is not self.dtype):
            return NotImplemented
        if into is None:
            into = empty_like(self)
        dense = into.is_contiguous() and self.is_contiguous() and not self.is_neg() and not into.is_neg()
        source = self if dense else self.resolve_neg().contiguous()
        result = into if dense else empty_like(source)
        if result.numel():
            with quiet(invalid="ignore", divide="ignore"):
                compute(flat(source), out=flat(result))
        return into if dense else into.copy_(result)

    return function


def _functional(function: Kernel, original: Kernel) -> Kernel:
    def kernel(self: Any) -> Any:
        result = function(self)
        return original(self) if result is NotImplemented else result

    return kernel


def _out(function: Kernel, original: Kernel, alias: Kernel) -> Kernel:
    def kernel(self: Any, *, out: Any) -> Any:
        shared = out is not self and alias(self, out)
        if shared or out.shape != self.shape or function(self, out) is NotImplemented:
            result = function(self)  # first: what torch writes into `out` may be this tensor's memory
            # It refuses or resizes `out`, with its own words.
            original(self, out=out)
            return out if result is NotImplemented else out.copy_(result)
        return out

    return kernel


def _in_place(function: Kernel, original: Kernel) -> Kernel:
    def kernel(self: Any) -> Any:
        return original(self) if function(self, self) is NotImplemented else self

    return kernel


def _power(sqrt: Kernel, original: Kernel) -> Kernel:
    def kernel(self: Any, exponent: Any, **keywords: Any) -> Any:
        # Half as a complex number makes the power complex; whole numbers are refused in place, in torch's words for it.
        if isinstance(exponent, float) and exponent == 0.5 and not self.is_complex():
            return sqrt(self, **keywords)
        return original(self, exponent, **keywords)

    return kernel
