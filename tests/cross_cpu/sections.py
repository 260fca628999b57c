"""The parts of the sweep by name."""

from collections.abc import Iterator

from tests.cross_cpu.groups import Group, Section


def _operators(name: str) -> Section:
    def groups(samples: int) -> Iterator[Group]:
        import torch

        from tests.cross_cpu.opinfo import operators

        yield from operators(getattr(torch, name), samples)

    return groups


def _module(name: str) -> Section:
    def groups(_: int) -> Iterator[Group]:
        import importlib

        yield from importlib.import_module(f"tests.cross_cpu.{name}").groups()

    return groups


SECTIONS: dict[str, Section] = {
    "float32": _operators("float32"),
    "float64": _operators("float64"),
    "sizes": _module("sizes"),
    "arrays": _module("arrays"),
    "fits": _module("fits"),
    "probes": _module("probes"),
    "short": _module("short"),
}
