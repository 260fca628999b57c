"""A checkout with one small image, and a store that holds its artifacts."""

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.locking.debian import DebianLock, DebianPackage
from harness.locking.lockfile import write_lock
from harness.locking.python import LockedWheel, PythonLock, encode_python_lock
from harness.spec.digest import Digest, digest_from_hex
from harness.store.store import Store

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests of this room share beyond fixtures

from image_packages import deb, folder, hardlink, member, symlink, wheel

SPEC = """\
name: tiny
variant: cpu
debian:
  suite: bookworm
  component: main
  architecture: amd64
  packages: [base]
  exclude: [usr/share/doc/*]
python:
  version: "3.11"
  platform: x86_64-manylinux_2_36
  requirements: [small]
  exclude: ["*/tests/*"]
users:
  - {name: root, uid: 0, home: /root}
  - {name: harness, uid: 65532, home: /home/harness}
links:
  /usr/bin/python3: python3.11
files:
  /etc/nsswitch.conf: |
    hosts: files
large_wheel: 2000
"""
NOISE = hashlib.shake_256(b"noise").digest(4000)

DEBS = {
    "base": [
        folder("./"),
        folder("./bin/"),
        folder("./lib/x86_64-linux-gnu/"),
        folder("./tmp/", 0o1777),
        folder("./root/", 0o700),
        folder("./var/local/", 0o2775),
        member("./bin/sh", b"shell", mode=0o4755),
        hardlink("./bin/ash", "./bin/sh"),
        member("./lib/x86_64-linux-gnu/libc.so.6", b"libc" * 1000),
        symlink("./lib/x86_64-linux-gnu/libc.so", "libc.so.6"),
        member("./usr/share/doc/base/copyright", b"free"),
        member("./usr/share/" + "long/" * 30 + "name", b"deep"),
        member("./usr/share/naïve", b"unicode"),
    ],
    "python3.11": [folder("./usr/bin/"), member("./usr/bin/python3.11", b"python", mode=0o755)],
}
WHEELS: dict[str, Mapping[str, bytes]] = {
    "small": {
        "small/__init__.py": b"",
        "small/tests/test_it.py": b"assert True",
        "small/__pycache__/__init__.cpython-311.pyc": b"stale",
        "small-1.0.data/scripts/tool": b"#!python\nprint()\n",
        "small-1.0.data/data/share/small.txt": b"data",
        "small-1.0.dist-info/entry_points.txt": b"[console_scripts]\nrun-small = small:main\n",
    },
    "large": {"large/__init__.py": b"x = 1\n", "large/noise.bin": NOISE},
}


class Checkout:
    """A checkout with the image `tiny`. `debs` and `wheels` are put in the store, and their locks are written."""

    def __init__(self, root: Path, store: Store) -> None:
        self.root = root
        self.store = store
        self.debs = {name: deb(name, members) for name, members in DEBS.items()}
        self.wheels = {name: wheel(name, files) for name, files in WHEELS.items()}
        self.spec = SPEC
        (root / "docker").mkdir(parents=True)
        (root / "lockfiles" / "tiny").mkdir(parents=True)

    def write(self) -> "Checkout":
        (self.root / "docker" / "tiny.yaml").write_text(self.spec)
        packages = [self._package(name, data) for name, data in sorted(self.debs.items())]
        wheels = [
            LockedWheel(name, "1.0", f"{name}-1.0-py3-none-any.whl", self.store.put_bytes(data))
            for name, data in sorted(self.wheels.items())
        ]
        none = digest_from_hex("0" * 64)
        write_lock(
            self.folder / "debian.lock",
            DebianLock(
                inputs=none,
                suite="bookworm",
                component="main",
                architecture="amd64",
                snapshot="20260101T000000Z",
                packages=tuple(packages),
            ),
        )
        lock = PythonLock(inputs=none, version="3.11", platform="x86_64-manylinux_2_36", wheels=tuple(wheels))
        (self.folder / "python.txt").write_bytes(encode_python_lock(lock))
        return self

    @property
    def folder(self) -> Path:
        return self.root / "lockfiles" / "tiny"

    def _package(self, name: str, data: bytes) -> DebianPackage:
        path = f"pool/main/{name[0]}/{name}/{name}_1.0_amd64.deb"
        return DebianPackage(name, "1.0", "amd64", path, len(data), self.store.put_bytes(data), ())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def checkout(tmp_path: Path, store: Store) -> Checkout:
    return Checkout(tmp_path / "checkout", store).write()


@pytest.fixture
def alter() -> Callable[[Store, Digest], None]:
    """Flip one bit in the middle of an object of a store."""

    def flip(store: Store, digest: Digest) -> None:
        path = store.path(digest)
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return flip


@pytest.fixture
def package() -> DebianPackage:
    """A lock's entry for a package whose file a test makes."""
    return DebianPackage("evil", "1.0", "amd64", "pool/main/e/evil/evil.deb", 1, digest_from_hex("0" * 64), ())
