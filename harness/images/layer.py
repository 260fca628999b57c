"""A layer: the entries of a part of the tree as one normalised tar, streamed."""

from collections.abc import Iterator, Sequence

import msgspec

from harness.errors import IntegrityError
from harness.images.tar import END, Kind, header, padding
from harness.images.tree import Directory, Entry, File, Symlink

_FLUSH = 1 << 20


class PlannedLayer(msgspec.Struct, frozen=True):
    """A layer's name, its entries sorted by path, and about how many bytes it will have."""

    name: str
    entries: list[tuple[str, Entry]]
    size: int


def layer_chunks(entries: Sequence[tuple[str, Entry]]) -> Iterator[bytes]:
    """The bytes of the layer that holds `entries`, which are sorted by path, in chunks of about a mebibyte.

    Raises:
        IntegrityError: a content is not what its archive says.
    """
    waiting: list[bytes] = []
    size = 0
    for piece in _pieces(entries):
        waiting.append(piece)
        size += len(piece)
        if size >= _FLUSH:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    yield b"".join(waiting)


def layer_size(entries: Sequence[tuple[str, Entry]]) -> int:
    """About how many bytes the layer will have: contents and a block a member."""
    return sum(512 + (entry.content.size if isinstance(entry, File) else 0) for _, entry in entries)


def _pieces(entries: Sequence[tuple[str, Entry]]) -> Iterator[bytes]:
    written: dict[int, str] = {}
    for path, entry in entries:
        match entry:
            case Directory(mode):
                yield header(path, Kind.DIRECTORY, mode)
            case Symlink(target):
                yield header(path, Kind.SYMLINK, 0o777, target=target)
            case File(mode, content) if (first := written.setdefault(id(content), path)) != path:
                yield header(path, Kind.HARDLINK, mode, target=first)
            case File(mode, content):
                yield header(path, Kind.FILE, mode, size=content.size)
                size = 0
                for chunk in content.chunks():
                    size += len(chunk)
                    yield chunk
                if size != content.size:
                    raise IntegrityError(f"/{path} has {size} bytes where its archive says {content.size}")
                yield padding(size)
    yield END
