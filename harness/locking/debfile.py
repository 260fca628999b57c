"""The file of a Debian package: two compressed tar archives in one ar archive, read within bounds and believed nowhere.

Format: https://manpages.debian.org/bookworm/dpkg-dev/deb.5.en.html
"""

import bz2
import errno
import gzip
import io
import lzma
import os
import posixpath
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from debian.arfile import ArError, ArFile

from harness.errors import IntegrityError
from harness.locking.bounded import Bounded
from harness.locking.debian import SCRIPTS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Bounds far above any package's, so that a small hostile file can't fill memory or disk.
MAX_UNPACKED = 4 << 30
MAX_RATIO = 100
MAX_CONTROL = 16 << 20
MAX_DICTIONARY = 256 << 20  # the memory that a decompressor may ask for; `xz -9` needs 65 MiB
MAX_HEADER = 1 << 20  # a long name, or a set of extended headers
MAX_MEMBERS = 200_000
_FREE = 256 << 20  # may be unpacked from however little
_MAX_PARTS = 100
_CHUNK = 1 << 20
_SHOWN = 200  # letters of a name, in an error
_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_DICTIONARY.bit_length() - 1}

CONTROL = ("control", "md5sums", *SCRIPTS)
"""What is read of a package's `control.tar`."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DAMAGED = (
    tarfile.TarError, lzma.LZMAError, zlib.error, zstd.ZstdError, ArError, OSError, EOFError, ValueError, IndexError,
    OverflowError,  # a position past what the system counts
    RecursionError,  # a header of a header of a header
)  # fmt: skip


class Target(Protocol):
    """What can be written to."""

    def write(self, data: bytes) -> object:
        """Write all of `data`."""


class DebFile:
    """An open package. `where` says in errors which it is."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._archive = ArFile(fileobj=file)
        self._size = os.fstat(file.fileno()).st_size
        self._where = where
        if self._archive.getnames()[:1] != ["debian-binary"]:
            raise IntegrityError(f"{where} is not a Debian package")

    def control(self) -> dict[str, bytes]:
        """The control file, and as far as there are such the sums and the maintainer scripts, by name.

        Raises:
            IntegrityError: there is no control file, or one of these is there twice or is a link.
        """
        archive, found = io.BytesIO(), dict[str, bytes]()
        self._unpack("control.tar", archive, MAX_CONTROL)
        data = archive.getvalue()
        archive.seek(0)
        for member in tar_members(archive, self._where):
            name = posixpath.normpath(member.name).lstrip("/")  # what dpkg, which unpacks it, would call it
            if name not in CONTROL:
                continue
            if not member.isreg() or name in found:
                raise IntegrityError(f"{self._where}: its {name} is {'there twice' if name in found else 'no file'}")
            found[name] = data[member.offset_data : member.offset_data + member.size]
            if len(found[name]) != member.size:
                raise IntegrityError(f"{self._where} is damaged: its {name} ends too early")
        if "control" not in found:
            raise IntegrityError(f"{self._where} has no control file")
        return found

    def data(self, temporary: Path) -> BinaryIO:
        """The tar archive of the files, unpacked to an unnamed file in the folder `temporary`.

        Raises:
            IntegrityError: it unpacks to far more than the package is.
        """
        file: BinaryIO = tempfile.TemporaryFile(dir=temporary)  # noqa: SIM115 - closed with the contents read from it
        self.write_data(file)
        file.flush()
        return file

    def write_data(self, target: Target) -> None:
        """Write the tar archive of the files, unpacked.

        Raises:
            IntegrityError: it unpacks to far more than the package is.
        """
        self._unpack("data.tar", target, min(MAX_UNPACKED, max(_FREE, MAX_RATIO * self._size)))

    def _unpack(self, part: str, target: Target, limit: int) -> None:
        names = [name for name in self._archive.getnames() if name.partition(".tar")[0] + ".tar" == part]
        if len(names) != 1:
            raise IntegrityError(
                f"{self._where} has {len(names)} members called {part}, where a Debian package has one"
            )
        size, extension = 0, names[0].removeprefix(part)
        for chunk in _decompressed(self._archive.getmember(names[0]), extension, self._where):
            size += len(chunk)
            if size > limit:
                raise IntegrityError(f"{self._where}: {part} unpacks to more than {limit} bytes: it looks like a bomb")
            target.write(chunk)


@contextmanager
def open_deb(path: Path, where: str) -> Iterator[DebFile]:
    """The package in the file `path`, for the time of a `with` block.

    Raises:
        IntegrityError: it is no package, or damaged, as far as that is found inside the block.
        OSError: the disk is full.
    """
    try:
        with _Forward(path) as file:
            yield DebFile(cast("BinaryIO", file), where)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise IntegrityError(
            f"{where} is damaged and cannot be read: {error}",
            hint="Its digest is right, so it was made so: lock another version of it, or do without it.",
        ) from error


def tar_members(file: BinaryIO, where: str) -> Iterator[tarfile.TarInfo]:
    """The members of a tar archive that is not compressed, to its end mark.

    Raises:
        IntegrityError: they are more than any package has, one has a negative size, or there is no end mark.
    """
    source = cast("Any", Bounded(file, MAX_HEADER))
    with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for count, member in enumerate(archive):
            if count >= MAX_MEMBERS:
                raise IntegrityError(f"{where} has more than {MAX_MEMBERS} members")
            if member.size < 0:  # from here tarfile would walk backwards, and round
                raise IntegrityError(f"{where} is damaged: the member {member.name[:_SHOWN]!a} has a negative size")
            yield member
        # tarfile takes a damaged header for the end of the archive.
        file.seek(archive.offset)
        tail = file.read(tarfile.BLOCKSIZE)
        if len(tail) != tarfile.BLOCKSIZE or any(tail):
            raise IntegrityError(f"{where} is damaged: an archive in it ends without an end mark")


class _Forward(io.FileIO):
    """A file that can't be walked backwards, so that an ar member with a negative size can't make a loop; nor far."""

    steps = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_CUR:
            self.steps += 1
            if offset < 0:
                raise ArError("a member has a negative size")
            if self.steps > _MAX_PARTS:
                raise ArError("it has more parts than a package")
        return super().seek(offset, whence)


def _decompressed(member: Any, extension: str, where: str) -> Iterator[bytes]:
    """The bytes of a member in pieces of a mebibyte at most, however much a little input makes."""
    match extension:
        case "":
            yield from _pieces(member)
        case ".gz":
            with gzip.open(member) as stream:
                yield from _pieces(stream)
        case ".bz2":
            with bz2.open(member) as stream:
                yield from _pieces(stream)
        case ".xz" | ".lzma":
            yield from _unlzma(member)
        case ".zst":
            with zstd.open(member, options=_WINDOW) as stream:
                yield from _pieces(stream)
        case _:
            raise IntegrityError(f"{where} is compressed in a way that is not known: {extension}")


def _pieces(source: Any) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk


def _unlzma(member: Any) -> Iterator[bytes]:
    """As `lzma.open` would, which takes no limit: a few bytes may ask for four gigabytes of memory."""
    data = member.read(_CHUNK)
    while data:
        stream = lzma.LZMADecompressor(memlimit=MAX_DICTIONARY)
        while not stream.eof:
            if stream.needs_input:
                data = data or member.read(_CHUNK)
                if not data:
                    raise EOFError("its compressed data ends too early")
            yield stream.decompress(data, _CHUNK)
            data = b""
        # Another stream may follow, after zeros.
        data = stream.unused_data.lstrip(b"\0")
        while not data and (more := member.read(_CHUNK)):
            data = more.lstrip(b"\0")
