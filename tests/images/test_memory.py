"""Memory does not grow with what an archive holds: each is written as a layer by a process that may not hold it."""

import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from image_packages import COMPRESSORS, ar, member, tar

HERE = Path(__file__).parent
SIZE = 400 << 20
ROOM = 200 << 20
# A little noise in every 64 KiB: it packs well, but no better than files do.
BLOCK = hashlib.shake_256(b"noise").digest(2048) + bytes(62 << 10)

SCRIPT = f"""\
import resource, sys
from pathlib import Path
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]
from fuzz_archives import PACKAGE, WHEEL, Excludes, layer_chunks, read_deb, read_wheel
path = Path(sys.argv[1])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {ROOM}, used + {ROOM}))
if sys.argv[2] == "slurp":
    bytes({SIZE})
if path.suffix == ".deb":
    entries = read_deb(PACKAGE, path, lambda deb: deb.data(path.parent))
else:
    entries = read_wheel(WHEEL, path, python="3.11", platform="x86_64-manylinux_2_36", exclude=Excludes(())).entries
print(sum(map(len, layer_chunks(sorted(entries)))))
"""


def wheel(path: Path) -> None:
    """A wheel of one file of `SIZE` bytes."""
    checksum = hashlib.sha256()
    folder = "evil-1.0.dist-info"
    texts = {
        f"{folder}/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("evil/large.bin", "w") as file:
            for _ in range(SIZE // len(BLOCK)):
                file.write(BLOCK)
                checksum.update(BLOCK)
        digests = {"evil/large.bin": (checksum.digest(), SIZE)}
        for name, text in texts.items():
            archive.writestr(name, text)
            digests[name] = (hashlib.sha256(text.encode()).digest(), len(text))
        rows = [
            f"{name},sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')},{size}\n"
            for name, (digest, size) in digests.items()
        ]
        archive.writestr(f"{folder}/RECORD", "".join([*rows, f"{folder}/RECORD,,\n"]))


def package(path: Path) -> None:
    """A Debian package of one file of `SIZE` bytes."""
    info, _ = member("./usr/large.bin")
    info.size = SIZE
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=1) as archive:
        archive.addfile(info, _Repeated())
    control = COMPRESSORS[".gz"](tar([member("./control", b"Package: evil\nVersion: 1.0\nArchitecture: amd64\n")]))
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", data.getvalue())]
    path.write_bytes(ar(parts))


class _Repeated(io.RawIOBase):
    """The block over and over."""

    place = 0

    def read(self, size: int = -1) -> bytes:
        start = self.place % len(BLOCK)
        self.place += size
        return (BLOCK * (size // len(BLOCK) + 2))[start : start + size]


@pytest.mark.parametrize(("name", "make"), [("large.whl", wheel), ("large.deb", package)])
def test_a_file_larger_than_the_memory_there_is_becomes_a_layer(name: str, make: object, tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)  # type: ignore[operator]
    done = run(path, "stream")
    assert done.returncode == 0, done.stderr[-2000:]
    assert SIZE < int(done.stdout) < SIZE + (1 << 20)


def test_the_limit_on_memory_is_one(tmp_path: Path) -> None:
    assert "MemoryError" in run(tmp_path / "none.whl", "slurp").stderr


def run(path: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(path), how]
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
