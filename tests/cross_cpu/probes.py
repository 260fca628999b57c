"""The harness's own probe of every library, as an environment is surveyed with it."""

from collections.abc import Iterator
from functools import partial

from tests.cross_cpu.groups import Call, Emit, Group


def groups() -> Iterator[Group]:
    """One group for each library."""
    from harness.strict.probe import KNOWN

    for library in sorted(KNOWN):
        yield Group(f"probe {library}", partial(_probe, library))


def _probe(library: str, emit: Emit) -> None:
    from harness.strict.probe import probe

    for kernel, found in probe([library])[library].items():
        emit(kernel, [Call(f"probe::{library}", kernel, found, False)], found)
