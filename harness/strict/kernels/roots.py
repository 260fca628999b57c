"""Square roots, correctly rounded: torch's own come from MKL, which uses each processor's own approximation."""

from typing import Any

from harness.strict.kernels.library import Kernel, Registered
from harness.strict.kernels.memory import make_views


def replace_roots(registered: Registered) -> None:
    """Replace `sqrt`, and `pow` where its exponent is one half: torch calls the same kernel for it."""
    torch = registered.torch
    root = make_root(torch)
    kernels = {
        "aten::sqrt": _functional(root, registered.original("aten::sqrt")),
        "aten::sqrt.out": _out(root, registered.original("aten::sqrt.out")),
        "aten::sqrt_": _in_place(root, registered.original("aten::sqrt_")),
    }
    half = {
        "aten::pow.Tensor_Scalar": torch.ops.aten.sqrt.default,
        "aten::pow_.Scalar": torch.ops.aten.sqrt_.default,
        "aten::pow.Tensor_Scalar_out": torch.ops.aten.sqrt.out,
    }
    for name, sqrt in half.items():
        kernels[name] = _power(sqrt, registered.original(name))
    for name, kernel in kernels.items():
        registered.replace(name, kernel)


def make_root(torch: Any) -> Kernel:
    """NumPy's square root of a float32 or float64 tensor, laid out as torch would, or into another tensor."""
    import numpy as np

    exact = frozenset((torch.float32, torch.float64))
    # As torch, which says nothing of negative numbers.
    quiet, square_root, empty_like = np.errstate, np.sqrt, torch.empty_like
    _, flat = make_views(torch)

    def root(self: Any, into: Any = None) -> Any:
        if self.dtype not in exact or (into is not None and into.dtype is not self.dtype):
            return NotImplemented
        if into is None:
            into = empty_like(self)
        dense = into.is_contiguous() and self.is_contiguous() and not self.is_neg() and not into.is_neg()
        source = self if dense else self.resolve_neg().contiguous()
        result = into if dense else empty_like(source)
        if result.numel():
            with quiet(invalid="ignore"):
                square_root(flat(source), out=flat(result))
        return into if dense else into.copy_(result)

    return root


def _functional(root: Kernel, original: Kernel) -> Kernel:
    def kernel(self: Any) -> Any:
        result = root(self)
        return original(self) if result is NotImplemented else result

    return kernel


def _out(root: Kernel, original: Kernel) -> Kernel:
    def kernel(self: Any, *, out: Any) -> Any:
        if out.shape != self.shape or root(self, out) is NotImplemented:
            # It refuses or resizes `out`, with its own words.
            original(self, out=out)
            result = root(self)
            return out if result is NotImplemented else out.copy_(result)
        return out

    return kernel


def _in_place(root: Kernel, original: Kernel) -> Kernel:
    def kernel(self: Any) -> Any:
        return original(self) if root(self, self) is NotImplemented else self

    return kernel


def _power(sqrt: Kernel, original: Kernel) -> Kernel:
    def kernel(self: Any, exponent: Any, **keywords: Any) -> Any:
        if exponent == 0.5 and self.is_floating_point():
            return sqrt(self, **keywords)
        return original(self, exponent, **keywords)

    return kernel
