"""Whether this machine can run an image's CUDA: its NVIDIA GPU, the driver for it, and the driver that the lock needs.

Asked before anything is fetched or made. Inside a container nobody checks it: a container runtime that uses CDI ignores
what an image requires of the driver, and CUDA's own error says neither which version is there nor which is needed.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.errors import PrerequisiteError, ToolError
from harness.locking.python import LockedWheel
from harness.store.process import run

MINIMUM_DRIVER = {11: 450, 12: 525, 13: 580}
"""By CUDA's major version, the major version of the oldest driver that runs all of its minor versions on Linux.

Source: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1
"""

_NVIDIA = Path("driver/nvidia")
WINDOWS_GPU = Path("/dev/dxg")
_VERSION = re.compile(r"\b\d{3,}\.\d+(?:\.\d+)?\b")
_MODEL = re.compile(r"^Model:\s*(.*\S)", re.MULTILINE)
_NVIDIA_VENDOR, _DISPLAY = "0x10de", "0x03"  # PCI's numbers
# What Docker and the NVIDIA Container Toolkit say where a container cannot have the GPU.
_NO_DEVICE = ("device driver", "nvidia-container", "CDI device")


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """An NVIDIA driver that is loaded: its version (null where it does not say), its GPUs' names, and all it says."""

    version: str | None
    gpus: tuple[str, ...]
    said: str


def find_driver(proc: Path = Path("/proc"), *, windows: Path = WINDOWS_GPU) -> Driver | None:
    """The NVIDIA driver of this machine; null where none is loaded. It may be loaded and have no GPU."""
    version = proc / _NVIDIA / "version"
    try:
        said = version.read_text()
    except OSError:
        said = ""
    if not said and not windows.exists():
        return None
    try:
        gpus = [path.read_text() for path in sorted((proc / _NVIDIA / "gpus").glob("*/information"))]
    except OSError:
        gpus = []  # some containers show the driver and not these
    if gpus:
        names = [match[1] for text in gpus if (match := _MODEL.search(text))]
        return Driver(version=_version(said), gpus=tuple(names), said="\n".join([said, *gpus]).strip())
    answer = _ask_the_drivers_program()
    pairs = [line.rpartition(",") for line in answer.splitlines()]
    versions = [_version(text) for _, _, text in pairs]
    return Driver(
        version=next((found for found in versions if found), None) or _version(said),
        gpus=tuple(name.strip() for name, _, _ in pairs),
        said=answer,
    )


def cuda_version(wheels: Iterable[LockedWheel]) -> str | None:
    """CUDA's version in a lock, such as `13.0`: that of its runtime's wheel; null where there is no such wheel."""
    found = [
        wheel.version.split(".")
        for wheel in wheels
        if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", wheel.name) is not None
    ]
    return ".".join(max(found, key=lambda parts: [int(part) for part in parts[:2]])[:2]) if found else None


def needed_driver(cuda: str) -> int:
    """The major version of the oldest driver that runs CUDA `cuda`; of a CUDA that is not known yet, a lower bound."""
    major = int(cuda.partition(".")[0])
    return max(
        (driver for known, driver in MINIMUM_DRIVER.items() if known <= major), default=min(MINIMUM_DRIVER.values())
    )


def require_gpu(
    image: str,
    wheels: Iterable[LockedWheel],
    *,
    proc: Path = Path("/proc"),
    system: Path = Path("/sys"),
    windows: Path = WINDOWS_GPU,
) -> None:
    """Nothing, if the image with these wheels can run on this machine's GPU.

    Raises:
        PrerequisiteError: there is no NVIDIA GPU, no driver, or one that is too old for the lock's CUDA.
    """
    cuda = cuda_version(wheels)
    needed = needed_driver(cuda) if cuda else None
    wanted = f"The image {image} needs an NVIDIA GPU with its driver"
    if cuda:
        wanted += f" {needed} or newer, for CUDA {cuda}"
    driver = find_driver(proc, windows=windows)
    if driver is None:
        cards = _cards(system)
        if cards:
            raise PrerequisiteError(
                f"{wanted}; this machine has a GPU of NVIDIA's ({', '.join(cards)}), and no driver is loaded for it",
                hint="Install NVIDIA's driver, and try nvidia-smi.",
            )
        raise PrerequisiteError(
            f"{wanted}; this machine has neither such a GPU nor a driver",
            hint="Run it on a machine that has, or run an image for the CPU (--image cpu, make IMAGE=cpu).",
        )
    if not driver.gpus:
        raise PrerequisiteError(
            f"{wanted}; the driver {driver.version or 'here'} finds no GPU", hint="See what nvidia-smi says."
        )
    if needed is None:
        return
    name = " + ".join(dict.fromkeys(driver.gpus))
    if driver.version is None:
        raise PrerequisiteError(
            f"{wanted}; the driver of this machine's {name} does not say its version", hint="See what nvidia-smi says."
        )
    if int(driver.version.partition(".")[0]) < needed:
        raise PrerequisiteError(
            f"{wanted}; the driver of this machine's {name} is {driver.version}",
            hint=f"Upgrade NVIDIA's driver to {needed} or newer, or lock an older CUDA.",
        )


@contextmanager
def gpu_errors(*, wanted: bool) -> Iterator[None]:
    """Say what to install where an engine that was asked for a GPU, if `wanted`, cannot hand one to a container.

    Raises:
        PrerequisiteError: so it is.
    """
    try:
        yield
    except ToolError as error:
        if wanted and any(words in error.message for words in _NO_DEVICE):
            raise PrerequisiteError(
                f"Docker cannot hand this machine's GPU to a container: {error.message}",
                hint="Install the NVIDIA Container Toolkit, and configure Docker with it.",
            ) from error
        raise


def _version(text: str) -> str | None:
    found = _VERSION.search(text)
    return found[0] if found else None


def _ask_the_drivers_program() -> str:
    """A line `NAME, VERSION` for each GPU; empty where the driver's program is not there or finds none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    answer = run([program, "--query-gpu=name,driver_version", "--format=csv,noheader"], check=False)
    return answer.stdout.decode(errors="replace").strip() if answer.returncode == 0 else ""


def _cards(system: Path) -> list[str]:
    """The PCI addresses of NVIDIA's graphics cards and accelerators, whether or not a driver is loaded."""
    found = []
    for folder in sorted((system / "bus/pci/devices").glob("*")):
        try:
            vendor, kind = ((folder / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == _NVIDIA_VENDOR and kind.startswith(_DISPLAY):
            found.append(folder.name)
    return found
