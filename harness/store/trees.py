"""Folders in the store, by the digest of their content: what is mounted into a run.

A tree's digest is that of its listing: every path with its kind, executable bit and content digest, in canonical JSON.
The listing is an object of the store, the folder itself lies at `trees/<hex>`, read-only, and is checked against the
listing whenever it is asked for.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.record.canonical import canonical_json
from harness.record.files import sync_folder
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, digest_from_hex, hexadecimal
from harness.store.store import CorruptObjectError, MissingObjectError, Store
from harness.store.temporary import remove_tree

SCHEMA = "harness.tree/1"
_CHUNK = 1 << 20

Include = Callable[[str], bool]


class FileEntry(msgspec.Struct, frozen=True):
    """A regular file: its content's digest and size in bytes, and whether its owner may execute it."""

    digest: Digest
    size: int
    executable: bool


class LinkEntry(msgspec.Struct, frozen=True):
    """A symbolic link that stays inside the tree."""

    target: str


class FolderEntry(msgspec.Struct, frozen=True):
    """A folder."""


Entry = FileEntry | LinkEntry | FolderEntry
Listing = dict[str, Entry]


def put_tree(store: Store, source: Path, *, include: Include | None = None) -> Digest:
    """Copy a folder into the store.

    `include` is asked for each path below `source` (with `/`, folders too: one that is refused is not looked into). The
    store itself is left out.

    Raises:
        UsageError: `source` is not a folder; a link in it leaves the tree or is absolute; something in it is neither
            file, folder nor link, can't be read, or has a name that is not UTF-8; a file changed while it was copied.
        PrerequisiteError: the disk is full.
    """
    digest = tree_digest(list_tree(source, include=include, leave_out=store.home))
    try:
        checkout_tree(store, digest)
        return digest
    except (MissingObjectError, CorruptObjectError):
        pass
    with store.temporary_folder() as folder:
        copy = folder / "tree"
        listing = _scan(source, include or _everything, store.home, copy)
        return _place(store, copy, listing)


def put_tree_from_files(store: Store, files: Mapping[str, bytes]) -> Digest:
    """Store a folder made of the given files (path with `/` to content).

    Raises:
        UsageError: a path is absolute, empty, has `..` in it, or is both a file and a folder.
        PrerequisiteError: the disk is full.
    """
    with store.temporary_folder() as folder:
        copy = folder / "tree"
        copy.mkdir()
        for name, data in files.items():
            parts = PurePosixPath(name).parts
            if not parts or name != "/".join(parts) or name.startswith("/") or {"..", "."} & set(parts):
                raise UsageError(f"{name!r} is not a plain relative path")
            path = copy.joinpath(*parts)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                raise UsageError(f"{name!r} is both a file and a folder") from error
        return put_tree(store, copy)


def checkout_tree(store: Store, digest: Digest) -> Path:
    """The read-only folder of that digest, after every byte in it has been checked.

    Raises:
        MissingObjectError: the store does not hold it.
        CorruptObjectError: it is altered; it has been set aside.
    """
    path = store.home / "trees" / hexadecimal(digest)
    # The listing bears the mark, because a run sees the folder's own time.
    if not (store.use(store.path(digest)) or store.use(path)) or not path.is_dir():
        raise MissingObjectError(f"The store {store.home} does not hold the folder {digest}")
    try:
        found = list_tree(path)
    except UsageError as error:
        raise store.corrupt(path, digest, error.message) from error
    if tree_digest(found) != digest:
        raise store.corrupt(path, digest, _first_difference(store, digest, found))
    return path


def list_tree(folder: Path, *, include: Include | None = None, leave_out: Path | None = None) -> Listing:
    """What is in a folder, by path with `/`, sorted.

    Raises:
        UsageError: as for `put_tree`.
    """
    return _scan(folder, include or _everything, leave_out, None)


def tree_digest(listing: Listing) -> Digest:
    """The digest of a listing: that of the tree."""
    return digest_of(_encode(listing))


def _everything(path: str) -> bool:
    del path
    return True


def _scan(source: Path, include: Include, leave_out: Path | None, copy: Path | None) -> Listing:
    """The listing of `source`; where `copy` is given, of the copy that is made there."""
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder")
    apart = leave_out.resolve() if leave_out and leave_out.exists() else None
    if copy is not None:
        copy.mkdir()
    listing: Listing = {}
    for name, path in _walk(source, "", include, apart):
        target = None if copy is None else copy / name
        listing[name] = _entry(source, name, path, target)
    return dict(sorted(listing.items()))


def _walk(folder: Path, prefix: str, include: Include, apart: Path | None) -> Iterator[tuple[str, Path]]:
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from error
    for entry in found:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{folder} holds a name that is not UTF-8: {os.fsencode(entry.name)!r}") from error
        name, path = prefix + entry.name, Path(entry.path)
        is_folder = entry.is_dir(follow_symlinks=False)
        if not include(name) or (is_folder and apart is not None and path.resolve() == apart):
            continue
        yield name, path
        if is_folder:
            yield from _walk(path, f"{name}/", include, apart)


def _entry(source: Path, name: str, path: Path, target: Path | None) -> Entry:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            if target is not None:
                target.mkdir()
            return FolderEntry()
        if stat.S_ISLNK(mode):
            link = _link(source, name, str(path.readlink()))
            if target is not None:
                target.symlink_to(link.target)
            return link
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is neither a file, a folder nor a link", hint="Move it out of the folder.")
        return _file(path, target)
    except FileNotFoundError as error:
        raise UsageError(f"{path} vanished while it was copied", hint="Run again when nothing writes there.") from error


def _file(path: Path, target: Path | None) -> FileEntry:
    try:
        source = path.open("rb", buffering=0)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    with source, contextlib.nullcontext() if target is None else target.open("wb") as file:
        before = os.fstat(source.fileno())
        hashed, size = hashlib.sha256(), 0
        while chunk := source.read(min(_CHUNK, before.st_size + 1)):
            hashed.update(chunk)
            size += len(chunk)
            if file is not None:
                file.write(chunk)
        after = os.fstat(source.fileno())
        executable = bool(before.st_mode & stat.S_IXUSR)
        if file is not None:
            os.fchmod(file.fileno(), 0o555 if executable else 0o444)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or size != after.st_size:
        raise UsageError(f"{path} changed while it was copied", hint="Run again when nothing writes to it.")
    return FileEntry(digest_from_hex(hashed.hexdigest()), size, executable)


def _link(source: Path, name: str, target: str) -> LinkEntry:
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
    # `..` below a name could leave the tree through a link to a deeper folder, however harmless it reads.
    if target.startswith("/") or up > name.count("/") or ".." in parts[up:]:
        raise UsageError(
            f"The link {source / name} leads out of {source}: {target!r}",
            hint="Replace it by what it leads to, or give that folder as data.",
        )
    try:
        target.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"The link {source / name} leads to a name that is not UTF-8") from error
    return LinkEntry(target)


def _encode(listing: Listing) -> bytes:
    def line(path: str, entry: Entry) -> list[Any]:
        match entry:
            case FileEntry():
                return [path, "file", entry.executable, entry.digest, entry.size]
            case LinkEntry():
                return [path, "link", entry.target]
            case FolderEntry():
                return [path, "folder"]

    entries = [line(path, entry) for path, entry in sorted(listing.items())]
    return canonical_json({"schema": SCHEMA, "entries": entries})


def _place(store: Store, copy: Path, listing: Listing) -> Digest:
    digest = store.put_bytes(_encode(listing))
    place = store.home / "trees" / hexadecimal(digest)
    for name, entry in reversed(list(listing.items())):
        if isinstance(entry, FolderEntry):
            (copy / name).chmod(0o555)
            sync_folder(copy / name)
        elif isinstance(entry, FileEntry):
            _sync(copy / name)
    with store.lock("trees"):
        try:
            checkout_tree(store, digest)  # another process was faster
        except (MissingObjectError, CorruptObjectError):
            remove_tree(place)
            copy.rename(place)
            place.chmod(0o555)
            sync_folder(place.parent)
    return digest


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_difference(store: Store, digest: Digest, found: Listing) -> str:
    try:
        entries = msgspec.json.decode(store.read_bytes(digest))["entries"]
    except (MissingObjectError, CorruptObjectError):
        return "its content has another digest, and its listing is lost"
    wanted = {entry[0]: entry for entry in entries}
    actual = {entry[0]: entry for entry in msgspec.json.decode(_encode(found))["entries"]}
    different = sorted(path for path in wanted | actual if wanted.get(path) != actual.get(path))
    return f"{different[0]!r} differs" if different else "its content has another digest"
