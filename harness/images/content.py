"""Where the bytes of a file in the image come from: read when they are needed, never held all at once."""

import base64
import hashlib
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, cast

import msgspec
from isal import isal_zlib as isal_zlib  # named twice: a build that verifies another puts zlib in its place

from harness.errors import IntegrityError
from harness.record.hashing import digest_of
from harness.spec.digest import Digest

CHUNK = 1 << 20

_COMPRESSED = 1 << 16
_LOCAL_HEADER = 30


class Content(Protocol):
    """The bytes of one file. Two entries that share one `Content` are hard links to each other."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def source(self) -> str:
        """Where the bytes come from, so exactly that equal sources are equal bytes."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes from the first to the last; may be called again.

        Raises:
            IntegrityError: they are not what their archive says of them.
        """


class Inline:
    """Bytes made by the harness itself, or read and changed by it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    @property
    def source(self) -> str:
        """The digest of the bytes."""
        return digest_of(self.data)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, at once."""
        if self.data:
            yield self.data


class Slice:
    """A part of an open file: a member of an uncompressed tar archive. Safe to read from several threads."""

    def __init__(self, file: BinaryIO, offset: int, size: int, archive: Digest) -> None:
        self._file = file
        self._offset = offset
        self._size = size
        self._digest = archive

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @property
    def source(self) -> str:
        """The package and the part of its data."""
        return f"{self._digest} {self._offset} {self._size}"

    def chunks(self) -> Iterator[bytes]:
        """The bytes, from the file."""
        position, end = self._offset, self._offset + self._size
        while position < end:
            chunk = os.pread(self._file.fileno(), min(CHUNK, end - position), position)
            if not chunk:
                raise IntegrityError("A Debian package's unpacked data ends too early")
            position += len(chunk)
            yield chunk


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A member of a wheel: its name, where in the archive its head lies, its sizes, and the hash that RECORD gives it.

    Stored or deflated: other methods are refused before there is one of these.
    """

    name: str
    offset: int
    deflated: bool
    packed: int
    size: int
    algorithm: str
    checksum: str


class ZipMember:
    """The bytes of a member of a wheel, checked against RECORD's hash whenever they are read.

    Safe to read from several threads. `archive` opens the wheel when it is first read, `filename` and `digest` are its.
    """

    def __init__(self, archive: Callable[[], BinaryIO], member: Member, *, filename: str, digest: Digest) -> None:
        self.member = member
        self._archive = archive
        self._filename = filename
        self._digest = digest

    @property
    def size(self) -> int:
        """Bytes."""
        return self.member.size

    @property
    def source(self) -> str:
        """The wheel and the member."""
        return f"{self._digest} {self.member.name}"

    def chunks(self) -> Iterator[bytes]:
        """The bytes, inflated."""
        member = self.member
        archive = self._archive()
        checksum = hashlib.new(member.algorithm)
        where = f"{self._filename}: {member.name}"
        left = self.size
        try:
            for chunk in unzipped(archive, member.offset, member.packed, deflated=member.deflated):
                left -= len(chunk)
                if left < 0:
                    break
                checksum.update(chunk)
                yield chunk
        except BAD_ZIP as error:
            raise IntegrityError(f"{where} cannot be unpacked: {error}") from error
        if left:
            raise IntegrityError(f"{where} does not unpack to the size that the wheel says")
        actual = base64.urlsafe_b64encode(checksum.digest()).decode().rstrip("=")
        if actual != member.checksum:
            raise IntegrityError(f"{where} is not what the wheel's RECORD says: its {member.algorithm} differs")


def unzipped(archive: BinaryIO, offset: int, packed: int, *, deflated: bool) -> Iterator[bytes]:
    """The bytes of the member at `offset`, a mebibyte at most at a time, however much its `packed` bytes make.

    `zipfile` would keep threads from reading side by side, sum a CRC that RECORD's hash makes superfluous, and inflate
    with zlib, at half the speed. The file is not read through it, but with positions of its own.

    Raises:
        zipfile.BadZipFile, isal_zlib.error: the member is damaged.
    """
    file = archive.fileno()
    head = os.pread(file, _LOCAL_HEADER, offset)
    if len(head) != _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("it does not begin as a member does")
    position = offset + _LOCAL_HEADER + sum(struct.unpack("<HH", head[-4:]))
    end = position + packed
    stream = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS) if deflated else None
    while position < end:
        piece = os.pread(file, min(_COMPRESSED if stream else CHUNK, end - position), position)
        if not piece:
            raise zipfile.BadZipFile("it ends too early")
        position += len(piece)
        if stream is None:
            yield piece
            continue
        while piece and not stream.eof:
            yield stream.decompress(piece, CHUNK)
            piece = stream.unconsumed_tail
    if stream is not None and not stream.eof:
        yield stream.flush()
        if not stream.eof:
            raise zipfile.BadZipFile("it ends too early")


# What zipfile and the inflater raise on archives that are damaged or use what they don't know.
BAD_ZIP: tuple[type[Exception], ...] = (
    zipfile.BadZipFile, zipfile.LargeZipFile, cast("type[Exception]", isal_zlib.error), OSError, EOFError, ValueError,
    NotImplementedError, RuntimeError, struct.error,
)  # fmt: skip


def same_content(one: Content, other: Content) -> bool:
    """Whether two contents are the same bytes."""
    return one is other or (one.size == other.size and _digest(one) == _digest(other))


def _digest(content: Content) -> bytes:
    checksum = hashlib.sha256()
    for chunk in content.chunks():
        checksum.update(chunk)
    return checksum.digest()
