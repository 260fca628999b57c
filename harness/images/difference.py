"""Where two layers differ first: what a build that missed its lock says."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
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


def describe_layer(expected: LayerLock, actual: LayerLock, store: Store) -> str:
    """What is wrong with a layer that came out with another digest than its lock says, in half a sentence."""
    problem = f"layer {expected.name} is {_short(actual.digest)}, and its lock says {_short(expected.digest)}"
    try:
        where = first_difference(store.verified_path(expected.digest), store.verified_path(actual.digest))
    except (HarnessError, tarfile.TarError):
        return problem
    return f"{problem}: {where or 'its members are alike, but not how they are written'}"


def first_difference(expected: Path, actual: Path) -> str | None:
    """The first path, in sorted order, at which two layers differ, and how; None if all members are alike.

    Raises:
        tarfile.TarError: one of the two is no tar archive.
    """
    with tarfile.open(expected, "r:") as left, tarfile.open(actual, "r:") as right:
        ours, theirs = _Members(left), _Members(right)
        while (one := ours.member) is not None or theirs.member is not None:
            other = theirs.member
            if other is not None and (one is None or other.name < one.name):
                return f"/{other.name} is there and should not be"
            if one is not None and (other is None or one.name < other.name):
                return f"/{one.name} is missing"
            assert one is not None and other is not None  # noqa: S101, PT018 - told apart above
            if problem := _how(one, other) or ours.content_differs(theirs):
                return f"/{one.name} {problem}"
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

    def content_differs(self, other: "_Members") -> str | None:
        one, two = self._digest(), other._digest()
        return None if one == two else f"has other content: {_short(two)} where {_short(one)} was expected"

    def _digest(self) -> Digest | None:
        stream: Any = (
            self._archive.extractfile(self.member) if self.member is not None and self.member.isreg() else None
        )
        return digest_of_stream(stream) if stream is not None else None


def _how(one: tarfile.TarInfo, other: tarfile.TarInfo) -> str | None:
    if one.type != other.type:
        return f"is {_KINDS.get(other.type, 'special')} where {_KINDS.get(one.type, 'something special')} was expected"
    if one.mode != other.mode:
        return f"has mode {other.mode:04o} where {one.mode:04o} was expected"
    if one.linkname != other.linkname:
        return f"leads to {other.linkname} where {one.linkname} was expected"
    if one.isreg() and one.size != other.size:
        return f"has {other.size} bytes where {one.size} were expected"
    if (one.mtime, one.uid, one.gid, one.uname, one.gname) != (
        other.mtime,
        other.uid,
        other.gid,
        other.uname,
        other.gname,
    ):
        return "has another time or owner"
    return None


def _short(digest: Digest | None) -> str:
    return digest[: len("sha256:") + 12] if digest else "none"
