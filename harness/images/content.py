"""Where the bytes of a file in the image come from: read when they are needed, never held all at once."""

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from harness.errors import IntegrityError

CHUNK = 1 << 20


class Content(Protocol):
    """The bytes of one file. Two entries that share one `Content` are hard links to each other."""

    @property
    def size(self) -> int:
        """Bytes."""

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

    def chunks(self) -> Iterator[bytes]:
        """The bytes, at once."""
        if self.data:
            yield self.data


class Slice:
    """A part of an open file: a member of an uncompressed tar archive. Safe to read from several threads."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._size = size

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def chunks(self) -> Iterator[bytes]:
        """The bytes, from the file."""
        position, end = self._offset, self._offset + self._size
        while position < end:
            chunk = os.pread(self._file.fileno(), min(CHUNK, end - position), position)
            if not chunk:
                raise IntegrityError("A Debian package's unpacked data ends too early")
            position += len(chunk)
            yield chunk


class ZipMember:
    """A member of a wheel, checked against the hash that the wheel's RECORD gives it whenever it is read."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, algorithm: str, expected: str) -> None:
        self._archive = archive
        self._info = info
        self._algorithm = algorithm
        self._expected = expected

    @property
    def size(self) -> int:
        """Bytes."""
        return self._info.file_size

    def chunks(self) -> Iterator[bytes]:
        """The bytes, inflated."""
        checksum = hashlib.new(self._algorithm)
        where = f"{self._archive.filename}: {self._info.filename}"
        try:
            with self._archive.open(self._info) as stream:
                left = self.size
                while left and (chunk := stream.read(min(CHUNK, left))):
                    checksum.update(chunk)
                    left -= len(chunk)
                    yield chunk
                if left or stream.read(1):
                    raise IntegrityError(f"{where} does not unpack to the size that the wheel says")
        except BAD_ZIP as error:
            raise IntegrityError(f"{where} cannot be unpacked: {error}") from error
        actual = base64.urlsafe_b64encode(checksum.digest()).decode().rstrip("=")
        if actual != self._expected:
            raise IntegrityError(f"{where} is not what the wheel's RECORD says: its {self._algorithm} differs")


# What zipfile and zlib raise on archives that are damaged or use what they don't know.
BAD_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


def same_content(one: Content, other: Content) -> bool:
    """Whether two contents are the same bytes."""
    return one is other or (one.size == other.size and _digest(one) == _digest(other))


def _digest(content: Content) -> bytes:
    checksum = hashlib.sha256()
    for chunk in content.chunks():
        checksum.update(chunk)
    return checksum.digest()
