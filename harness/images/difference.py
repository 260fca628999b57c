"""Where two layers differ first, down to the member and the field: what a build that missed its lock says."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from harness.errors import HarnessError
from harness.images.content import CHUNK
from harness.locking.imagelock import LayerLock
from harness.record.hashing import digest_of_stream
from harness.spec.digest import Digest
from harness.store.store import Store

_KINDS = {
    tarfile.REGTYPE: "a file",
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a link",
    tarfile.DIRTYPE: "a folder",
}
_OWNERSHIP = {"mtime": "time", "uid": "owner", "gid": "group", "uname": "owner's name", "gname": "group's name"}

# The fields of a header with their ends, for what tarfile does not tell.
# https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06
_FIELDS = (
    (100, "name"), (108, "mode"), (116, "uid"), (124, "gid"), (136, "size"), (148, "mtime"), (156, "checksum"),
    (157, "type"), (257, "linkname"), (263, "magic"), (265, "version"), (297, "uname"), (329, "gname"),
    (337, "devmajor"), (345, "devminor"), (500, "prefix"), (512, "padding"),
)  # fmt: skip


class Difference(msgspec.Struct, frozen=True):
    """The first member at which two layers differ, the field in which it does, and that in words."""

    member: str
    field: str
    problem: str

    def __str__(self) -> str:
        """The member as an absolute path, and what is wrong with it."""
        return f"/{self.member} {self.problem}"


def describe_layer(expected: LayerLock, actual: LayerLock, store: Store) -> str:
    """What is wrong with a layer that came out otherwise than its lock says, in half a sentence."""
    if actual.digest == expected.digest:
        return f"layer {expected.name} has {actual.size} bytes, and its lock says {expected.size}"
    problem = f"layer {expected.name} is {_short(actual.digest)}, and its lock says {_short(expected.digest)}"
    try:
        where = first_difference(store.verified_path(expected.digest), store.verified_path(actual.digest))
    except (HarnessError, tarfile.TarError):
        return problem
    return f"{problem}: {where or 'its members are alike, but not what follows them'}"


def first_difference(expected: Path, actual: Path) -> Difference | None:
    """The first member, in the order of the layers, at which they differ, and how; None if all are alike.

    Raises:
        tarfile.TarError: one of the two is no tar archive.
    """
    with tarfile.open(expected, "r:") as left, tarfile.open(actual, "r:") as right:
        ours, theirs = _Members(left), _Members(right)
        while (one := ours.member) is not None or theirs.member is not None:
            other = theirs.member
            if one is None or other is None or one.name != other.name:
                return _misplaced(one, other, left, right)
            if found := _how(one, other) or ours.content(theirs) or ours.header(theirs):
                return Difference(one.name, *found)
            ours.advance()
            theirs.advance()
    return None


class _Members:
    """The members of a layer, one after the other."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._rest: Iterator[tarfile.TarInfo] = iter(archive)
        self.member = next(self._rest, None)

    def advance(self) -> None:
        self.member = next(self._rest, None)

    def content(self, other: "_Members") -> tuple[str, str] | None:
        """How the contents of two files differ: their digests, and from which byte on."""
        one, two = self._open(), other._open()
        if one is None or two is None:
            return None
        with one, two:
            place = _first_byte(one, two)
            if place is None:
                return None
            one.seek(0)
            two.seek(0)
            expected, actual = digest_of_stream(one), digest_of_stream(two)  # type: ignore[arg-type]
        told = f"has other content: {_short(actual)} where {_short(expected)} was expected, from byte {place} on"
        return "content", told

    def header(self, other: "_Members") -> tuple[str, str] | None:
        """How the headers of two members differ that mean the same."""
        one, two = self._header(), other._header()
        if one == two:
            return None
        pairs = enumerate(zip(one, two, strict=False))
        place = next((place for place, (left, right) in pairs if left != right), min(len(one), len(two)))
        field = next(name for end, name in _FIELDS if place % tarfile.BLOCKSIZE < end)
        return field, f"is written in another way: its header's {field} differs at byte {place}"

    def _open(self) -> IO[bytes] | None:
        regular = self.member is not None and self.member.isreg()
        return self._archive.extractfile(self.member) if regular and self.member is not None else None

    def _header(self) -> bytes:
        file = self._archive.fileobj
        if self.member is None or file is None:
            return b""
        file.seek(self.member.offset)
        return file.read(self.member.offset_data - self.member.offset)


def _misplaced(
    one: tarfile.TarInfo | None, other: tarfile.TarInfo | None, left: tarfile.TarFile, right: tarfile.TarFile
) -> Difference:
    """What is wrong where two layers go on with members of different names."""
    expected, actual = set(left.getnames()), set(right.getnames())
    if other is not None and other.name not in expected:
        return Difference(other.name, "name", "is there and should not be")
    if one is not None and one.name not in actual:
        return Difference(one.name, "name", "is missing")
    name = other.name if other is not None else one.name if one is not None else ""
    wanted = f"/{one.name}" if one is not None else "the end"
    return Difference(name, "order", f"comes where {wanted} was expected")


def _how(one: tarfile.TarInfo, other: tarfile.TarInfo) -> tuple[str, str] | None:
    if one.type != other.type:
        kinds = _KINDS.get(other.type, "special"), _KINDS.get(one.type, "something special")
        return "type", f"is {kinds[0]} where {kinds[1]} was expected"
    if one.mode != other.mode:
        return "mode", f"has mode {other.mode:04o} where {one.mode:04o} was expected"
    if one.linkname != other.linkname:
        return "linkname", f"leads to {other.linkname} where {one.linkname} was expected"
    if one.isreg() and one.size != other.size:
        return "size", f"has {other.size} bytes where {one.size} were expected"
    for field, word in _OWNERSHIP.items():
        expected, actual = getattr(one, field), getattr(other, field)
        if expected != actual:
            return field, f"has the {word} {actual!r} where {expected!r} was expected ({field})"
    return None


def _first_byte(one: IO[bytes], two: IO[bytes]) -> int | None:
    """The offset of the first byte in which two streams differ."""
    start = 0
    while True:
        left, right = one.read(CHUNK), two.read(CHUNK)
        if left != right:
            pairs = enumerate(zip(left, right, strict=False))
            return start + next((place for place, (a, b) in pairs if a != b), min(len(left), len(right)))
        if not left:
            return None
        start += len(left)


def _short(digest: Digest) -> str:
    return digest[: len("sha256:") + 12]
