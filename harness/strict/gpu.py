"""Asks the NVIDIA driver which GPU this is; run as a program, so that the asking process never starts CUDA itself.

A process that has started CUDA cannot fork any more. Standard library only.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16  # CUdevice_attribute, cuda.h
_DEVICES = ("/dev/nvidiactl", "/dev/dxg")


def describe(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The GPUs that a process with these variables sees: name, compute capability, multiprocessors, driver; or None.

    Several GPUs that differ are named together; the compute capability and multiprocessors are then lists too.
    """
    if environ.get("CUDA_VISIBLE_DEVICES") == "-1" or not any(Path(device).exists() for device in _DEVICES):
        return None
    completed = subprocess.run(
        [sys.executable, "-S", "-E", __file__], env=dict(environ), capture_output=True, timeout=60, check=False
    )
    if completed.returncode != 0:
        return None
    answer: dict[str, Any] | None = json.loads(completed.stdout)
    return answer


def _ask() -> dict[str, Any] | None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, version = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return None
    cuda.cuDriverGetVersion(ctypes.byref(version))
    devices = [_device(cuda, index) for index in range(count.value)]
    kinds = list(dict.fromkeys(devices))
    return {
        "name": " + ".join(name for name, _, _ in kinds),
        "compute_capability": " + ".join(capability for _, capability, _ in kinds),
        "multiprocessors": sum(number for _, _, number in kinds),
        "driver": _driver(),
        "libraries": {"cuda-driver": f"{version.value // 1000}.{version.value % 1000 // 10}", "gpus": str(count.value)},
    }


def _device(cuda: Any, index: int) -> tuple[str, str, int]:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    major, minor, number = (_attribute(cuda, which, device) for which in (_MAJOR, _MINOR, _MULTIPROCESSORS))
    return name.value.decode(errors="replace"), f"{major}.{minor}", number


def _attribute(cuda: Any, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def _driver() -> str:
    text = ctypes.create_string_buffer(96)
    try:
        management = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "unknown"
    if management.nvmlInit_v2() or management.nvmlSystemGetDriverVersion(text, len(text)):
        return "unknown"
    return text.value.decode()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_ask()))
