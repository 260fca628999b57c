"""A short digest of anything that an operator takes or gives: every bit, strides, states; NaN counts as one NaN."""

import ctypes
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

_BYTES = 8


def digest(*values: object) -> str:
    """Sixteen hexadecimal digits over `values`, which may nest."""
    hasher = hashlib.blake2b(digest_size=_BYTES)
    for value in values:
        for part in parts(value):
            hasher.update(part)
    return hasher.hexdigest()


def parts(value: Any) -> Iterator[bytes]:
    """The bytes that stand for `value`. What has no bytes of its own counts by its type alone."""
    if hasattr(value, "data_ptr"):
        yield from tensor_parts(value)
    elif isinstance(value, bool | int | str | None):
        yield f"{type(value).__name__}:{value};".encode()
    elif isinstance(value, float):
        yield f"float:{value.hex()};".encode()
    elif isinstance(value, complex):
        yield f"complex:{value.real.hex()}:{value.imag.hex()};".encode()
    elif isinstance(value, bytes):
        yield value
    elif isinstance(value, Mapping):
        yield f"map:{len(value)};".encode()
        for name in value:
            yield from parts(name)
            yield from parts(value[name])
    elif isinstance(value, list | tuple):
        yield f"list:{len(value)};".encode()
        for entry in value:
            yield from parts(entry)
    elif hasattr(value, "__array__") and hasattr(value, "dtype"):
        yield from array_parts(value)
    elif type(value).__module__ == "torch" and not hasattr(value, "get_state"):
        yield f"{value};".encode()  # a dtype, layout, device or memory format
    elif hasattr(value, "get_state"):
        yield from parts(value.get_state())
    else:
        yield f"{type(value).__name__};".encode()


def metadata(tensor: Any) -> bytes:
    """What a tensor is apart from its numbers: type, dtype, shape, strides."""
    strides = tuple(tensor.stride()) if str(tensor.layout) == "torch.strided" and not tensor.is_nested else ()
    shape = "nested" if tensor.is_nested else tuple(tensor.shape)
    return f"tensor:{tensor.dtype}:{tensor.layout}:{shape}:{strides};".encode()


def tensor_parts(tensor: Any) -> Iterator[bytes]:
    """A tensor's metadata and numbers; of sparse, nested and quantised ones the tensors that they are made of."""
    yield metadata(tensor)
    tensor = tensor.detach()
    if tensor.is_nested:
        for part in tensor.unbind():
            yield from tensor_parts(part)
    elif tensor.device.type != "cpu":
        yield str(tensor.device).encode()
    elif str(tensor.layout) == "torch.sparse_coo":
        yield from tensor_parts(tensor._indices())
        yield from tensor_parts(tensor._values())
    elif str(tensor.layout) in ("torch.sparse_csr", "torch.sparse_bsr"):
        for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()):
            yield from tensor_parts(part)
    elif str(tensor.layout) in ("torch.sparse_csc", "torch.sparse_bsc"):
        for part in (tensor.ccol_indices(), tensor.row_indices(), tensor.values()):
            yield from tensor_parts(part)
    elif tensor.is_quantized:
        yield from tensor_parts(tensor.int_repr())
    else:
        dense = tensor.to_dense() if str(tensor.layout) == "torch._mkldnn" else tensor
        dense = one_nan(dense.resolve_conj().resolve_neg().contiguous())
        yield ctypes.string_at(dense.data_ptr(), dense.numel() * dense.element_size()) if dense.numel() else b""


def one_nan(tensor: Any) -> Any:
    """The tensor with every NaN as the same NaN: which of two an operation hands on, emulators do not agree upon."""
    if tensor.is_complex():
        return one_nan(_real(tensor))
    if not tensor.is_floating_point() or tensor.element_size() < 2:
        return tensor
    unordered = tensor != tensor
    return tensor.masked_fill(unordered, float("nan")) if unordered.any() else tensor


def _real(tensor: Any) -> Any:
    import torch

    return torch.view_as_real(tensor)


def array_parts(array: Any) -> Iterator[bytes]:
    """A NumPy array's (or scalar's) dtype, shape, strides and bytes."""
    yield f"array:{array.dtype}:{array.shape}:{getattr(array, 'strides', ())};".encode()
    if array.dtype.kind in "fc" and (unordered := array != array).any():
        array = array.copy() if getattr(array, "shape", ()) else array.reshape(1).copy()
        array[unordered.reshape(array.shape)] = float("nan")
    yield array.tobytes()
