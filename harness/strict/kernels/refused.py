"""Operators whose bits differ between processors, or were not shown to be the same: they raise under `x86-64-v3`.

`operators.json` holds what a sweep over all of torch's operators found, on several processors (docs/numerics.md).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from harness.strict.kernels.library import Kernel, Registered
from harness.strict.refusal import note_operator

SCHEMA = "harness.operators/1"
TABLE = Path(__file__).with_name("operators.json")


class NotPortableError(RuntimeError):
    """An operator that strict `x86-64-v3` refuses: its bits differ between such processors, or may."""

    def __init__(self, operator: str, note: str) -> None:
        reason = f" ({note})" if note else ""
        super().__init__(
            f"{operator} is refused under the profile x86-64-v3: nothing here makes its bits the same on every "
            f"processor{reason}.\n"
            "  Compute it otherwise, or run with the profile native, whose results are tied to this kind of processor."
        )


class Table(NamedTuple):
    """The versions of torch and NumPy that were swept, and what is known of each operator by name."""

    swept: dict[str, str]
    operators: dict[str, dict[str, str]]


def read_table(path: Path = TABLE) -> Table:
    """What a sweep found; nothing where there is no table.

    Raises:
        ValueError: it is no table of this schema.
    """
    if not path.is_file():
        return Table({}, {})
    table = json.loads(path.read_text(encoding="utf-8"))
    if table.get("schema") != SCHEMA:
        raise ValueError(f"{path.name}: the schema is {table.get('schema')!r}, not {SCHEMA!r}")
    return Table({name: table[name] for name in ("torch", "numpy")}, table["operators"])


def refuse_operators(registered: Registered, operators: dict[str, dict[str, str]]) -> list[str]:
    """Make each operator that the table refuses raise, with all its overloads; their names, sorted.

    Whole numbers have no rounding: where neither what goes in nor what comes out is floating-point, torch's own kernels
    stay.
    """
    refused = {name: entry.get("note", "") for name, entry in operators.items() if entry["cpus"] == "refused"}
    if not refused:
        return []
    for overload in registered.torch._C._dispatch_get_all_op_names():
        operator = overload.partition(".")[0]
        name = operator if operator in operators else operator.removesuffix("_")
        if name not in refused:
            continue
        kernels = {
            key: _refusing(name, refused[name], registered.original(overload, key))
            for key in ("CPU", "AutogradCPU")
            if registered.has(overload, key)
        }
        for key, kernel in kernels.items():
            registered.replace(overload, kernel, key)
    return sorted(refused)


def _refusing(name: str, note: str, original: Kernel) -> Kernel:
    def kernel(*arguments: Any, **keywords: Any) -> Any:
        if _rounds([*arguments, *keywords.values()]):
            _refuse(name, note)
        # `linspace` and its kin take no tensor: what they make tells by its type, whatever chose that.
        result = original(*arguments, **keywords)
        if _rounds([result]):
            _refuse(name, note)
        return result

    return kernel


def _refuse(name: str, note: str) -> NoReturn:
    note_operator(name)
    raise NotPortableError(name, note)


def _rounds(values: Iterable[Any]) -> bool:
    return any(tensor.is_floating_point() or tensor.is_complex() for tensor in _tensors(values))


def _tensors(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if hasattr(value, "data_ptr"):  # a dtype says too whether it is floating-point
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
