"""Which checkouts use a store: each is noted when a command uses the store from it, as Nix notes its indirect roots.

A note is a file under `roots/`: the checkout's path, the machine that saw it there, and every digest that its documents
named then, which is what it goes on needing where it cannot be seen (another machine's, a disk that is not mounted).
The note's time of modification is when the checkout last used the store.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.record.files import write_atomically
from harness.record.hashing import digest_of
from harness.spec.digest import hexadecimal
from harness.store.gc import digests_named
from harness.store.store import Store

FOLDER = "roots"
SPECS = "docker"
LOCKS = "lockfiles"
PROTECTED = 30 * 86400.0
"""For how many seconds after its last use a checkout that is not there goes on needing what it needed."""
MAX_BYTES = 64 << 20


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """A note: `host` is the machine that wrote it, `used` Unix time; `present`: that is this one, and it is there.

    `digests` is what its documents named when it was last used, in hexadecimal; null where that was not noted.
    """

    note: Path
    root: Path
    host: str | None
    used: float
    present: bool
    digests: frozenset[str] | None

    @property
    def protected(self) -> bool:
        """Whether it needs what it needed although it is not there: it was not long ago."""
        return self.used > time.time() - PROTECTED


def note_checkout(store: Store, root: Path) -> None:
    """Note that the checkout `root` uses the store now, and for what; nothing where it has no lockfiles.

    Raises:
        PrerequisiteError: the store's disk is full.
    """
    root = root.resolve()
    if not (root / LOCKS).is_dir():
        return
    key = str(root).encode(errors="surrogateescape") + b"\0" + _host().encode()
    path = store.home / FOLDER / hexadecimal(digest_of(key))[:32]
    data = key + b"\0"
    with suppress(UsageError):  # what is needed is not known then, which the note says by naming none
        data += "\n".join(sorted(digests_of(root))).encode()
    with store.explaining():
        with suppress(FileNotFoundError):
            if path.read_bytes() == data:
                os.utime(path)
                return
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)


def noted_checkouts(store: Store) -> tuple[Checkout, ...]:
    """The notes, sorted by the checkouts' paths.

    Raises:
        UsageError: whether a checkout is there cannot be told.
    """
    folder = store.home / FOLDER
    notes = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    return tuple(sorted(map(_read, notes), key=lambda each: (each.root, each.note)))


def forget_checkouts(store: Store, roots: Iterable[Path]) -> None:
    """Let checkouts that are not there need nothing any more.

    Raises:
        UsageError: one is here, or was not noted; nothing was forgotten.
    """
    notes: list[Path] = []
    checkouts = noted_checkouts(store)
    for root in roots:
        found = [each for each in checkouts if str(each.root) == os.path.abspath(root)]  # noqa: PTH100 - a lost path
        if not found:
            raise UsageError(
                f"No checkout {str(root)!a} is noted in the store", hint="`harness store gc` names those that are."
            )
        if all(each.present for each in found):
            raise UsageError(
                f"The checkout {str(root)!a} is there, and needs what its files say", hint="Remove its folder first."
            )
        notes += [each.note for each in found if not each.present]
    for note in notes:
        note.unlink(missing_ok=True)


def digests_of(root: Path) -> set[str]:
    """What a checkout needs, in hexadecimal: every sha256 in its documents, and theirs.

    Raises:
        UsageError: one of them cannot be read.
    """
    digests: set[str] = set()
    for path in documents(root):
        data = read_bounded(path)
        digests |= digests_named(data)
        digests.add(hexadecimal(digest_of(data)))  # an environment is known by the digest of its lock
    return digests


def documents(root: Path, names: Iterable[str] = (SPECS, LOCKS)) -> Iterator[Path]:
    """The files of a checkout that say what it needs: specs, locks, baselines. Links are followed, each folder once.

    Raises:
        UsageError: a folder of them cannot be read, or a link leads nowhere.
    """
    seen: set[tuple[int, int]] = set()
    for name in names:
        if os.path.lexists(root / name):
            yield from _files(root / name, seen)


def read_bounded(path: Path) -> bytes:
    """The bytes of such a file.

    Raises:
        UsageError: it cannot be read, or is larger than any.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unknown(path, error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise _unknown(path, f"it is larger than {MAX_BYTES} bytes")
    return data


def _files(path: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = path.stat()
        if path.is_file():
            yield path
            return
        if not path.is_dir() or (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        found = sorted(path.iterdir())
    except OSError as error:
        reason = "it is a link that leads nowhere" if path.is_symlink() else error.strerror or str(error)
        raise _unknown(path, reason) from error
    for each in found:
        yield from _files(each, seen)


def _read(note: Path) -> Checkout:
    used = note.stat().st_mtime
    path, *rest = note.read_bytes().split(b"\0")
    root = Path(path.decode(errors="surrogateescape"))
    present = True
    try:
        (root / LOCKS).stat()
    except (OSError, ValueError) as error:
        present = False
        if not isinstance(error, FileNotFoundError | NotADirectoryError) or (root / LOCKS).is_symlink():
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"Whether the checkout {root} still uses the store cannot be told: {reason}",
                hint=f"Make it readable, or remove {note} if it does not.",
            ) from error
    host = rest[0].decode() if rest else None
    return Checkout(
        note=note,
        root=root,
        host=host,
        used=used,
        present=present and host in (None, _host()),
        digests=frozenset(rest[1].decode().split()) if len(rest) > 1 and rest[1] else None,
    )


def _host() -> str:
    return os.uname().nodename


def _unknown(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"What {path} needs of the store cannot be told: {reason}", hint="Nothing was removed. Make it readable."
    )
