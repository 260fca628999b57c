"""The harness's own probe of every library, as an environment is surveyed with it."""

import contextlib
from collections.abc import Iterator
from functools import partial

from tests.cross_cpu.groups import Call, Emit, Group

ENDS = "argsort"
"""NumPy's for AVX2 ends a process under emulation, on some data: left out here, and a group of its own in `arrays`."""


def groups() -> Iterator[Group]:
    """One group for each library."""
    from harness.strict.probe import KNOWN

    for library in sorted(KNOWN):
        name = f"probe numpy without {ENDS}" if library == "numpy" else f"probe {library}"
        yield Group(name, partial(_probe, library))


def _probe(library: str, emit: Emit) -> None:
    from harness.strict.probe import probe

    with _stable_sorts() if library == "numpy" else contextlib.nullcontext():
        found = probe([library])[library]
    for kernel, digest in found.items():
        if not (library == "numpy" and kernel.startswith(ENDS)):
            emit(kernel, [Call(f"probe::{library}", kernel, digest, False)], digest)


@contextlib.contextmanager
def _stable_sorts() -> Iterator[None]:
    """NumPy's `argsort` in its stable form, which is plain C, where none was asked for."""
    import numpy as np

    before = np.argsort
    np.argsort = partial(before, kind="stable")
    try:
        yield
    finally:
        np.argsort = before
