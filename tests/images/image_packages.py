"""Small Debian packages and wheels, hostile ones too, made on the fly; and a checkout whose image is made of such."""

import base64
import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from backports import zstd

from harness.locking.debian import DebianLock, DebianPackage
from harness.locking.lockfile import write_lock
from harness.locking.python import LockedWheel, PythonLock, encode_python_lock
from harness.spec.digest import digest_from_hex
from harness.store.store import Store

COMPRESSORS: dict[str, Any] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar archive: a file unless `type` says otherwise, with times and owners that must not show."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mtime = 1_234_567_890
    info.uid = info.gid = 1000
    info.uname = info.gname = "builder"
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]], *, encoding: str = "utf-8") -> bytes:
    target = io.BytesIO()
    with tarfile.open(
        fileobj=target, mode="w:", format=tarfile.GNU_FORMAT, encoding=encoding, errors="surrogateescape"
    ) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def ar(members: Iterable[tuple[str, bytes]], *, sizes: Mapping[str, int] = {}) -> bytes:
    result = b"!<arch>\n"
    for name, data in members:
        size = sizes.get(name, len(data))
        result += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return result


def deb(
    name: str,
    members: Iterable[tuple[tarfile.TarInfo, bytes]],
    *,
    version: str = "1.0",
    architecture: str = "amd64",
    compression: str = ".xz",
    control: str | None = None,
    encoding: str = "utf-8",
    data: bytes | None = None,
    sums: bytes = b"",
    scripts: Mapping[str, bytes] = {},
) -> bytes:
    text = control or f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nDescription: a test\n"
    compress = COMPRESSORS[compression]
    about = [member("./control", text.encode(errors="surrogateescape")), *([member("./md5sums", sums)] if sums else [])]
    about += [member(f"./{script}", body, mode=0o755) for script, body in scripts.items()]
    unpacked = tar(members, encoding=encoding) if data is None else data
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{compression}", compress(tar(about))),
            (f"data.tar{compression}", compress(unpacked)),
        ]
    )


def record_row(name: str, data: bytes) -> str:
    checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{name},sha256={checksum},{len(data)}\n"


def wheel(
    name: str,
    files: Mapping[str, bytes] | Iterable[tuple[str | zipfile.ZipInfo, bytes]],
    *,
    version: str = "1.0",
    record: str | None = None,
    recorded: Mapping[str, bytes] = {},
    order: int = 1,
    tag: str = "py3-none-any",
    metadata: str = "",
) -> bytes:
    """A wheel that holds `files`; `order=-1` writes the members backwards, `metadata` are more lines of METADATA.

    `record` replaces RECORD's text; `recorded` is what RECORD says of some files in place of the truth.
    """
    dist_info = f"{name}-{version}.dist-info"
    items = list(files.items()) if isinstance(files, Mapping) else list(files)
    items += [
        (f"{dist_info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}".encode()),
        (
            f"{dist_info}/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        ),
    ]
    names = [key if isinstance(key, str) else key.filename for key, _ in items]
    rows = [record_row(name, recorded.get(name, data)) for name, (_, data) in zip(names, items, strict=True)]
    text = "".join(rows) + f"{dist_info}/RECORD,,\n" if record is None else record
    items.append((f"{dist_info}/RECORD", text.encode()))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, data in items[::order]:
            archive.writestr(key, data)
    return target.getvalue()


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
