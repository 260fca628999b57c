"""Layers compressed for their way, against the standard library's and zstd's own formats; and hostile ones."""

import gzip
import random
from collections.abc import Iterator

import pytest
from backports import zstd

from harness.errors import IntegrityError
from harness.images.compression import Compression, compressed, compression_by, decompressed

DATA = random.Random(0).randbytes(3 << 20) + bytes(1 << 20)
PACKED = [Compression.GZIP, Compression.ZSTD]


def pieces(data: bytes, size: int = 10_007) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def pack(data: bytes, compression: Compression) -> bytes:
    return b"".join(compressed(pieces(data), compression))


def unpack(data: bytes, compression: Compression) -> bytes:
    return b"".join(decompressed(pieces(data), compression))


@pytest.mark.parametrize("compression", Compression)
def test_what_is_unpacked_is_what_was_packed(compression: Compression) -> None:
    packed = pack(DATA, compression)
    assert packed == pack(DATA, compression)
    assert unpack(packed, compression) == DATA
    assert compression_by(packed) is compression


def test_others_read_what_is_written_and_are_read() -> None:
    assert gzip.decompress(pack(DATA, Compression.GZIP)) == DATA
    assert zstd.decompress(pack(DATA, Compression.ZSTD)) == DATA
    assert unpack(gzip.compress(DATA[:9]) + gzip.compress(DATA[9:]), Compression.GZIP) == DATA
    assert unpack(zstd.compress(DATA[:9]) + zstd.compress(DATA[9:]), Compression.ZSTD) == DATA


@pytest.mark.parametrize("compression", PACKED)
def test_what_is_cut_short_or_altered_is_refused(compression: Compression) -> None:
    packed = pack(DATA, compression)
    for wrong, why in (
        (packed[:-9], "ends too early"),
        (b"", "ends too early"),
        (b"\0" + packed, "and is not"),
        (packed + b"more", "and is not"),
    ):
        with pytest.raises(IntegrityError, match=why):
            unpack(wrong, compression)


@pytest.mark.parametrize("compression", PACKED)
def test_a_bomb_is_stopped_before_it_fills_the_disk(compression: Compression) -> None:
    bomb = pack(bytes(1 << 30), compression)
    sizes: list[int] = []
    with pytest.raises(IntegrityError, match="looks like a bomb"):
        sizes.extend(len(piece) for piece in decompressed(pieces(bomb), compression))
    assert 1 << 20 < sum(sizes) <= max(64 << 20, 100 * len(bomb))
    small = bytes(60 << 20)  # what is small is none, however well it was packed
    assert unpack(pack(small, compression), compression) == small


def skippable(data: bytes) -> bytes:
    """A frame that zstd's readers pass over (RFC 8878, 3.1.2)."""
    return (0x184D2A50).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


EMPTY = {
    "empty members of gzip": (gzip.compress(b"", mtime=0), Compression.GZIP),
    "empty frames of zstd": (zstd.compress(b""), Compression.ZSTD),
    "frames that are skipped": (skippable(b""), Compression.ZSTD),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_parts_without_end_that_hold_nothing_are_refused(kind: str) -> None:
    part, compression = EMPTY[kind]
    with pytest.raises(IntegrityError, match=r"A layer of 0 bytes is compressed in more than 1[0-9]{3} parts"):
        unpack(part * 100_000, compression)
    # A few are no harm, wherever they stand.
    assert unpack(part * 100 + pack(DATA, compression) + part * 100, compression) == DATA


@pytest.mark.parametrize("compression", PACKED)
def test_a_part_for_each_block_of_a_tar_is_taken(compression: Compression) -> None:
    """As builders write layers of which each file can be read by itself."""
    block = gzip.compress if compression is Compression.GZIP else zstd.compress
    parts = b"".join(block(DATA[start : start + 512]) for start in range(0, 2 << 20, 512))
    assert unpack(parts, compression) == DATA[: 2 << 20]


def test_the_contents_of_a_frame_that_is_skipped_are_nowhere() -> None:
    assert unpack(skippable(b"hidden" * 100_000) + pack(DATA, Compression.ZSTD), Compression.ZSTD) == DATA
    with pytest.raises(IntegrityError, match="ends too early"):
        unpack(pack(DATA, Compression.ZSTD) + skippable(bytes(100))[:-1], Compression.ZSTD)
