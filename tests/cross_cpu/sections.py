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


def _named(section: str, given: Section) -> Section:
    """The groups of a section, each named after it: no two sections share a name."""

    def groups(samples: int) -> Iterator[Group]:
        for group in given(samples):
            yield Group(f"{section}: {group.name}", group.run)

    return groups


_ALL: dict[str, Section] = {
    "pointwise": _module("pointwise"),
    "float32": _operators("float32"),
    "float64": _operators("float64"),
    "sizes": _module("sizes"),
    "products": _module("products"),
    "direct": _module("direct"),
    "arrays": _module("arrays"),
    "fits": _module("fits"),
    "probes": _module("probes"),
    "short": _module("short"),
}
SECTIONS = {name: _named(name, given) for name, given in _ALL.items()}
