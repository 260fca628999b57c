"""What nothing needs any more, found and removed, while other processes use the store.

The room knows digests alone: who needs which is told by its caller. Besides what is needed, three things stay: what was
used after any living process opened the store (`Store.use` marks it, a lease in `leases/` says since when), what was
used not long ago, and what the harness did not put there. Nothing is followed that is a link.
"""

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness.spec.digest import digest_from_hex
from harness.store.progress import SILENT, Progress
from harness.store.store import LEASES, USE, Store
from harness.store.temporary import remove_tree

_HEX = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_CHUNK = 4 << 20
_LOCK = "housekeeping"


class Kind(StrEnum):
    """What lies in a store, each kind in its own folder, in the order in which it is listed."""

    OBJECT = "objects"
    TREE = "trees"
    ENVIRONMENT = "environments"
    BYTECODE = "bytecode"
    RECIPE = "layers"
    READING = "readings"
    OUTCOME = "images"
    PARTIAL = "partial"
    QUARANTINE = "quarantine"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in a store: `path` is relative to it, `size` in bytes, `used` when it was last used (Unix time)."""

    kind: Kind
    path: str
    size: int
    used: float


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in a store. Only what is in `garbage` and was last used before `before` may go.

    `waiting` needs nothing but time: nobody needs it, but it was used not long ago or may be in use. `foreign` are
    paths that are not the harness's, which stay.
    """

    needed: tuple[Item, ...]
    waiting: tuple[Item, ...]
    garbage: tuple[Item, ...]
    foreign: tuple[str, ...]
    before: float


def digests_named(data: bytes) -> set[str]:
    """Every sha256 that stands in a document, as hexadecimal text."""
    return {found.decode() for found in _NAMED.findall(data)}


def find_garbage(store: Store, needed: Iterable[str], *, older_than: float, progress: Progress = SILENT) -> Findings:
    """What lies in a store, and what of it may go: not `needed`, and last used more than `older_than` seconds ago.

    `needed` are digests in hexadecimal. An object that is needed and is a JSON document (an image's manifest, the
    listing of a tree) needs whatever it names.
    """
    before = min([time.time() - older_than, *_leases(store)])
    with progress.task("Looking through the store"):
        foreign: list[str] = []
        items = list(_items(store, foreign))
        wanted = _closure(store, needed)
        for item in items:
            if item.kind is Kind.READING and (named := _pointed(store.home / item.path)) & wanted:
                wanted |= named  # what a package that is needed was unpacked to
        stays = [_is_needed(store, item, wanted) for item in items]
    loose = [item for item, needs in zip(items, stays, strict=True) if not needs]
    return Findings(
        needed=tuple(item for item, needs in zip(items, stays, strict=True) if needs),
        waiting=tuple(item for item in loose if item.used >= before),
        garbage=tuple(item for item in loose if item.used < before),
        foreign=tuple(sorted(foreign)),
        before=before,
    )


def remove_garbage(store: Store, findings: Findings, *, progress: Progress = SILENT) -> tuple[Item, ...]:
    """Remove what was found, but for what has come into use meanwhile; what was removed.

    Each thing is whole in the store or gone, whatever ends this half-way: it is moved out first.
    """
    waiting = "Another process is tidying the store up: waiting for it"
    removed: list[Item] = []
    with store.lock(_LOCK, waiting=lambda: progress.note(waiting)), store.temporary_folder() as grave:
        total = sum(item.size for item in findings.garbage)
        with progress.task("Removing", total=total, unit="bytes") as bar:
            for item in findings.garbage:
                target = grave / str(len(removed))
                if _take(store, item, findings.before, target):
                    remove_tree(target)
                    removed.append(item)
                bar.advance(item.size)
    return tuple(removed)


def _leases(store: Store) -> Iterator[float]:
    """Since when each living process has had the store open."""
    for path in (store.home / LEASES).iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield path.stat().st_mtime


def _closure(store: Store, needed: Iterable[str]) -> set[str]:
    wanted: set[str] = set()
    new = set(needed)
    while new:
        wanted |= new
        new = {name for digest in new for name in _names(store.path(digest_from_hex(digest)))} - wanted
    return wanted


def _names(path: Path) -> set[str]:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return set()
        with path.open("rb") as file:
            return _scan(file) if file.read(1) == b"{" else set()  # all but JSON documents are opaque
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _scan(file: BinaryIO) -> set[str]:
    """Every sha256 in a document of any size; where two parts of it meet, rather one too many than one too few."""
    found: set[str] = set()
    rest = b""
    while chunk := file.read(_CHUNK):
        found |= digests_named(rest + chunk)
        rest = (rest + chunk)[-65:]  # a digest and what stands before it
    return found


def _is_needed(store: Store, item: Item, wanted: set[str]) -> bool:
    name = item.path.rpartition("/")[2]
    match item.kind:
        case Kind.OBJECT | Kind.TREE:
            return name in wanted
        case Kind.ENVIRONMENT:
            return name[:64] in wanted
        case Kind.PARTIAL:
            return name in wanted and not store.path(digest_from_hex(name)).exists()
        case Kind.BYTECODE | Kind.RECIPE | Kind.READING | Kind.OUTCOME:
            return bool(_pointed(store.home / item.path) & wanted)
        case Kind.QUARANTINE:
            return False


def _items(store: Store, foreign: list[str]) -> Iterator[Item]:
    for kind in Kind:
        for path in _children(store, store.home / kind.value, foreign):
            if kind is Kind.OBJECT:
                if len(path.name) == 2 and path.is_dir() and not path.is_symlink():
                    yield from _each(store, kind, _children(store, path, foreign), foreign)
                else:
                    foreign.append(_shown(store, path))
            else:
                yield from _each(store, kind, [path], foreign)


def _each(store: Store, kind: Kind, paths: Iterable[Path], foreign: list[str]) -> Iterator[Item]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if _is_ours(kind, path):
                size = _size(path)
                yield Item(kind=kind, path=_shown(store, path), size=size, used=_last_used(store, kind, path))
            elif not path.name.startswith("."):  # what `write_atomically` has not renamed yet
                foreign.append(_shown(store, path))


def _children(store: Store, folder: Path, foreign: list[str]) -> list[Path]:
    if folder.is_symlink():
        foreign.append(_shown(store, folder))
        return []
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_ours(kind: Kind, path: Path) -> bool:
    mode = path.lstat().st_mode
    match kind:
        case Kind.OBJECT | Kind.PARTIAL | Kind.BYTECODE | Kind.RECIPE | Kind.READING | Kind.OUTCOME:
            return stat.S_ISREG(mode) and _HEX.fullmatch(path.name) is not None
        case Kind.TREE:
            return stat.S_ISDIR(mode) and _HEX.fullmatch(path.name) is not None
        case Kind.ENVIRONMENT:
            return stat.S_ISDIR(mode) and _HEX.match(path.name) is not None
        case Kind.QUARANTINE:
            return not stat.S_ISLNK(mode) and _HEX.match(path.name) is not None


def _last_used(store: Store, kind: Kind, path: Path) -> float:
    used = path.lstat().st_mtime
    if kind is Kind.QUARANTINE:  # a move changes nothing but this
        return max(used, path.lstat().st_ctime)
    marked: set[str] = set()
    if kind is Kind.TREE:
        marked = {path.name}
    elif kind in (Kind.BYTECODE, Kind.RECIPE):
        marked = _pointed(path)
    for name in marked:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            used = max(used, store.path(digest_from_hex(name)).lstat().st_mtime)
    return used


def _take(store: Store, item: Item, before: float, target: Path) -> bool:
    """Move something out of the store, unless it has come into use; nobody can mark it as used at that moment."""
    path = store.home / item.path
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.lock(USE))
        try:
            if not _is_ours(item.kind, path) or _last_used(store, item.kind, path) >= before:
                return False
            if item.kind is Kind.PARTIAL and not _claim(path, stack):
                return False
            if stat.S_ISDIR(path.lstat().st_mode):
                path.chmod(0o755)  # a folder that is read-only cannot be moved
            path.rename(target)
        except FileNotFoundError:
            return False
    return True


def _claim(path: Path, stack: contextlib.ExitStack) -> bool:
    """Whether no download writes to the file; none begins before the stack ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    size = 0
    for parent, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                size += Path(parent, name).lstat().st_size
    return size


def _pointed(path: Path) -> set[str]:
    """What a note names: the tree of bytecode, the layer of a recipe, the artifact of a reading, an image."""
    try:
        return digests_named(path.read_bytes())
    except FileNotFoundError:
        return set()


def _shown(store: Store, path: Path) -> str:
    return path.relative_to(store.home).as_posix()
