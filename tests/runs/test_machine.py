"""What a machine is known by: what decides bits changes it, and what passes does not."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.locking.python import PythonLock, encode_python_lock
from harness.record.hashing import digest_of
from harness.runs.machine import Machine, gpu_driver, plain_environment, this_machine

CORE = """processor\t: {number}
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: {model}
model name\t: AMD EPYC
stepping\t: 1
microcode\t: {microcode}
cpu MHz\t\t: {frequency}
core id\t\t: {number}
apicid\t\t: {number}
flags\t\t: {flags}
bogomips\t: {frequency}
"""


def core(
    number: int = 0, model: str = "17", microcode: str = "0x1", frequency: str = "2596.1", flags: str = "fma avx2"
) -> str:
    return CORE.format(number=number, model=model, microcode=microcode, frequency=frequency, flags=flags)


@pytest.fixture
def known(tmp_path: Path) -> Callable[..., Machine | None]:
    """`known(*cores, boot=, level3=)`: a machine with these lines in its `/proc/cpuinfo`."""

    def read(*cores: str, boot: str = "first", level3: str = "32768K") -> Machine | None:
        proc, system = tmp_path / "proc", tmp_path / "sys"
        cache = system / "devices/system/cpu/cpu0/cache/index3"
        for folder in (proc / "sys/kernel/random", cache):
            folder.mkdir(parents=True, exist_ok=True)
        (proc / "cpuinfo").write_text("\n".join(cores))
        (proc / "sys/kernel/random/boot_id").write_text(f"{boot}\n")
        for name, value in (("level", "3"), ("type", "Unified"), ("size", level3)):
            (cache / name).write_text(f"{value}\n")
        return this_machine(proc=proc, system=system)

    return read


def test_frequency_and_the_cores_numbers_are_passing(known) -> None:
    assert known(core(0), core(1)) == known(core(0, frequency="3700.0"), core(1, frequency="1500.0"))
    assert len(known(core(0), core(1)).processors) == 1


@pytest.mark.parametrize(
    "other",
    [
        core(model="2"),
        core(microcode="0x2"),
        core(flags="fma avx2 avx512f"),
        core() + "\n" + core(model="2"),
    ],
)
def test_another_processor_is_another_machine(known, other: str) -> None:
    assert known(other) != known(core())


def test_another_cache_or_boot_is_another_machine(known) -> None:
    assert len({msgspec.json.encode(known(core(), **change)) for change in ({}, {"boot": "x"}, {"level3": "1K"})}) == 3


def test_kernel_cores_and_memory_are_this_machines_own() -> None:
    machine = this_machine()
    assert machine is not None
    assert os.uname().release in machine.kernel
    assert set(machine.cores) == os.sched_getaffinity(0)
    assert machine.memory > 1 << 27


def test_where_the_kernel_says_nothing_nothing_is_known(tmp_path: Path) -> None:
    assert this_machine(proc=tmp_path, system=tmp_path) is None


def test_a_gpu_is_there_when_the_driver_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    absent = tmp_path / "absent"
    assert gpu_driver(tmp_path, windows=absent) is None
    driver = tmp_path / "driver/nvidia"
    (driver / "gpus/0000:01").mkdir(parents=True)
    (driver / "version").write_text("NVRM version: 570.1\n")
    assert gpu_driver(tmp_path, windows=absent) is None, "a driver without a GPU"
    (driver / "gpus/0000:01/information").write_text("Model: NVIDIA H100\n")
    said = gpu_driver(tmp_path, windows=absent)
    assert said is not None
    assert "570.1" in said
    assert "H100" in said


@pytest.mark.parametrize(("exit_code", "said"), [(0, "NVIDIA H100, 570.1"), (9, None)])
def test_where_the_kernel_does_not_name_the_gpus_the_drivers_program_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int, said: str | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho 'NVIDIA H100, 570.1'\nexit {exit_code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_driver(tmp_path, windows=tmp_path) == said
    assert gpu_driver(tmp_path, windows=tmp_path / "absent") is None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a lock, a Python and a virtual environment made from them, all made up."""
    lock = PythonLock(inputs=digest_of(b"inputs"), version="3.11", platform="x86_64-manylinux_2_36", wheels=())
    (tmp_path / "python.txt").write_bytes(encode_python_lock(lock))
    for name in (
        "python/bin/python3.11",
        "python/lib/python3.11/os.py",
        "python/lib/python3.11/site-packages/other.py",
        "venv/lib/python3.11/site-packages/numpy/core.so",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python3").symlink_to(tmp_path / "python/bin/python3.11")
    return tmp_path


def parts(place: Path) -> dict[str, str]:
    return dict(plain_environment(place / "venv/bin/python3", place / "python.txt"))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("venv/lib/python3.11/site-packages/numpy/core.so", "environment"),
        ("venv/lib/python3.11/site-packages/numpy/new.so", "environment"),
        ("python/lib/python3.11/os.py", "standard library"),
        ("python/lib/libpython3.11.so", "interpreter"),
        ("python/bin/python3.11", "interpreter"),
    ],
)
def test_a_changed_file_changes_its_own_part_even_with_its_old_time(place: Path, name: str, part: str) -> None:
    before, path = parts(place), place / name
    times = path.stat() if path.exists() else None
    path.write_text("changed"[: len(name)])
    if times is not None:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = parts(place)
    assert {name for name in before if before[name] != after[name]} == {part}


def test_what_a_run_never_reads_changes_nothing(place: Path) -> None:
    before = parts(place)
    (place / "python/lib/python3.11/site-packages/other.py").write_text("upgraded")
    assert parts(place) == before


def test_a_python_that_is_gone_is_no_environment(place: Path) -> None:
    (place / "python/lib/python3.11/os.py").unlink()
    with pytest.raises(OSError, match=r"python3\.11"):
        parts(place)
