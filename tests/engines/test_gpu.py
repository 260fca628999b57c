"""The driver is asked before a run for CUDA starts: every answer, from made-up machines, and this machine's own."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.engines.gpu import (
    MINIMUM_DRIVER,
    Driver,
    cuda_version,
    find_driver,
    gpu_errors,
    needed_driver,
    require_gpu,
)
from harness.errors import ExitCode, PrerequisiteError, ToolError
from harness.locking.python import LockedWheel, read_python_lock
from harness.record.hashing import digest_of

ROOT = Path(__file__).parents[2]
H100 = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 42\nGPU UUID: \t GPU-1\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\nGCC version:  gcc 12.2.0\n"
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Thu Oct 19 18:56:32 UTC 2023\nGCC version: 12.3.0\n"
)


def wheel(name: str, version: str) -> LockedWheel:
    return LockedWheel(name, version, f"{name}-{version}-py3-none-any.whl", digest_of(name.encode()))


CUDA_13 = (wheel("torch", "2.13.0"), wheel("nvidia-cuda-runtime", "13.0.96"))


class Made:
    """A made-up machine: its `/proc`, its `/sys` and the folder in which programs are looked for."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.system, self.path = folder / "proc", folder / "sys", folder / "bin"
        self.windows = folder / "dxg"
        for made in (self.proc, self.system, self.path):
            made.mkdir()

    def driver(self, text: str) -> None:
        folder = self.proc / "driver/nvidia"
        folder.mkdir(parents=True)
        (folder / "version").write_text(text)

    def gpus(self, *texts: str) -> None:
        for number, text in enumerate(texts):
            folder = self.proc / f"driver/nvidia/gpus/0000:0{number}:00.0"
            folder.mkdir(parents=True)
            (folder / "information").write_text(text)

    def program(self, prints: str, exit_code: int = 0) -> None:
        program = self.path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nprintf '{prints}'\nexit {exit_code}\n")
        program.chmod(0o755)

    def card(self, address: str, vendor: str = "0x10de", kind: str = "0x030200") -> None:
        folder = self.system / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")

    def found(self) -> Driver | None:
        return find_driver(self.proc, windows=self.windows)

    def require(self, wheels: tuple[LockedWheel, ...] = CUDA_13) -> None:
        require_gpu("cuda", wheels, proc=self.proc, system=self.system, windows=self.windows)

    def refused(self, wheels: tuple[LockedWheel, ...] = CUDA_13) -> str:
        with pytest.raises(PrerequisiteError) as caught:
            self.require(wheels)
        assert caught.value.exit_code is ExitCode.USAGE
        assert caught.value.hint
        assert "\n" not in caught.value.message
        return caught.value.message


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made(tmp_path)
    monkeypatch.setenv("PATH", str(made.path))
    return made


@pytest.mark.parametrize("text", [OPEN, CLOSED])
@pytest.mark.parametrize("version", ["580.65.06", "580.95.05", "590.10", "1000.1"])
def test_a_driver_that_is_new_enough_is_taken(machine: Made, text: str, version: str) -> None:
    machine.driver(text.format(version=version))
    machine.gpus(H100)
    found = machine.found()
    assert found is not None
    assert (found.version, found.gpus) == (version, ("NVIDIA H100 80GB HBM3",))
    machine.require()


@pytest.mark.parametrize("version", ["579.99.99", "550.54.15", "470.1"])
def test_a_driver_that_is_too_old_is_named_with_what_is_needed_and_the_gpu(machine: Made, version: str) -> None:
    machine.driver(CLOSED.format(version=version))
    machine.gpus(H100, H100)
    assert machine.refused() == (
        "The image cuda needs an NVIDIA GPU with its driver 580 or newer, for CUDA 13.0; "
        f"the driver of this machine's NVIDIA H100 80GB HBM3 is {version}"
    )


def test_an_older_cuda_needs_an_older_driver(machine: Made) -> None:
    machine.driver(CLOSED.format(version="550.54.15"))
    machine.gpus(H100)
    machine.require((wheel("nvidia-cuda-runtime-cu12", "12.8.90"),))
    assert machine.refused().endswith("is 550.54.15")


def test_a_machine_without_gpu_or_driver_is_told_so(machine: Made) -> None:
    machine.card("0000:00:02.0", vendor="0x8086", kind="0x030000")  # somebody else's graphics
    machine.card("0000:01:00.1", kind="0x040300")  # NVIDIA's sound
    assert machine.found() is None
    assert machine.refused() == (
        "The image cuda needs an NVIDIA GPU with its driver 580 or newer, for CUDA 13.0; "
        "this machine has neither such a GPU nor a driver"
    )


def test_a_gpu_whose_driver_is_not_loaded_is_named(machine: Made) -> None:
    machine.card("0000:65:00.0")
    (machine.system / "bus/pci/devices/odd").mkdir()
    assert machine.refused().endswith(
        "this machine has a GPU of NVIDIA's (0000:65:00.0), and no driver is loaded for it"
    )


def test_a_driver_without_a_gpu_is_not_enough(machine: Made) -> None:
    machine.driver(OPEN.format(version="580.65.06"))
    assert machine.refused().endswith("the driver 580.65.06 finds no GPU")
    machine.program("No devices were found", exit_code=6)
    assert machine.refused().endswith("the driver 580.65.06 finds no GPU")


def test_a_driver_that_does_not_say_its_version_is_not_trusted(machine: Made) -> None:
    machine.driver("something else\n")
    machine.gpus(H100)
    assert machine.refused().endswith("the driver of this machine's NVIDIA H100 80GB HBM3 does not say its version")


def test_where_the_kernel_does_not_name_the_gpus_the_drivers_program_is_asked(machine: Made) -> None:
    machine.windows.touch()
    machine.program("NVIDIA RTX 4090, 555.1\\nNVIDIA A100, 40GB, 555.1\\n")
    found = machine.found()
    assert found is not None
    assert (found.version, found.gpus) == ("555.1", ("NVIDIA RTX 4090", "NVIDIA A100, 40GB"))
    assert machine.refused().endswith("the driver of this machine's NVIDIA RTX 4090 + NVIDIA A100, 40GB is 555.1")
    machine.program("NVIDIA RTX 4090, 580.1\\n")
    machine.require()


def test_a_program_that_is_left_over_without_a_driver_is_not_asked(machine: Made) -> None:
    machine.program("NVIDIA RTX 4090, 580.1\\n")
    assert machine.found() is None


def test_the_locks_cuda_runtime_decides_what_is_needed() -> None:
    assert cuda_version(CUDA_13) == "13.0"
    assert cuda_version([wheel("nvidia-cuda-runtime-cu12", "12.8.90")]) == "12.8"
    assert cuda_version(
        [wheel("nvidia-cuda-runtime-cu12", "12.10.1"), wheel("nvidia-cuda-runtime-cu11", "11.8.1")]
    ) == ("12.10")
    assert cuda_version([wheel("torch", "2.13.0"), wheel("nvidia-cuda-runtime-docs", "13.0")]) is None


def test_what_cuda_needs_is_nvidias_table_and_for_what_comes_after_it_a_lower_bound() -> None:
    assert [needed_driver(f"{major}.1") for major in MINIMUM_DRIVER] == [450, 525, 580]
    assert needed_driver("14.0") == 580


def test_an_image_without_a_cuda_runtime_of_its_own_needs_a_gpu_of_any_driver(machine: Made) -> None:
    without = (wheel("xgboost", "3.2.0"),)
    assert machine.refused(without).startswith("The image cuda needs an NVIDIA GPU with its driver;")
    machine.driver(CLOSED.format(version="470.1"))
    machine.gpus(H100)
    machine.require(without)


@pytest.mark.skipif(find_driver() is not None, reason="this machine has an NVIDIA driver")
def test_this_machine_has_no_driver_and_is_refused_the_committed_image() -> None:
    lock = read_python_lock(ROOT / "lockfiles/cuda/python.txt")
    with pytest.raises(PrerequisiteError, match=r"driver \d+ or newer, for CUDA \d+\.\d+; this machine has"):
        require_gpu("cuda", lock.wheels)


@pytest.mark.parametrize(
    "said",
    [
        'could not select device driver "" with capabilities: [[gpu]]',
        "OCI runtime create failed: nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1",
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
    ],
)
def test_an_engine_that_cannot_hand_over_the_gpu_lacks_something_and_did_not_fail(said: str) -> None:
    def fail(message: str) -> None:
        raise ToolError(f"The Docker daemon refused to start run x: {message}")

    with pytest.raises(PrerequisiteError, match=re.escape(said)) as caught, gpu_errors(wanted=True):
        fail(said)
    assert "NVIDIA Container Toolkit" in str(caught.value.hint)
    with pytest.raises(ToolError), gpu_errors(wanted=False):
        fail(said)
    with pytest.raises(ToolError, match="no space left"), gpu_errors(wanted=True):
        fail("no space left on device")


def test_a_run_for_cuda_is_refused_before_its_image_is_touched(
    machine: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.runs import environment as room
    from harness.store.progress import SILENT
    from harness.store.store import Store

    class Untouched:
        name = "docker"

        def __getattr__(self, name: str) -> Callable[..., None]:
            raise AssertionError(f"the engine was asked for {name}")

    def opened(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the image was opened")

    monkeypatch.setattr(room, "open_image", opened)
    monkeypatch.setattr(room, "require_gpu", lambda image, wheels: machine.require(tuple(wheels)))

    def ground(image: str) -> None:
        room.make_ground(
            image,
            root=ROOT,
            store=Store(tmp_path / "store"),
            engine=Untouched(),  # type: ignore[arg-type]
            progress=SILENT,
            memory=None,
            time_limit=None,
        )

    with pytest.raises(PrerequisiteError, match="neither such a GPU nor a driver"):
        ground("cuda")
    with pytest.raises(ZeroDivisionError):
        ground("cpu")
    machine.driver(OPEN.format(version="580.65.06"))
    machine.gpus(H100)
    with pytest.raises(ZeroDivisionError):
        ground("cuda")
