"""The image cpu-arm64 as it was built: every machine file in it is for that machine, and its Python starts there."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.lockfile import read_lock
from harness.store.store import Store
from tests.tools import need
from tests.unpack import unpack

ROOT = Path(__file__).parents[2]
AARCH64 = 183  # e_machine, https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
CODE = "import sys, platform, numpy; print(platform.machine(), sys.version_info[:2], numpy.arange(4.0) @ numpy.ones(4))"


@pytest.fixture(scope="module")
def layers() -> dict[str, Path]:
    lock = read_lock(ROOT / "lockfiles" / "cpu-arm64" / "image.lock", ImageLock, schema=SCHEMA)
    store = Store.default()
    if not all(store.has(layer.digest) for layer in lock.layers):
        pytest.skip("the image cpu-arm64 is not built here: nox -s arm64")
    return {layer.name: store.path(layer.digest) for layer in lock.layers}


def test_every_program_and_library_is_for_arm64(layers: dict[str, Path]) -> None:
    machines: dict[int, int] = {}
    for path in layers.values():
        with tarfile.open(path, "r:") as layer:
            for member in layer:
                file = layer.extractfile(member) if member.isreg() and member.size >= 20 else None
                head = file.read(20) if file else b""
                if head.startswith(b"\x7fELF"):
                    machine = int.from_bytes(head[18:20], "little")
                    machines[machine] = machines.get(machine, 0) + 1
    assert machines.keys() == {AARCH64}, machines
    assert machines[AARCH64] > 300


def test_its_python_starts_under_emulation(layers: dict[str, Path], tmp_path: Path) -> None:
    emulator = need("qemu-aarch64")
    # Every layer: large wheels have layers of their own, and which are large may change.
    for path in layers.values():
        unpack(path, tmp_path)
    # Not in a container: the emulator reads the image's libraries by their places in the image (-L).
    home = {"PYTHONHOME": f"{tmp_path}/usr", "PYTHONPATH": f"{tmp_path}/usr/local/lib/python3.11/dist-packages"}
    done = subprocess.run(
        [emulator, "-L", tmp_path, tmp_path / "usr/bin/python3.11", "-c", CODE],
        env=home, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout == "aarch64 (3, 11) 6.0\n", done.stderr
