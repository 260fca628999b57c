"""Small Debian packages and wheels, hostile ones too, made on the fly."""

import base64
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

COMPRESSORS: dict[str, Any] = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress}


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
) -> bytes:
    text = control or f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nDescription: a test\n"
    compress = COMPRESSORS[compression]
    unpacked = tar(members, encoding=encoding) if data is None else data
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{compression}", compress(tar([member("./control", text.encode())]))),
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
    order: int = 1,
) -> bytes:
    """A wheel that holds `files`; `record` replaces RECORD's text, `order=-1` writes the members backwards."""
    dist_info = f"{name}-{version}.dist-info"
    items = list(files.items()) if isinstance(files, Mapping) else list(files)
    items += [
        (f"{dist_info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()),
        (f"{dist_info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
    ]
    rows = [record_row(key if isinstance(key, str) else key.filename, data) for key, data in items]
    text = "".join(rows) + f"{dist_info}/RECORD,,\n" if record is None else record
    items.append((f"{dist_info}/RECORD", text.encode()))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, data in items[::order]:
            archive.writestr(key, data)
    return target.getvalue()
