"""What was found in wheels and Debian packages, kept in the store: the next image that holds them need not look again.

Looking takes two seconds for all of an image's, and most changes leave all but one of them as they are.
"""

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from harness.errors import IntegrityError, advising
from harness.images import content, paths, wheel
from harness.images.content import Content, Inline, Member, ZipMember
from harness.images.deb import read_deb
from harness.images.inputs import UNFIT
from harness.images.paths import Excludes
from harness.images.tree import Entry, File
from harness.locking import architecture, bounded, debfile
from harness.locking.debfile import DebFile
from harness.locking.debian import DebianPackage
from harness.locking.python import LockedWheel
from harness.record.files import write_atomically
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, hexadecimal
from harness.store.store import CorruptObjectError, MissingObjectError, Store

READINGS = "readings"
"""The store's folder of notes: what was found in which artifact."""

Note = TypeVar("Note")

# What decides how an artifact is read, besides itself: the code here, and the libraries. It is taken as the code is
# loaded, which may change on disk while it runs, and which a user that a build is verified as may not read.
_MODULES = (wheel, content, paths, architecture, bounded, debfile)
_READER = (
    platform.python_version(),
    version("installer"),
    version("packaging"),
    digest_of(b"".join(Path(str(path)).read_bytes() for path in (__file__, *(one.__file__ for one in _MODULES)))),
)


class Read(msgspec.Struct, frozen=True):
    """A wheel's size in bytes, what it says that it needs, and what installing it puts where."""

    size: int
    needs: tuple[str, ...]
    entries: list[tuple[str, Entry]]


class _File(msgspec.Struct, frozen=True, array_like=True):
    path: str
    mode: int
    content: Member | bytes


class _Wheel(msgspec.Struct, frozen=True):
    digest: Digest
    size: int
    needs: tuple[str, ...]
    files: list[_File]


class _Package(msgspec.Struct, frozen=True):
    digest: Digest
    data: Digest


class Readings:
    """Reads artifacts for an image of Python `python` on `platform`, without what of a wheel matches `exclude`.

    `artifact` gives a verified file by digest; of what was read before it is asked when the bytes are needed. Where all
    is to be read `anew`, nothing that was found before counts.
    """

    def __init__(
        self,
        store: Store,
        artifact: Callable[[Digest], Path],
        *,
        python: str,
        platform: str,
        exclude: Sequence[str],
        anew: bool,
    ) -> None:
        self._store = store
        self._artifact = artifact
        self._python = python
        self._platform = platform
        self._patterns = tuple(exclude)
        self._exclude = Excludes(exclude)
        self._anew = anew

    def wheel(self, locked: LockedWheel) -> Read:
        """As `wheel.read_wheel`; the files' bytes are checked whenever they are read.

        Raises:
            IntegrityError: as that.
            PrerequisiteError: the disk is full.
        """
        note = self._note(locked, self._python, self._platform, self._patterns, _READER)
        kept = self._kept(note, _Wheel)
        if kept is not None:
            archive = cache(lambda: self._artifact(locked.digest).open("rb"))
            entries: list[tuple[str, Entry]] = [
                (one.path, File(one.mode, _content(one, archive, locked))) for one in kept.files
            ]
            return Read(kept.size, kept.needs, entries)
        path = self._artifact(locked.digest)
        read = wheel.read_wheel(locked, path, python=self._python, platform=self._platform, exclude=self._exclude)
        size, files = path.stat().st_size, [_file(path, entry) for path, entry in read.entries]
        self._keep(note, _Wheel(locked.digest, size, read.needs, files))
        return Read(size, read.needs, read.entries)

    @advising(IntegrityError, UNFIT)
    def package(self, package: DebianPackage) -> list[tuple[str, Entry]]:
        """As `deb.read_deb`; what the package's data unpack to is kept.

        Raises:
            IntegrityError: as that.
            PrerequisiteError: the disk is full.
        """

        def unpack(deb: DebFile) -> BinaryIO:
            note = self._note(package.digest, _READER)
            kept = self._kept(note, _Package)
            if kept is not None:
                with suppress(MissingObjectError, CorruptObjectError):
                    return self._store.verified_path(kept.data).open("rb")
            with self._store.writer(durable=False) as writer:
                deb.write_data(writer)
            self._keep(note, _Package(package.digest, writer.digest))
            return self._store.path(writer.digest).open("rb")

        return read_deb(package, self._artifact(package.digest), unpack)

    def _note(self, *asked: object) -> Path:
        return self._store.home / READINGS / hexadecimal(digest_of(msgspec.json.encode(asked)))

    def _kept(self, note: Path, kind: type[Note]) -> Note | None:
        """What a note says, if it may be used, is there and is whole."""
        if self._anew or not self._store.use(note):
            return None
        first, _, text = note.read_bytes().partition(b"\n")
        return msgspec.json.decode(text, type=kind) if first == digest_of(text).encode() else None

    def _keep(self, note: Path, found: _Wheel | _Package) -> None:
        text = msgspec.json.encode(found)
        with self._store.explaining():
            note.parent.mkdir(exist_ok=True)
            write_atomically(note, f"{digest_of(text)}\n".encode() + text, durable=False)


def _file(path: str, entry: Entry) -> _File:
    match entry:
        case File(mode, ZipMember(member=member)):
            return _File(path, mode, member)
        case File(mode, Inline(data=data)):
            return _File(path, mode, data)
    raise TypeError(f"A wheel has {path}, which is no file that it could have")


def _content(kept: _File, archive: Callable[[], BinaryIO], locked: LockedWheel) -> Content:
    if isinstance(kept.content, bytes):
        return Inline(kept.content)
    return ZipMember(archive, kept.content, filename=locked.filename, digest=locked.digest)
