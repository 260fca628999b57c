"""The machine, as far as it decides what a program computes: what a measurement may be kept under.

Everything is read from the kernel's own files. Where it has none (no Linux), nothing is known, and nothing kept.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from harness.engines.gpu import WINDOWS_GPU, find_driver
from harness.locking.python import read_python_lock
from harness.record.hashing import digest_of_file
from harness.spec.digest import Digest, digest_from_hex

# What the kernel says of a processor and changes by itself, or names the processor instead of describing it.
_PASSING = frozenset({"processor", "cpu MHz", "bogomips", "BogoMIPS", "apicid", "initial apicid", "core id"})
_LINKER = (Path("/etc/ld.so.cache"), Path("/etc/ld.so.conf"), Path("/etc/ld.so.preload"))
_SYSTEM_LIBRARIES = ("libc.so.6", "libm.so.6", "libgomp.so.1", "libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0")
_LIBRARY_FOLDERS = ("/lib/{machine}-linux-gnu", "/usr/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """`processors` are the kinds there are, as the kernel describes them; `memory` is in bytes.

    `boot` is another with every start of the kernel: firmware, microcode and drivers are the same within one.
    """

    processors: tuple[dict[str, str], ...]
    caches: tuple[str, ...]
    cores: tuple[int, ...]
    memory: int
    kernel: str
    boot: str
    gpu: str | None


def this_machine(*, proc: Path = Path("/proc"), system: Path = Path("/sys")) -> Machine | None:
    """The machine that this process runs on; null where the kernel does not describe it."""
    try:
        cpuinfo = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace")
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    name = os.uname()
    return Machine(
        processors=tuple(_processors(cpuinfo)),
        caches=tuple(_caches(system)),
        cores=tuple(sorted(os.sched_getaffinity(0))),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=f"{name.release} {name.version} {name.machine}",
        boot=boot,
        gpu=gpu_driver(proc),
    )


def gpu_driver(proc: Path = Path("/proc"), *, windows: Path = WINDOWS_GPU) -> str | None:
    """What the NVIDIA driver says of itself and of each GPU; null where there is no GPU, or no driver for it."""
    driver = find_driver(proc, windows=windows)
    return driver.said if driver is not None and driver.gpus else None


def plain_environment(interpreter: Path, lock: Path) -> dict[str, Digest]:
    """What a plain process with the interpreter of a virtual environment is made of, a digest for each part.

    Its wheels are those of `lock`; whoever changes a file of the virtual environment or of the standard library, or
    upgrades a library of the system, gives it another size or time, and that is looked at, not the content.

    Raises:
        OSError: a part of it is not there.
    """
    resolved, folder = interpreter.resolve(), interpreter.parents[1]
    base = resolved.parents[1]
    library = _standard_library(base, f"python{read_python_lock(lock).version}")
    own = [resolved, *sorted(library.parent.glob("libpython*.so*"))]
    return {
        "lock": digest_of_file(lock),
        "interpreter": _digest(f"{path} {_times(path.stat())}" for path in own),
        "environment": _listing(folder, skip=()),
        "standard library": _listing(library, skip=("site-packages", "dist-packages", "__pycache__", "test")),
        "system": _digest(_system_files()),
    }


def _standard_library(base: Path, version: str) -> Path:
    for place in (base / "lib64" / version, base / "lib" / version):
        if (place / "os.py").exists():
            return place
    raise FileNotFoundError(f"{base} holds no {version}")


def _processors(cpuinfo: str) -> Iterator[dict[str, str]]:
    kinds: list[dict[str, str]] = []
    for block in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        kind = {name.strip(): value.strip() for name, _, value in pairs if name.strip() not in _PASSING}
        if kind and kind not in kinds:
            kinds.append(kind)
            yield kind


def _caches(system: Path) -> Iterator[str]:
    """Level, type and size of each cache of the first core: libraries cut their matrices to them."""
    for folder in sorted((system / "devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            yield " ".join((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue


def _system_files() -> Iterator[str]:
    machine = os.uname().machine
    folders = [Path(folder.format(machine=machine)) for folder in _LIBRARY_FOLDERS]
    for path in (*_LINKER, *(folder / name for folder in folders for name in _SYSTEM_LIBRARIES)):
        try:
            yield f"{path} {_times(path.stat())}"
        except OSError:
            continue


def _listing(folder: Path, *, skip: Iterable[str]) -> Digest:
    """The digest over every file below `folder`, as path, size and times; twenty thousand take a tenth of a second."""
    left_out, lines, folders = frozenset(skip), [], [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    lines.append(f"{entry.path} {_times(entry.stat(follow_symlinks=False))}")
                elif entry.name not in left_out:
                    folders.append(entry.path)
    return _digest(sorted(lines))


def _times(status: os.stat_result) -> str:
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _digest(lines: Iterable[str]) -> Digest:
    return digest_from_hex(hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest())
