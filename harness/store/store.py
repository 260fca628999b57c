"""The store: a folder of this user's cache in which every object is found by the digest of its content.

Every process that has a store open holds a lease in it, and what it uses is marked with the time, so that nothing goes
away under it (`store.gc`). Objects are written under a temporary name, synced and renamed, so that a crash at any point
leaves an object whole or not there. They are checked when they are written and whenever their bytes leave the store;
what fails is set aside in `quarantine/`. Several processes may use one store: two that write the same object write the
same bytes.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.record.files import sync_folder
from harness.record.hashing import digest_of_stream
from harness.spec.digest import Digest, hexadecimal
from harness.store.temporary import claim_file, claim_folder, remove_leftovers, remove_tree
from harness.store.writer import ObjectWriter

LEASES = "leases"
"""The folder in which every process that has the store open holds a locked file, as old as that."""
USE = "use"
"""The lock under which something is marked as used (shared), or taken out of the store (alone)."""
MARKER = "harness-store"
"""The file that says that a folder is a store, so that nothing is ever written to, or removed from, another."""
FOLDERS = ("objects", "trees", "temporary", "partial", "quarantine", "locks", LEASES)
"""What every store has, in the order in which it is made."""
_KNOWN = {
    *FOLDERS,
    "bytecode",
    "environments",
    "images",
    "kept",
    "layers",
    "readings",
    "roots",
    "surveys",
    "lost+found",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOCK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")
_CHUNK = 1 << 20


class MissingObjectError(PrerequisiteError):
    """The store does not hold an object."""


class CorruptObjectError(IntegrityError):
    """An object of the store is not what its digest says. It has been set aside, so it can be fetched or made again."""


class Store:
    """A store in the folder `home`, which is made where it is missing."""

    def __init__(self, home: Path) -> None:
        """Open the store, and remove what killed processes left in it.

        Raises:
            UsageError: `home` is not an absolute path, is not a folder, is a folder of something else or another
                user's, or cannot be made or written.
        """
        if not home.is_absolute():
            raise UsageError(f"The store's folder {str(home)!r} is not an absolute path", hint=_MOVE)
        self.home = home
        self.temporary = home / "temporary"
        try:
            home.mkdir(parents=True, exist_ok=True)
            _mark(home)
            for folder in FOLDERS:
                (home / folder).mkdir(parents=True, exist_ok=True)
            descriptor, lease = claim_file(home / LEASES)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"The store's folder {home} cannot be used: {reason}", hint=_MOVE) from error
        self._lease = weakref.finalize(self, _end_lease, descriptor, lease, os.getpid())
        remove_leftovers(self.temporary)
        remove_leftovers(home / LEASES)

    def close(self) -> None:
        """End the lease, which else ends with the process: what was used may go. The store stays usable."""
        self._lease()

    @classmethod
    def default(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The user's store: `HARNESS_HOME`, else `hermetic-harness` in the cache folder (XDG, `~/.cache`).

        Raises:
            UsageError: that folder cannot be used.
        """
        if home := environment.get("HARNESS_HOME"):
            if not Path(home).is_absolute():
                raise UsageError(f"HARNESS_HOME is {home!r}, which is not an absolute path", hint=_MOVE)
            return cls(Path(home))
        cache = environment.get("XDG_CACHE_HOME", "")
        # The XDG specification: a relative path is to be ignored.
        if Path(cache).is_absolute():
            return cls(Path(cache) / "hermetic-harness")
        user = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() ignores `environment`
        return cls(Path(user) / ".cache" / "hermetic-harness")

    def path(self, digest: Digest) -> Path:
        """Where the object of that digest is or would be. Not checked: for a reader that checks it itself."""
        name = hexadecimal(digest)
        return self.home / "objects" / name[:2] / name

    def has(self, digest: Digest) -> bool:
        """Whether the store holds an object, by name alone; it is then in use by this process."""
        path = self.path(digest)
        return self.use(path) and path.is_file()

    def use(self, path: Path) -> bool:
        """Mark something in the store as used now, so that it stays while this process lives; whether it is there.

        The mark is its time of modification, which is in no digest.

        Raises:
            PrerequisiteError: it is another user's, so that it cannot be marked, and might go at any moment.
        """
        with self.explaining(), (self.home / "locks" / USE).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            try:
                os.utime(path, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except PermissionError as error:
                raise PrerequisiteError(
                    f"{path} in the store is another user's, so it cannot be marked as used",
                    hint=f"A store is of one user: give it back to yourself (chown -R {os.geteuid()} {self.home}), "
                    "or set HARNESS_HOME to a folder of your own.",
                ) from error
        return True

    @contextmanager
    def writer(self, expected: Digest | None = None, *, durable: bool = True) -> Iterator[ObjectWriter]:
        """A file to write an object to; at the end of the `with` block it is in the store, and `.digest` is known.

        `durable=False` does not wait for the disk: after a power cut the object may be altered, which is noticed when
        it is next read. An exception inside the block leaves nothing.

        Raises:
            IntegrityError: the bytes written do not have the digest `expected`.
            PrerequisiteError: the disk is full or the folder has become unwritable.
        """
        with self.explaining():
            descriptor, temporary = claim_file(self.temporary)
            try:
                with open(temporary, "wb", opener=lambda *_: descriptor) as file:
                    writer = ObjectWriter(file)
                    yield writer
                    if expected is not None and writer.digest != expected:
                        raise IntegrityError(f"The bytes written are {writer.digest}, not {expected}")
                    file.flush()
                    os.fchmod(file.fileno(), 0o444)
                    if durable:
                        os.fsync(file.fileno())
                    self._place(temporary, writer.digest, durable=durable)
            finally:
                temporary.unlink(missing_ok=True)

    def put_bytes(self, data: bytes) -> Digest:
        """Store some bytes.

        Raises:
            PrerequisiteError: the disk is full or the folder has become unwritable.
        """
        with self.writer() as writer:
            writer.write(data)
        return writer.digest

    def put_file(self, path: Path, expected: Digest | None = None) -> Digest:
        """Store a copy of a file; what is hashed is what was copied.

        Raises:
            OSError: the file cannot be read.
            IntegrityError: its bytes do not have the digest `expected`.
            PrerequisiteError: the disk is full or the folder has become unwritable.
        """
        with path.open("rb") as source, self.writer(expected) as writer:
            while chunk := source.read(_CHUNK):
                writer.write(chunk)
        return writer.digest

    def adopt(self, path: Path, expected: Digest) -> None:
        """Make the file `path`, which lies in this store's folder, the object `expected`; its bytes are hashed first.

        Raises:
            IntegrityError: they do not have that digest; the file stays where it is.
        """
        with self.explaining(), path.open("rb") as file:
            actual = digest_of_stream(file)
            if actual != expected:
                raise IntegrityError(f"{path} is {actual}, not {expected}")
            os.fchmod(file.fileno(), 0o444)
            os.utime(file.fileno())
            os.fsync(file.fileno())
            self._place(path, expected, durable=True)

    def verified_path(self, digest: Digest) -> Path:
        """Where an object is, after its bytes have been hashed and found right.

        Raises:
            MissingObjectError: the store does not hold it.
            CorruptObjectError: it is altered or truncated; it has been set aside.
        """
        with self.open(digest):
            return self.path(digest)

    @contextmanager
    def open(self, digest: Digest) -> Iterator[BinaryIO]:
        """An object's bytes, hashed and found right before the first is handed out.

        Raises:
            MissingObjectError: the store does not hold it.
            CorruptObjectError: it is altered or truncated; it has been set aside.
        """
        path = self.path(digest)
        self.use(path)
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise MissingObjectError(f"The store {self.home} does not hold {digest}") from error
        except OSError as error:
            raise self.corrupt(path, digest, error.strerror or "unreadable") from error
        with file:
            try:
                actual = digest_of_stream(file)
            except OSError as error:
                raise self.corrupt(path, digest, error.strerror or "unreadable") from error
            if actual != digest:
                raise self.corrupt(path, digest, f"its bytes are {actual}")
            file.seek(0)
            yield file

    def read_bytes(self, digest: Digest) -> bytes:
        """All bytes of an object, checked.

        Raises:
            MissingObjectError: the store does not hold it.
            CorruptObjectError: it is altered or truncated; it has been set aside.
        """
        with self.open(digest) as file:
            return file.read()

    @contextmanager
    def lock(self, name: str, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Keep every other process and thread out of the lock called `name`; `waiting` is called if one is inside.

        The lock ends with the process, however that ends.
        """
        if _LOCK_NAME.match(name) is None:
            raise ValueError(f"{name!r} is not a name for a lock")
        with self.explaining():
            file = (self.home / "locks" / name).open("ab")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A folder on the store's disk, removed at the end; if the process is killed, when a store is next opened."""
        with self.explaining():
            descriptor, folder = claim_folder(self.temporary)
            try:
                yield folder
            finally:
                remove_tree(folder)
                os.close(descriptor)

    def corrupt(self, path: Path, digest: Digest, reason: str) -> CorruptObjectError:
        """Set aside what lies at `path` and is not `digest`; the error that says so, to be raised."""
        aside = self.home / "quarantine" / f"{hexadecimal(digest)}.{secrets.token_hex(4)}"
        with suppress(FileNotFoundError), self.explaining():
            if stat.S_ISDIR(path.lstat().st_mode):
                path.chmod(0o755)
            path.rename(aside)
        return CorruptObjectError(
            f"{digest} in the store is altered or truncated: {reason}. It was moved to {aside}",
            hint="Run the command again: what is missing is fetched or made anew.",
        )

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn a full disk or a lost permission inside the block into an error that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                free = shutil.disk_usage(self.home).free
                raise PrerequisiteError(
                    f"The disk of the store {self.home} is full ({free / 1e6:.0f} MB free)", hint=f"Free space. {_MOVE}"
                ) from error
            raise

    def _place(self, temporary: Path, digest: Digest, *, durable: bool) -> None:
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True)
        temporary.rename(path)
        if durable:
            sync_folder(path.parent)


def _mark(home: Path) -> None:
    """Mark a folder as a store: an empty one, or a store from before there were marks, which is known by its folders.

    Raises:
        UsageError: something else lies in it, or it is another user's (root may use every store).
    """
    if os.geteuid() not in (0, owner := home.stat().st_uid):
        raise UsageError(
            f"The store's folder {home} belongs to another user (number {owner})",
            hint="A store is of one user: set HARNESS_HOME to a folder of your own.",
        )
    names = {path.name for path in home.iterdir()}
    if MARKER in names:
        return
    strange = sorted(names - _KNOWN)
    if strange or (names - {"lost+found"} and "objects" not in names):
        raise UsageError(
            f"The folder {home} is no store: {(strange or sorted(names))[0]!a} lies in it",
            hint="Nothing in it was touched. Set HARNESS_HOME to an empty folder, or to one that does not exist yet.",
        )
    (home / MARKER).write_text("This folder is a store of the hermetic harness, which removes files from it.\n")


def _end_lease(descriptor: int, path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child that ends has its parent's lease
        with suppress(OSError):
            path.unlink(missing_ok=True)
    os.close(descriptor)


_MOVE = "Set HARNESS_HOME to the absolute path of a folder that you may write, with a few gigabytes free."
