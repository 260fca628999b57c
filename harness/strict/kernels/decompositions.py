"""Cholesky's decomposition by NumPy's LAPACK: MKL's differs between processors in float32, on its common path too."""

from typing import Any

from harness.strict.kernels.library import Registered


def replace_cholesky(registered: Registered) -> None:
    """Replace `linalg_cholesky_ex` and the older `cholesky`; what they refuse is refused by torch, in its words."""
    torch = registered.torch
    decompose = make_decomposition(torch)
    originals = {
        name: registered.original(f"aten::{name}")
        for name in ("linalg_cholesky_ex", "linalg_cholesky_ex.L", "cholesky", "cholesky.out")
    }

    def linalg_cholesky_ex(self: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
        factor = decompose(self, upper)
        if factor is NotImplemented:
            return originals["linalg_cholesky_ex"](self, upper=upper, check_errors=check_errors)
        return factor, torch.zeros(self.shape[:-2], dtype=torch.int32, device="cpu")

    def linalg_cholesky_ex_out(
        self: Any,
        *,
        upper: bool = False,
        check_errors: bool = False,
        L: Any,  # noqa: N803 - torch's name
        info: Any,
    ) -> Any:
        # It resizes or refuses what it is given, with its own words.
        originals["linalg_cholesky_ex.L"](self, upper=upper, check_errors=check_errors, L=L, info=info)
        factor = decompose(self, upper)
        return (L, info) if factor is NotImplemented else (L.copy_(factor), info)

    def cholesky(self: Any, upper: bool = False) -> Any:
        factor = decompose(self, upper)
        return originals["cholesky"](self, upper) if factor is NotImplemented else factor

    def cholesky_out(self: Any, upper: bool = False, *, out: Any) -> Any:
        factor = decompose(self, upper)
        originals["cholesky.out"](self, upper, out=out)
        return out if factor is NotImplemented else out.copy_(factor)

    registered.replace("aten::linalg_cholesky_ex", linalg_cholesky_ex)
    registered.replace("aten::linalg_cholesky_ex.L", linalg_cholesky_ex_out)
    registered.replace("aten::cholesky", cholesky)
    registered.replace("aten::cholesky.out", cholesky_out)


def make_decomposition(torch: Any) -> Any:
    """The triangular factor of float32 or float64 matrices (… n, n), laid out as torch lays it out.

    `NotImplemented` for other types, and where a matrix is not positive definite: torch says which, and of what order.
    """
    import numpy as np

    exact = frozenset((torch.float32, torch.float64))

    def decompose(matrices: Any, upper: bool) -> Any:
        if matrices.dtype not in exact or matrices.dim() < 2 or matrices.shape[-1] != matrices.shape[-2]:
            return NotImplemented
        # Only the triangle that is asked for is read, and NumPy reads the lower one.
        lower = matrices.mT if upper else matrices
        try:
            factor = np.linalg.cholesky(lower.resolve_neg().numpy(force=True))
        except np.linalg.LinAlgError:
            return NotImplemented
        result = torch.empty_like(matrices.mT, memory_format=torch.contiguous_format).mT
        return result.copy_(torch.from_numpy(factor).mT if upper else torch.from_numpy(factor))

    return decompose
