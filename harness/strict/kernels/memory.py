"""torch's memory as NumPy arrays, without a copy and without a trace.

`Tensor.numpy` would leave one: the tensor could never be resized again.
"""

import ctypes
from collections.abc import Callable
from typing import Any

# As large as any tensor: NumPy checks that an array lies within its buffer.
_EVERYTHING = ctypes.c_char * (1 << 62)


def make_views(torch: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Two functions of a float32 or float64 CPU tensor: its (… rows, columns) as BLAS takes them, and all of it flat.

    The first makes a copy where BLAS takes no tensor of these strides; the second is for dense tensors alone.
    """
    import numpy as np

    ndarray, at = np.ndarray, _EVERYTHING.from_address
    kinds: dict[Any, Any] = {torch.float32: np.dtype("f4"), torch.float64: np.dtype("f8")}

    def memory(tensor: Any) -> Any:
        buffer: Any = at(tensor.data_ptr())
        buffer.tensor = tensor  # a copy is held by nothing but the array that is made on it
        return buffer

    def matrix(tensor: Any) -> Any:
        if tensor.is_neg():
            tensor = tensor.resolve_neg()
        kind, shape = kinds[tensor.dtype], tensor.shape
        if tensor.is_contiguous():
            return ndarray(shape, kind, memory(tensor))
        strides = tensor.stride()
        down, across = strides[-2:]
        if (across == 1 and down >= shape[-1]) or (down == 1 and across >= shape[-2]):
            size = kind.itemsize
            return ndarray(shape, kind, memory(tensor), 0, tuple(stride * size for stride in strides))
        return matrix(tensor.contiguous())

    def flat(tensor: Any) -> Any:
        return ndarray((tensor.numel(),), kinds[tensor.dtype], memory(tensor))

    return matrix, flat
