"""Read a Debian package: what its `data.tar` puts where. No maintainer script runs.

Format: https://manpages.debian.org/bookworm/dpkg-dev/deb.5.en.html
"""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from debian.arfile import ArError, ArFile
from debian.deb822 import Deb822

from harness.errors import IntegrityError
from harness.images.content import CHUNK, Content, Inline, Slice
from harness.images.paths import link_target, member_path, merged
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.debian import DebianPackage
from harness.store.process import run

# Far above any package; so that a small file that unpacks without end can't fill the disk.
MAX_UNPACKED = 4 << 30

_DAMAGED = (tarfile.TarError, lzma.LZMAError, zlib.error, ArError, OSError, EOFError, ValueError, IndexError)


def read_deb(package: DebianPackage, path: Path, temporary: Path) -> list[tuple[str, Entry]]:
    """The entries of the package in the file `path`, in the archive's order, at their places with `/usr` merged.

    Modes are the archive's, but set-user and set-group bits are left out: every owner becomes root, and runs
    may gain no privileges. The package's control fields go to `var/lib/dpkg/status.d`, where scanners look for them.
    The data is unpacked once, to an unnamed file in the folder `temporary`, from which the contents are read.

    Raises:
        IntegrityError: the file is damaged, is another package, or holds a member that an image must not get: one that
            is absolute or leads out of it, a link that does, a device, a pipe, or a path twice.
        PrerequisiteError: it is compressed with zstd and there is no `unzstd`.
    """
    where = f"{package.name} {package.version}"
    try:
        with _Forward(path) as file:
            archive = ArFile(fileobj=file)
            if not archive.getnames() or archive.getnames()[0] != "debian-binary":
                raise IntegrityError(f"{where} is not a Debian package")
            control = _control(archive, package, where, temporary)
            data = _unpacked(archive, "data.tar", temporary, where)
        entries = list(_entries(data, where))
    except _DAMAGED as error:
        raise IntegrityError(f"{where} is damaged and cannot be read: {error}") from error
    status = f"var/lib/dpkg/status.d/{package.name}"
    return [*entries, (status, File(0o644, Inline(control)))]


class _Forward(io.FileIO):
    """A file that can't be walked backwards, so that an ar member with a negative size can't make a loop."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_CUR and offset < 0:
            raise ArError("a member has a negative size")
        return super().seek(offset, whence)


def _control(archive: Any, package: DebianPackage, where: str, temporary: Path) -> bytes:
    file = _unpacked(archive, "control.tar", temporary, where)
    with tarfile.open(fileobj=file, mode="r:") as members:
        for member in members:
            if member.name in ("control", "./control") and member.isreg():
                content = members.extractfile(member)
                text = content.read() if content else b""
                break
        else:
            raise IntegrityError(f"{where} has no control file")
    fields = Deb822(text)
    found = (fields.get("Package"), fields.get("Version"), fields.get("Architecture"))
    if found != (package.name, package.version, package.architecture):
        said = " ".join(str(value) for value in found)
        raise IntegrityError(f"{where} for {package.architecture} says in its control file that it is {said}")
    return text.rstrip(b"\n") + b"\n"


def _unpacked(archive: Any, part: str, temporary: Path, where: str) -> BinaryIO:
    """The decompressed `part` of the package as an unnamed file."""
    names = [name for name in archive.getnames() if name.partition(".tar")[0] + ".tar" == part]
    if len(names) != 1:
        raise IntegrityError(f"{where} has {len(names)} members called {part}, where a Debian package has one")
    target: BinaryIO = tempfile.TemporaryFile(dir=temporary)  # noqa: SIM115 - closed with the contents read from it
    with _decompressed(archive.getmember(names[0]), names[0].removeprefix(part), where) as source:
        size = 0
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > MAX_UNPACKED:
                raise IntegrityError(f"{where} unpacks to more than {MAX_UNPACKED} bytes")
            target.write(chunk)
    target.flush()
    target.seek(0)
    return target


@contextmanager
def _decompressed(member: Any, extension: str, where: str) -> Iterator[Any]:
    match extension:
        case ".xz" | ".lzma":
            with lzma.open(member) as stream:
                yield stream
        case ".gz":
            with gzip.open(member) as stream:
                yield stream
        case ".bz2":
            with bz2.open(member) as stream:
                yield stream
        case ".zst":
            yield io.BytesIO(run(["unzstd", "--stdout"], stdin=member.read()).stdout)
        case "":
            yield member
        case _:
            raise IntegrityError(f"{where} is compressed in a way that is not known: {extension}")


def _entries(data: BinaryIO, where: str) -> Iterator[tuple[str, Entry]]:
    end = data.seek(0, os.SEEK_END)
    data.seek(0)
    seen: dict[str, Entry] = {}
    with tarfile.open(fileobj=data, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            path = merged(member_path(member.name, where))
            if not path:
                continue
            entry = _entry(member, path, seen, data, end, where)
            if path in seen and not (isinstance(entry, Directory) and isinstance(seen[path], Directory)):
                raise IntegrityError(f"{where}: the member {path} is there twice")
            seen[path] = entry
            yield path, entry
        # tarfile takes a damaged header for the end of the archive.
        tail = os.pread(data.fileno(), tarfile.BLOCKSIZE, archive.offset)
        if len(tail) != tarfile.BLOCKSIZE or any(tail):
            raise IntegrityError(f"{where} is damaged: its data ends without an end mark")


def _entry(member: tarfile.TarInfo, path: str, seen: dict[str, Entry], data: BinaryIO, end: int, where: str) -> Entry:
    if member.isdir():
        return Directory(member.mode & 0o1777)
    if member.issym():
        return Symlink(link_target(path, member.linkname, where))
    if member.islnk():
        target = seen.get(merged(member_path(member.linkname, where)))
        if not isinstance(target, File):
            raise IntegrityError(f"{where}: {path} is a hard link to {member.linkname!a}, which is no file before it")
        return target
    if not member.isreg() or member.issparse():
        raise IntegrityError(f"{where}: the member {path} is a device, pipe or other special file")
    if member.offset_data + member.size > end:
        raise IntegrityError(f"{where} is damaged: {path} ends too early")
    content: Content = Slice(data, member.offset_data, member.size)
    return File(member.mode & 0o777, content)
