"""Notes every operator that torch calls below autograd, forwards and backwards: what went in, and what came out."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.cross_cpu.digests import digest, metadata
from tests.cross_cpu.groups import Call

# Their result is memory that nobody wrote yet, so there is nothing to compare.
UNINITIALISED = frozenset({
    "empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "_efficientzerotensor",
    "resize_", "resize_as_", "resize", "_empty_affine_quantized", "set_", "_resize_output_", "_nested_view_from_jagged",
})  # fmt: skip
# What they write over is not an input: it may be memory that nobody wrote yet.
OVERWRITING = frozenset({
    "fill_", "zero_", "copy_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_", "log_normal_",
    "geometric_",
})  # fmt: skip
GRAIN = 32768
"""at::internal::GRAIN_SIZE: torch splits element-wise work among threads above it."""


class Recorder(TorchDispatchMode):
    """Within it every call is added to `calls`; what cannot be digested is counted in `unreadable`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.unreadable = 0

    def take(self) -> list[Call]:
        """The calls so far, which are forgotten."""
        calls, self.calls = self.calls, []
        return calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = func._schema
        base = schema.name.partition("::")[2]
        if base in UNINITIALISED:
            return func(*args, **kwargs)
        written = _written(schema, args, kwargs)
        try:
            inputs = digest(func._overloadname, *_inputs(func, schema, base, args, kwargs))
        except Exception:
            self.unreadable += 1
            return func(*args, **kwargs)
        large = any(getattr(value, "numel", int)() > GRAIN for value in (*args, *kwargs.values()) if _dense(value))
        result = func(*args, **kwargs)
        try:
            outputs = digest(result, written)
        except Exception:
            self.unreadable += 1
            return result
        if not large:
            large = any(value.numel() > GRAIN for value in _flat(result) if _dense(value))
        self.calls.append(Call(schema.name, inputs, outputs, large))
        return result


def _inputs(func: Any, schema: Any, base: str, args: Any, kwargs: Any) -> list[Any]:
    found: list[Any] = []
    for index, argument in enumerate(schema.arguments):
        value = args[index] if index < len(args) else kwargs.get(argument.name)
        overwritten = argument.is_out or (base in OVERWRITING and index == 0)
        found.append([metadata(part) for part in _flat(value)] if overwritten else value)
    if torch.Tag.nondeterministic_seeded in func.tags:
        generator = kwargs.get("generator")
        found.append(torch.get_rng_state() if generator is None else generator.get_state())
    return found


def _written(schema: Any, args: Any, kwargs: Any) -> list[Any]:
    values = []
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            values.append(args[index] if index < len(args) else kwargs.get(argument.name))
    return values


def _dense(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_nested


def _flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [part for entry in value for part in _flat(entry)]
    return []
