"""Products of matrices by oneDNN and NumPy's OpenBLAS, whose bits no maker of processors decides; MKL's are.

One large product in float32 is oneDNN's: each of its elements is a chain of fused multiply-adds in the order of the
terms, whatever the threads, the caches and the processor, and it runs in the threads that torch has anyway. All others
are OpenBLAS's, on views of torch's own memory: it takes one set of kernels by name (`OPENBLAS_CORETYPE`). MKL would do
so only on its common path, at half the speed and less. Products of bfloat16 and half are computed in float32 and
rounded once: torch itself asks the processor which instructions to take for them, whatever its caps say.
"""

from collections.abc import Callable
from typing import Any

from harness.strict.kernels.library import Kernel, Registered
from harness.strict.kernels.memory import make_views

Product = Callable[..., Any]
"""Arguments as those of torch's functional operator; `NotImplemented` for what is left to torch's own kernel."""

OPERATORS = ("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv")
ACTIVATED = "_addmm_activation"
"""`addmm` and an activation at once, which has no derivative: torch's transformer layers call it in evaluation."""

LARGE = 2**18
"""Multiplications beyond which OpenBLAS would share a product among threads of its own, which wait for torch's."""

CHAIN = 1024
"""Terms that are one chain; a longer sum is the sum of its chains in their order. It is oneDNN's own block for AVX2
(`compute_blocking_heuristic_avx2_f32`), and kept here so that no other number of threads or version cuts otherwise."""


def replace_products(registered: Registered) -> None:
    """Route every overload of `OPERATORS` and `ACTIVATED`."""
    products = make_products(registered.torch)
    for name in (*OPERATORS, ACTIVATED):
        product, operator = products[name], f"aten::{name}"
        overloads = {
            operator: (_functional, product),
            f"{operator}.out": (_out, product),
            f"{operator}_": (_in_place, product),
        }
        made = {
            overload: variant(route, registered.original(overload))
            for overload, (variant, route) in overloads.items()
            if registered.has(overload)
        }
        for overload, kernel in made.items():
            registered.replace(overload, kernel)


def make_products(torch: Any) -> dict[str, Product]:
    """The routed products by operator."""
    import numpy as np

    rounded = frozenset((torch.bfloat16, torch.float16))
    exact = frozenset((torch.float32, torch.float64))
    matmul = np.matmul
    matrix, _ = make_views(torch)
    chained = make_chained(torch)
    by_chains = torch.backends.mkldnn.is_available()

    def is_large(a: Any, b: Any) -> bool:
        """Whether `a @ b`, both of two dimensions, is oneDNN's: one row or one column it multiplies otherwise."""
        (rows, inner), columns = a.shape, b.shape[1]
        return by_chains and a.dtype is torch.float32 and rows > 1 < columns and rows * inner * columns > LARGE

    def multiply(a: Any, b: Any, shape: tuple[int, ...]) -> Any:
        """`a @ b` of the given shape, in float32 for the lower precisions; or `NotImplemented`."""
        dtype = a.dtype
        if b.dtype is not dtype or b.device != a.device:
            return NotImplemented
        if dtype in rounded:
            a, b = a.float(), b.float()
        elif dtype not in exact:
            return NotImplemented
        if not a.numel() or not b.numel():
            return a.new_zeros(shape)
        if len(shape) == 2 and is_large(a, b):
            return chained(a, b)
        product = a.new_empty(shape)
        matmul(matrix(a), matrix(b), out=matrix(product))
        return product

    def mm(self: Any, mat2: Any) -> Any:
        if self.dim() != 2 or mat2.dim() != 2:
            return NotImplemented
        (rows, inner), (other, columns) = self.shape, mat2.shape
        if inner != other:
            return NotImplemented
        product = multiply(self, mat2, (rows, columns))
        return product if product is NotImplemented or product.dtype is self.dtype else product.to(self.dtype)

    def bmm(self: Any, mat2: Any) -> Any:
        if self.dim() != 3 or mat2.dim() != 3:
            return NotImplemented
        (batch, rows, inner), (other_batch, other, columns) = self.shape, mat2.shape
        if inner != other or batch != other_batch:
            return NotImplemented
        product = multiply(self, mat2, (batch, rows, columns))
        return product if product is NotImplemented or product.dtype is self.dtype else product.to(self.dtype)

    def mv(self: Any, vec: Any) -> Any:
        if self.dim() != 2 or vec.dim() != 1 or self.shape[1] != vec.shape[0]:
            return NotImplemented
        product = multiply(self, vec.unsqueeze(1), (self.shape[0], 1))
        if product is NotImplemented:
            return product
        return (product if product.dtype is self.dtype else product.to(self.dtype)).squeeze(1)

    def add(addend: Any, product: Any, beta: Any, alpha: Any) -> Any:
        """`beta · addend + alpha · product`, in the product's memory and then in the addend's type."""
        if alpha != 1:
            product.mul_(alpha)
        if beta != 0:
            product.add_(addend, alpha=beta)
        return product if product.dtype is addend.dtype else product.to(addend.dtype)

    def fits(addend: Any, dtype: Any, shape: tuple[int, ...], beta: Any, alpha: Any) -> bool:
        """Whether torch would take the addend and the factors for this product without a word."""
        if addend.dtype is not dtype or addend.dim() > len(shape):
            return False
        if type(beta) not in (int, float) or type(alpha) not in (int, float):
            return False
        sizes = zip(reversed(addend.shape), reversed(shape), strict=False)
        return all(size in (1, wanted) for size, wanted in sizes)

    def addmm(self: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        if mat1.dim() != 2 or mat2.dim() != 2:
            return NotImplemented
        (rows, inner), (other, columns) = mat1.shape, mat2.shape
        shape = (rows, columns)
        if inner != other or not fits(self, mat1.dtype, shape, beta, alpha):
            return NotImplemented
        product = multiply(mat1, mat2, shape)
        return product if product is NotImplemented else add(self, product, beta, alpha)

    def baddbmm(self: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        if batch1.dim() != 3 or batch2.dim() != 3:
            return NotImplemented
        (batch, rows, inner), (other_batch, other, columns) = batch1.shape, batch2.shape
        shape = (batch, rows, columns)
        if inner != other or batch != other_batch:
            return NotImplemented
        if not fits(self, batch1.dtype, shape, beta, alpha):
            return NotImplemented
        product = multiply(batch1, batch2, shape)
        return product if product is NotImplemented else add(self, product, beta, alpha)

    def addbmm(self: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        if batch1.dim() != 3 or batch2.dim() != 3 or batch1.shape[0] != batch2.shape[0]:
            return NotImplemented
        # The sum over the batch is one product with a longer inner dimension.
        (batch, rows, inner), (_, other, columns) = batch1.shape, batch2.shape
        if inner != other:
            return NotImplemented
        left = batch1.transpose(0, 1).reshape(rows, batch * inner)
        return addmm(self, left, batch2.reshape(batch * inner, columns), beta=beta, alpha=alpha)

    def addmv(self: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        if mat.dim() != 2 or vec.dim() != 1 or mat.shape[1] != vec.shape[0]:
            return NotImplemented
        if not fits(self, mat.dtype, (mat.shape[0],), beta, alpha):
            return NotImplemented
        product = multiply(mat, vec.unsqueeze(1), (mat.shape[0], 1))
        return product if product is NotImplemented else add(self, product.squeeze(1), beta, alpha)

    def addmm_activation(self: Any, mat1: Any, mat2: Any, *, use_gelu: bool = False, **factors: Any) -> Any:
        product = addmm(self, mat1, mat2, **factors)
        if product is NotImplemented:
            return product
        return torch.ops.aten.gelu_(product) if use_gelu else product.relu_()

    return {
        "mm": mm, "bmm": bmm, "mv": mv, "addmm": addmm, "baddbmm": baddbmm, "addbmm": addbmm, "addmv": addmv,
        ACTIVATED: addmm_activation,
    }  # fmt: skip


def make_chained(torch: Any) -> Callable[[Any, Any], Any]:
    """`a @ b` of float32 (m k), (k n), with m and n above 1."""

    def multiply(rows: Any, columns: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "")

    def dense(matrix: Any) -> Any:
        """Without gaps, by rows or by columns: oneDNN adds in another order where the second matrix has gaps."""
        return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()

    def swaps(a: Any, b: Any) -> bool:
        """Whether less is copied for the transposed product, whose chains are the same: oneDNN takes `a` by rows."""
        if a.is_contiguous():
            return False
        (rows, inner), columns = a.shape, b.shape[1]
        return bool(rows * columns + (0 if b.t().is_contiguous() else inner * columns) < rows * inner)

    def chained(a: Any, b: Any) -> Any:
        if swaps(a, b):
            return chained(b.t(), a.t()).t().contiguous()
        left, right = a.resolve_neg().split(CHAIN, 1), b.resolve_neg().t().split(CHAIN, 1)
        chains = (multiply(one.contiguous(), dense(other)) for one, other in zip(left, right, strict=True))
        product = next(chains)
        for chain in chains:
            product.add_(chain)
        return product

    return chained


def _functional(product: Product, original: Kernel) -> Kernel:
    def kernel(*arguments: Any, **keywords: Any) -> Any:
        result = product(*arguments, **keywords)
        return original(*arguments, **keywords) if result is NotImplemented else result

    return kernel


def _out(product: Product, original: Kernel) -> Kernel:
    def kernel(*arguments: Any, out: Any, **keywords: Any) -> Any:
        result = product(*arguments, **keywords)
        if result is NotImplemented:
            return original(*arguments, out=out, **keywords)
        if out.shape != result.shape or out.dtype is not result.dtype:
            # It refuses or resizes `out`, with its own words.
            original(*arguments, out=out, **keywords)
        return out.copy_(result)

    return kernel


def _in_place(product: Product, original: Kernel) -> Kernel:
    def kernel(self: Any, *arguments: Any, **keywords: Any) -> Any:
        result = product(self, *arguments, **keywords)
        if result is NotImplemented or result.shape != self.shape:
            return original(self, *arguments, **keywords)
        return self.copy_(result)

    return kernel
