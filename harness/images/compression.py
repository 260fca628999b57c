"""Layers compressed for their way to a registry and back. What an image is made of is its uncompressed layers.

What a compressor writes depends on its version, and so does the digest of what it wrote: it identifies bytes on a
registry's disk, never an environment. Formats: RFC 1952, RFC 8878.
"""

import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from harness.errors import IntegrityError
from harness.images.manifest import LAYER_TYPE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_WINDOW = 27  # 128 MiB, beyond which zstd itself asks before it takes that much memory
_PIECE = 1 << 20
_FED = 1 << 16  # each new member copies what is left of what was fed
MAX_UNPACKED = 64 << 30
"""How large a layer may be unpacked, in bytes: no image has larger ones, and a bomb has."""
_MAX_RATIO = 100
_FREE = 64 << 20  # may be unpacked from however little: a file of zeros is no bomb yet
_FREE_MEMBERS = 1000  # may hold nothing; beyond these, members hold a tar's block each, or it is for the work they make


class Compression(StrEnum):
    """How layers travel. `none` keeps the image's own digest."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_TYPES = {
    LAYER_TYPE: Compression.NONE,
    f"{LAYER_TYPE}+gzip": Compression.GZIP,
    f"{LAYER_TYPE}+zstd": Compression.ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar": Compression.NONE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": Compression.GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": Compression.ZSTD,
}
_FIRST = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}


def compression_of(media_type: str) -> Compression | None:
    """How a layer of that media type is compressed; null where it is none that is known."""
    return _TYPES.get(media_type)


def compression_by(data: bytes) -> Compression:
    """How data that begin so are compressed: `none` where neither compressor begins so."""
    return next((compression for first, compression in _FIRST.items() if data.startswith(first)), Compression.NONE)


def layer_type(compression: Compression) -> str:
    """The media type of a layer that is so compressed."""
    return LAYER_TYPE if compression is Compression.NONE else f"{LAYER_TYPE}+{compression.value}"


def compressed(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """`chunks` compressed; with no time, name or thread count in them, so one compressor writes the same each time."""
    if compression is Compression.NONE:
        yield from chunks
        return
    if compression is Compression.GZIP:
        compressor: Any = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    else:
        compressor = zstd.ZstdCompressor(level=_ZSTD_LEVEL)
    for chunk in chunks:
        if data := compressor.compress(chunk):
            yield data
    yield compressor.flush()


def decompressed(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """What was compressed, in pieces of at most a mebibyte or so, however far a byte expands.

    All of `chunks` is read, so that whoever checks them sees all of them.

    Raises:
        IntegrityError: the bytes are not compressed so, end too early, become far more than they are, or are of many
            members (frames, of zstd) that hold nothing.
    """
    if compression is Compression.NONE:
        yield from chunks
        return
    given = made = members = 0
    member: _Gzip | _Zstd | None = None
    for data in _fed(chunks):
        given += len(data)
        while data or (member is not None and member.has_more):
            if member is None or member.eof:  # one ends and another begins
                member = _Gzip() if compression is Compression.GZIP else _Zstd()
                members += 1
                if members > _FREE_MEMBERS + made // tarfile.BLOCKSIZE:
                    raise IntegrityError(f"A layer of {made} bytes is compressed in more than {members} parts")
            try:
                piece, data = member.decompress(data)
            except (zlib.error, zstd.ZstdError):
                raise IntegrityError(f"A layer says that it is {compression.value} data, and is not") from None
            made += len(piece)
            if made > min(MAX_UNPACKED, max(_FREE, _MAX_RATIO * given)):
                raise IntegrityError(f"A layer unpacks to more than {made} bytes after {given}: it looks like a bomb")
            if piece:
                yield piece
    if member is None or not member.eof:
        raise IntegrityError(f"A layer's {compression.value} data ends too early")


def _fed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """`chunks` in small pieces."""
    for chunk in chunks:
        for start in range(0, len(chunk), _FED):
            yield chunk[start : start + _FED]


class _Gzip:
    """One member of gzip data."""

    has_more = False

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(_GZIP)

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""
        return self._decompressor.eof

    def decompress(self, data: bytes) -> tuple[bytes, bytes]:
        """A piece, and what of `data` is still to be given."""
        piece = self._decompressor.decompress(data, _PIECE)
        return piece, self._decompressor.unused_data if self.eof else self._decompressor.unconsumed_tail


class _Zstd:
    """One frame of zstd data."""

    def __init__(self) -> None:
        self._decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW})

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""
        return self._decompressor.eof

    @property
    def has_more(self) -> bool:
        """Whether it holds more than it gave."""
        return not self.eof and not self._decompressor.needs_input

    def decompress(self, data: bytes) -> tuple[bytes, bytes]:
        """A piece, and what of `data` is still to be given."""
        piece = self._decompressor.decompress(data, _PIECE)
        return piece, self._decompressor.unused_data if self.eof else b""
