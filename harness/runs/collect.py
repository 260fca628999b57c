"""What a program left in its working folder: new and changed files, links, and what it removed."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from harness.record.hashing import digest_of_file, signature
from harness.record.results import writing
from harness.spec.digest import Digest
from harness.store.trees import Entry, FileEntry, LinkEntry

COMPILED = "__pycache__"


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in a folder, by path with `/`: `files` moved away, `links` with their targets, files `removed`.

    `left` says, a sentence each, what can be kept nowhere else: sockets, links to absolute paths, odd names.
    """

    files: dict[str, tuple[Digest, int]]
    links: dict[str, str]
    removed: tuple[str, ...]
    left: tuple[str, ...]

    def outputs(self, prefix: str) -> dict[str, Digest]:
        """A digest for each change: a file's content, a link's target, and the removed names together."""
        outputs = {f"{prefix}/{name}": digest for name, (digest, _) in self.files.items()}
        outputs |= {f"{prefix}/{name}": signature({"link": target}) for name, target in self.links.items()}
        return outputs | ({"removed": signature(list(self.removed))} if self.removed else {})


def collect(before: Mapping[str, Entry], folder: Path, target: Path) -> Collected:
    """Move the files that are new or changed since the listing `before` from `folder` to the new folder `target`.

    A program may leave anything behind after hours of work, so nothing is refused here. Links are named, not copied;
    compiled Python is passed over.

    Raises:
        PrerequisiteError: a file cannot be moved: disk full, no rights.
    """
    files: dict[str, tuple[Digest, int]] = {}
    links: dict[str, str] = {}
    left: list[str] = []
    seen = set()
    for name, path in _walk(folder, ""):
        seen.add(name)
        mode = path.lstat().st_mode
        if not _is_text(name):
            left.append(f"{name!r} is not kept: its name is not UTF-8")
        elif stat.S_ISLNK(mode):
            leads_to = str(path.readlink())
            if leads_to.startswith("/") or not _is_text(leads_to):
                left.append(f"{name} is not kept: it is a link to {leads_to!r}")
            elif before.get(name) != LinkEntry(leads_to):
                links[name] = leads_to
        elif not stat.S_ISREG(mode):
            left.append(f"{name} is not kept: it is neither a file nor a link")
        else:
            path.chmod(stat.S_IMODE(mode) | 0o600)
            digest, size = digest_of_file(path), path.stat().st_size
            known = before.get(name)
            if not isinstance(known, FileEntry) or (known.digest, known.size) != (digest, size):
                files[name] = digest, size
                _move(path, target / name)
    removed = tuple(sorted(name for name, entry in before.items() if isinstance(entry, FileEntry) and name not in seen))
    return Collected(files=files, links=links, removed=removed, left=tuple(left))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """All but folders, sorted; a folder that the program closed to itself is opened."""
    folder.chmod(stat.S_IMODE(folder.lstat().st_mode) | 0o700)
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        if not entry.is_dir(follow_symlinks=False):
            yield prefix + entry.name, Path(entry.path)
        elif entry.name != COMPILED:
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _move(path: Path, target: Path) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
