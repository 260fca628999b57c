"""What the numeric libraries of this process really selected: kernels, instruction sets, threads.

Asked of the libraries that are loaded; nothing is imported but `threadpoolctl`, where it is installed. Otherwise
standard library only.
"""

import ctypes
import functools
import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

UNSEEN = "threadpoolctl is not installed"
"""Why thread pools cannot be looked at."""

# oneDNN names its instruction set once in a process: the answer is kept where every reader finds it.
_MEASURED = "_harness_dispatch"


@dataclass(frozen=True)
class Pool:
    """One loaded library with a thread pool: `owner` is the package that ships it (`numpy`, `torch`, `system`, …)."""

    owner: str
    library: str
    version: str
    architecture: str
    threads: int


def sees_pools() -> bool:
    """Whether `pools` can answer: threadpoolctl is installed."""
    return _threadpoolctl() is not None


def pools() -> list[Pool]:
    """The BLAS and OpenMP libraries that are loaded, sorted; none where threadpoolctl is not installed."""
    threadpoolctl = _threadpoolctl()
    return [] if threadpoolctl is None else _described(threadpoolctl.threadpool_info())


def known_pools() -> list[Pool]:
    """As `pools`, in a hundredth of the time: what was loaded since, but not by an import, is not looked for again."""
    controller = getattr(_threadpoolctl(), "ThreadpoolController", None)
    return pools() if controller is None else _described(_found(controller, len(sys.modules)).info())


@functools.lru_cache(maxsize=1)
def _found(controller: Any, modules: int) -> Any:  # noqa: ARG001 - another number of them means another search
    return controller()


def _described(entries: Iterable[Mapping[str, Any]]) -> list[Pool]:
    found = [
        Pool(
            owner=_owner(str(entry["filepath"])),
            library="openmp" if entry["user_api"] == "openmp" else str(entry["internal_api"]),
            version=str(entry.get("version") or ""),
            architecture=str(entry.get("architecture") or ""),
            threads=int(entry["num_threads"]),
        )
        for entry in entries
    ]
    return sorted(found, key=lambda pool: (pool.owner, pool.library, pool.version))


def _threadpoolctl() -> Any:
    try:
        return importlib.import_module("threadpoolctl")
    except ImportError:
        return None


def _owner(path: str) -> str:
    """The package in whose folder a library lies: `…/site-packages/numpy.libs/libx.so` belongs to `numpy`."""
    parts = PurePath(path).parts
    for index, part in enumerate(parts[:-1]):
        if part in ("site-packages", "dist-packages"):
            return parts[index + 1].removesuffix(".libs").replace("scikit_learn", "sklearn")
    return "system"


def numpy_features() -> list[str]:
    """The optional instruction sets that NumPy's loaded build dispatches to, in NumPy's own names and order."""
    umath = sys.modules.get("numpy._core._multiarray_umath") or sys.modules.get("numpy.core._multiarray_umath")
    if umath is None:
        return []
    features: dict[str, bool] = umath.__cpu_features__
    return [name for name in umath.__cpu_dispatch__ if features.get(name)]


def torch_dispatch() -> dict[str, str]:
    """What torch selected: `aten` (capability), `onednn` (instruction set) and `mkl` (reproducibility branch).

    oneDNN and MKL tell it only in their verbose output, which they write to the process's standard output, so that is
    caught for the moment of two tiny operations, once. Empty where torch is not loaded.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    if (known := vars(torch).get(_MEASURED)) is not None:
        return dict(known)
    selected = {"aten": str(torch.backends.cpu.get_cpu_capability())}
    text = _verbose_output(torch)
    for name, pattern in (("onednn", r"onednn_verbose,v\d+,info,cpu,isa:(.*)"), ("mkl", r" CNR:(\S+)")):
        if match := re.search(pattern, text):
            selected[name] = match.group(1)
    setattr(torch, _MEASURED, dict(selected))
    return selected


def _verbose_output(torch: Any) -> str:
    conv2d = torch.nn.functional.conv2d
    ones = functools.partial(torch.ones, device="cpu")
    libc = ctypes.CDLL(None)
    if sys.stdout is not None:
        sys.stdout.flush()
    libc.fflush(None)
    saved, caught = os.dup(1), os.memfd_create("verbose")
    os.dup2(caught, 1)
    try:
        with torch.no_grad():
            if torch.backends.mkl.is_available():
                with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
                    # Complex products are never routed past MKL (`kernels.products`).
                    torch.mm(ones(64, 64, dtype=torch.complex64), ones(64, 64, dtype=torch.complex64))
            if torch.backends.mkldnn.is_available():
                with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                    conv2d(ones(4, 16, 16, 16, dtype=torch.float32), ones(16, 16, 3, 3, dtype=torch.float32))
        libc.fflush(None)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    os.lseek(caught, 0, os.SEEK_SET)
    with os.fdopen(caught, "rb") as file:
        return file.read().decode(errors="replace")
