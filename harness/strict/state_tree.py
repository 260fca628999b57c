"""A training's state as a JSON tree plus raw arrays, and back: values alone, so that reading it can run no code.

In the tree null, true, false, texts and integers below 2**53 stand for themselves; all else is a list that begins with
its kind: `["float", "<16 hex digits of its bits>"]`, `["int", "-0x1f"]`, `["bytes", N]`, `["list", …]`, `["tuple", …]`,
`["dict", [key, value], …]`, `["array", N]`, `["scalar", N]`, `["tensor", N, "cuda:0"]`, where N is a place in the table
of arrays: `[dtype, shape, axes, length]`. `axes` are an array's axes from the slowest to the fastest in memory; what a
library's kernels compute may depend on it.
"""

import importlib
import math
import re
import struct
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from harness.errors import PrerequisiteError, UsageError

Tree: TypeAlias = Any

ALIGNMENT = 64
DEEPEST = 100
"""How many levels a state may be nested."""

_EXACT = 2**53
_BYTES = "bytes"
_NUMPY_KINDS = "biufcSUmM"
_NUMPY_DTYPE = re.compile(r"[<>|][biufcSUmM]\d{1,9}(\[\d{0,9}[A-Za-z]{1,2}\])?")
_DICTS: dict[str, type[dict[Any, Any]]] = {"dict": dict, "ordered dict": OrderedDict, "counter": Counter}
_SEQUENCES: dict[str, type[list[Any]] | type[tuple[Any, ...]]] = {"list": list, "tuple": tuple}
_KINDS: dict[type, str] = {kind: name for name, kind in (*_DICTS.items(), *_SEQUENCES.items())}
_TORCH = "torch."
_TORCH_DTYPES = frozenset(
    {"bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
     "float64", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
     "float8_e5m2fnuz", "float8_e8m0fnu"}
)  # fmt: skip


class BrokenTreeError(ValueError):
    """A tree that `encode` could not have made."""


class Stored(NamedTuple):
    """One array: its dtype (`<f8`, `torch.bfloat16`, `bytes`), shape, axes in memory, and raw bytes."""

    dtype: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    data: Any


class Arrays:
    """The raw bytes that a tree refers to."""

    def __init__(self, stored: Iterable[Stored] = ()) -> None:
        """With nothing in it, or with what was read."""
        self._stored = list(stored)

    @property
    def table(self) -> list[list[Any]]:
        """Dtype, shape, axes and length of each."""
        return [[dtype, list(shape), list(axes), _length(data)] for dtype, shape, axes, data in self._stored]

    def pieces(self, position: int) -> Iterator[Any]:
        """The bytes of all, each preceded by zeros up to a multiple of 64 from where `position` counts from."""
        for stored in self._stored:
            yield bytes(-position % ALIGNMENT)
            yield stored.data
            position += -position % ALIGNMENT + _length(stored.data)

    @classmethod
    def read(cls, table: Tree, body: memoryview, position: int) -> "Arrays":
        """The arrays of a table whose bytes begin at `position` and end where `body` ends.

        Raises:
            BrokenTreeError: the table is not one, or of other lengths than what is there.
        """
        stored = []
        for dtype, shape, axes, length in _rows(table):
            position += -position % ALIGNMENT
            if position + length > len(body):
                raise BrokenTreeError("an array is longer than the file")
            stored.append(Stored(dtype, tuple(shape), tuple(axes), body[position : position + length]))
            position += length
        if position != len(body):
            raise BrokenTreeError("bytes are left that belong to no array")
        return cls(stored)

    def add(self, stored: Stored) -> int:
        """Take one in; its place."""
        self._stored.append(stored)
        return len(self._stored) - 1

    def __getitem__(self, place: Any) -> Stored:
        if type(place) is not int or not 0 <= place < len(self._stored):
            raise BrokenTreeError(f"{place!r} is no place of an array")
        return self._stored[place]


def encode(value: Any, arrays: Arrays, *, where: str = "the state", depth: int = 0) -> Tree:
    """`value` as a tree, with the bytes of its arrays added to `arrays`; `where` says in errors what it is.

    Raises:
        UsageError: it is of a type that is not kept, or nested too deep (or holds itself).
    """
    if depth > DEEPEST:
        hint = "Keep what is nested less, and nothing that holds itself."
        raise UsageError(f"{where[:200]} is nested more than {DEEPEST} levels deep", hint=hint)
    kind = type(value)
    if value is None or kind is bool or kind is str or (kind is int and abs(value) < _EXACT):
        return value
    if kind is int:
        return ["int", hex(value)]
    if kind is float:
        return ["float", struct.pack(">d", value).hex()]
    if kind is bytes:
        return [_BYTES, arrays.add(Stored(_BYTES, (len(value),), (0,), value))]
    if kind in (list, tuple):
        return [
            _KINDS[kind],
            *(encode(item, arrays, where=f"{where}[{n}]", depth=depth + 1) for n, item in enumerate(value)),
        ]
    if kind in _KINDS:
        return [_KINDS[kind], *(_pair(key, item, arrays, where, depth + 1) for key, item in value.items())]
    return _encode_array(value, arrays, where)


def decode(tree: Tree, arrays: Arrays, *, on_saved_devices: bool = False, depth: int = 0) -> Any:
    """What `encode` made `tree` of; tensors on the CPU, or on the device that they were on.

    Raises:
        BrokenTreeError: `encode` did not make it (or another ValueError, TypeError or OverflowError).
        PrerequisiteError: a library or device that it needs is not there.
    """
    if depth > DEEPEST:
        raise BrokenTreeError("it is nested too deep")
    if tree is None or type(tree) in (bool, str, int):
        return tree
    if type(tree) is not list or not tree or type(tree[0]) is not str:
        raise BrokenTreeError("a node is of no known kind")
    kind, *rest = tree

    def inner(part: Tree) -> Any:
        return decode(part, arrays, on_saved_devices=on_saved_devices, depth=depth + 1)

    if kind in _SEQUENCES:
        return _SEQUENCES[kind](inner(part) for part in rest)
    if kind in _DICTS:
        return _decode_dict(kind, [(inner(key), inner(item)) for key, item in rest])
    if kind == "float":
        (text,) = rest
        bits = bytes.fromhex(text)
        if len(bits) != struct.calcsize(">d"):
            raise BrokenTreeError("a float has another length")
        return struct.unpack(">d", bits)[0]
    if kind == "int":
        (text,) = rest
        return int(text, 16)
    place, *device = rest
    return _decode_array(kind, arrays[place], device, on_saved_devices=on_saved_devices)


def _pair(key: Any, value: Any, arrays: Arrays, where: str, depth: int) -> Tree:
    inner = f"{where}[{key!r:.50}]"
    return [
        encode(key, arrays, where=f"a key of {where}", depth=depth),
        encode(value, arrays, where=inner, depth=depth),
    ]


def _decode_dict(kind: str, pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    made = _DICTS[kind]()
    for key, value in pairs:
        made[key] = value
    if len(made) != len(pairs):
        raise BrokenTreeError("a key is there twice")
    return made


def _encode_array(value: Any, arrays: Arrays, where: str) -> Tree:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and type(value) in (numpy.ndarray, numpy.memmap):
        return ["array", arrays.add(_store_array(numpy, value, where))]
    if numpy is not None and isinstance(value, numpy.generic):
        return ["scalar", arrays.add(_store_array(numpy, numpy.asarray(value), where))]
    if torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter):
        return ["tensor", arrays.add(_store_tensor(torch, value.detach(), where)), str(value.device)]
    raise UsageError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which no checkpoint holds",
        hint="Keep its state_dict(), or its parts: numbers, texts, bytes, lists, tuples, dicts, arrays, tensors.",
    )


def _store_array(numpy: Any, value: Any, where: str) -> Stored:
    if value.dtype.kind not in _NUMPY_KINDS or value.dtype.metadata is not None or value.dtype.fields is not None:
        raise UsageError(
            f"{where} is an array of {value.dtype}, which no checkpoint holds", hint="Keep its columns as plain arrays."
        )
    axes = _axes(value.strides)
    flat = numpy.ascontiguousarray(value.transpose(axes)).reshape(-1)
    data = flat.view(numpy.uint8).data if value.size and value.dtype.itemsize else b""
    return Stored(value.dtype.str, value.shape, axes, data)


def _store_tensor(torch: Any, value: Any, where: str) -> Stored:
    name = str(value.dtype).removeprefix(_TORCH)
    if value.layout is not torch.strided or value.is_quantized or value.is_meta or name not in _TORCH_DTYPES:
        raise UsageError(
            f"{where} is a tensor of {value.dtype}, {value.layout}, on {value.device}, which no checkpoint holds",
            hint="Keep dense tensors of numbers: call to_dense(), or dequantize().",
        )
    axes = _axes(value.stride())
    flat = value.resolve_conj().resolve_neg().permute(axes).contiguous().cpu().reshape(-1)
    data = flat.view(torch.uint8).numpy().data if flat.numel() else b""
    return Stored(_TORCH + name, tuple(value.shape), axes, data)


def _decode_array(kind: str, stored: Stored, device: list[Any], *, on_saved_devices: bool) -> Any:
    if kind == _BYTES and stored.dtype == _BYTES and not device:
        if stored.shape != (len(stored.data),):
            raise BrokenTreeError("bytes have another length than they say")
        return bytes(stored.data)
    physical = [stored.shape[axis] for axis in stored.axes]
    back = [stored.axes.index(axis) for axis in range(len(physical))]
    if kind == "tensor" and stored.dtype.startswith(_TORCH) and len(device) == 1 and type(device[0]) is str:
        tensor = _tensor(stored, physical).permute(back)
        return _moved(tensor, device[0]) if on_saved_devices else tensor
    if kind in ("array", "scalar") and _NUMPY_DTYPE.fullmatch(stored.dtype) and not device:
        array = _array(stored, physical).transpose(back)
        if kind == "scalar" and array.shape != ():
            raise BrokenTreeError("a scalar has axes")
        return array[()] if kind == "scalar" else array
    raise BrokenTreeError(f"{kind[:50]!r} of {stored.dtype[:50]!r} is no known kind")


def _array(stored: Stored, physical: list[int]) -> Any:
    numpy = _library("numpy")
    dtype = numpy.dtype(stored.dtype)
    if dtype.itemsize * math.prod(physical) != len(stored.data):
        raise BrokenTreeError("an array has another length than its shape and dtype say")
    empty = numpy.empty(physical, dtype)
    if empty.size and dtype.itemsize:
        empty.reshape(-1).view(numpy.uint8)[:] = numpy.frombuffer(stored.data, numpy.uint8)
    return empty


def _tensor(stored: Stored, physical: list[int]) -> Any:
    torch = _library("torch")
    name = stored.dtype.removeprefix(_TORCH)
    dtype = getattr(torch, name, None) if name in _TORCH_DTYPES else None
    if dtype is None:
        raise BrokenTreeError(f"{stored.dtype[:50]!r} is no dtype of this torch")
    if dtype.itemsize * math.prod(physical) != len(stored.data):
        raise BrokenTreeError("a tensor has another length than its shape and dtype say")
    try:
        if not len(stored.data):
            return torch.empty(physical, dtype=dtype)
        return torch.frombuffer(stored.data, dtype=torch.uint8).clone().view(dtype).reshape(physical)
    except RuntimeError as error:
        raise BrokenTreeError(str(error)) from error


def _moved(tensor: Any, device: str) -> Any:
    if device == "cpu":
        return tensor
    try:
        return tensor.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise PrerequisiteError(
            f"The checkpoint's tensors were on {device[:50]}, which is not here", hint="Load them to the CPU."
        ) from error


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PrerequisiteError(
            f"The checkpoint holds arrays of {name}, which is not installed here",
            hint=f"Load it in the environment that wrote it, or install {name}.",
        ) from error


def _axes(strides: Sequence[int]) -> tuple[int, ...]:
    """The axes from the slowest to the fastest in memory; those of equal stride in their order."""
    return tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))


def _length(data: Any) -> int:
    return memoryview(data).nbytes


def _rows(table: Tree) -> Iterator[tuple[str, list[int], list[int], int]]:
    if type(table) is not list:
        raise BrokenTreeError("its table of arrays is none")
    for row in table:
        if type(row) is not list:
            raise BrokenTreeError("a row of its table is none")
        dtype, shape, axes, length = row
        numbers = [*shape, *axes, length] if type(shape) is list and type(axes) is list else [None]
        if type(dtype) is not str or any(type(number) is not int or not 0 <= number < 2**63 for number in numbers):
            raise BrokenTreeError("a row of its table is of other types")
        if sorted(axes) != list(range(len(shape))) or len(shape) > 64:
            raise BrokenTreeError("an array's axes are not those of its shape")
        yield dtype, shape, axes, length
