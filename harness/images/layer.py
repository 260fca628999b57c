"""A layer: the entries of a part of the tree as one normalised tar, streamed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from harness.errors import IntegrityError
from harness.images import content, tar
from harness.images.tar import END, Kind, header, padding
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.imagelock import BUILDER_FORMAT
from harness.record.hashing import digest_of
from harness.spec.digest import Digest

_FLUSH = 1 << 20
# The digest of the code that makes bytes of entries, in case that it changes and the builder's format does not. It is
# taken as the code is loaded, which may change on disk while it runs.
_WRITER = digest_of(b"".join(Path(module).read_bytes() for module in (__file__, content.__file__, tar.__file__)))


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


def layer_recipe(entries: Sequence[tuple[str, Entry]]) -> Digest:
    """The digest of all that decides a layer's bytes; no content is read. Of equal recipes the layers are equal."""
    first: dict[int, str] = {}
    rows: list[tuple[str, str, int, str]] = []
    for path, entry in entries:
        match entry:
            case Directory(mode):
                rows.append((path, "folder", mode, ""))
            case Symlink(target):
                rows.append((path, "link", 0, target))
            case File(mode, data) if (link := first.setdefault(id(data), path)) != path:
                rows.append((path, "hard link", mode, link))
            case File(mode, data):
                rows.append((path, "file", mode, data.source))
    return digest_of(msgspec.json.encode((BUILDER_FORMAT, _WRITER, rows)))


def _pieces(entries: Sequence[tuple[str, Entry]]) -> Iterator[bytes]:
    written: dict[int, str] = {}
    for path, entry in entries:
        match entry:
            case Directory(mode):
                yield header(path, Kind.DIRECTORY, mode)
            case Symlink(target):
                yield header(path, Kind.SYMLINK, 0o777, target=target)
            case File(mode, data) if (first := written.setdefault(id(data), path)) != path:
                yield header(path, Kind.HARDLINK, mode, target=first)
            case File(mode, data):
                yield header(path, Kind.FILE, mode, size=data.size)
                size = 0
                for chunk in data.chunks():
                    size += len(chunk)
                    yield chunk
                if size != data.size:
                    raise IntegrityError(f"/{path} has {size} bytes where its archive says {data.size}")
                yield padding(size)
    yield END
