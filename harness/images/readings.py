"""What was found in a wheel, kept in the store: the next image that holds it need not look again.

Looking takes a second for all of an image's wheels, and most changes leave all but one of them as they are.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness.images import content, paths, wheel
from harness.images.content import Content, Inline, Member, ZipMember
from harness.images.paths import Excludes
from harness.images.tree import Entry, File
from harness.locking.python import LockedWheel
from harness.record.files import write_atomically
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, hexadecimal
from harness.store.store import Store

WHEELS = "wheels"
"""The store's folder of readings."""


class _File(msgspec.Struct, frozen=True, array_like=True):
    path: str
    mode: int
    content: Member | bytes


class _Reading(msgspec.Struct, frozen=True):
    wheel: Digest
    files: list[_File]


class Readings:
    """Reads wheels for an image of Python `python` on `platform`, without what matches the patterns of `exclude`.

    Where they are to be read `anew`, nothing that was found before counts.
    """

    def __init__(self, store: Store, *, python: str, platform: str, exclude: Sequence[str], anew: bool) -> None:
        self._store = store
        self._python = python
        self._platform = platform
        self._patterns = tuple(exclude)
        self._exclude = Excludes(exclude)
        self._anew = anew

    def read(self, locked: LockedWheel, path: Path) -> list[tuple[str, Entry]]:
        """As `wheel.read_wheel`, of which this is the memory; the files' bytes are checked whenever they are read.

        Raises:
            IntegrityError: as that.
            PrerequisiteError: the disk is full.
        """
        asked = (locked, self._python, self._platform, self._patterns, _reader())
        note = self._store.home / WHEELS / hexadecimal(digest_of(msgspec.json.encode(asked)))
        kept = None if self._anew else self._kept(note)
        if kept is not None:
            file = path.open("rb")
            return [(one.path, File(one.mode, _content(one.content, file, locked))) for one in kept.files]
        entries = wheel.read_wheel(locked, path, python=self._python, platform=self._platform, exclude=self._exclude)
        self._keep(note, _Reading(locked.digest, [_file(path, entry) for path, entry in entries]))
        return entries

    def _kept(self, note: Path) -> _Reading | None:
        """What a note says, if there is one and it is whole."""
        if not self._store.use(note):
            return None
        first, _, text = note.read_bytes().partition(b"\n")
        if first.decode(errors="replace") != digest_of(text):
            return None
        return msgspec.json.decode(text, type=_Reading)

    def _keep(self, note: Path, reading: _Reading) -> None:
        text = msgspec.json.encode(reading)
        with self._store.explaining():
            note.parent.mkdir(exist_ok=True)
            write_atomically(note, f"{digest_of(text)}\n".encode() + text, durable=False)


@cache
def _reader() -> tuple[str, Digest]:
    """What decides how a wheel is read, besides the wheel: the library that installs, and the code here."""
    modules = (__file__, wheel.__file__, content.__file__, paths.__file__)
    return version("installer"), digest_of(b"".join(Path(module).read_bytes() for module in modules))


def _file(path: str, entry: Entry) -> _File:
    match entry:
        case File(mode, ZipMember(member=member)):
            return _File(path, mode, member)
        case File(mode, Inline(data=data)):
            return _File(path, mode, data)
    raise TypeError(f"A wheel has {path}, which is no file that it could have")


def _content(kept: Member | bytes, file: BinaryIO, locked: LockedWheel) -> Content:
    if isinstance(kept, bytes):
        return Inline(kept)
    return ZipMember(file, kept, filename=locked.filename, digest=locked.digest)
