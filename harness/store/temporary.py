"""Temporary files and folders whose owner can be seen to live: each is locked by its process while that needs it.

A lock (flock) ends with its process, however that ends; so whatever is not locked is a leftover.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_OWN_NAME = re.compile(r"[0-9a-f]{16}")


def claim_file(folder: Path) -> tuple[int, Path]:
    """A new empty file in `folder`, locked; its open descriptor is what keeps it."""
    return _claim(folder, lambda path: os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def claim_folder(folder: Path) -> tuple[int, Path]:
    """A new empty folder in `folder`, locked; its open descriptor is what keeps it."""

    def make(path: Path) -> int:
        path.mkdir(mode=0o700)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    return _claim(folder, make)


def remove_leftovers(folder: Path) -> None:
    """Remove what was claimed in `folder` and no living process holds. What can't be removed, or is not ours, stays."""
    for path in [path for path in folder.iterdir() if _OWN_NAME.fullmatch(path.name)]:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            finally:
                os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with everything in it, read-only folders included."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
    except FileNotFoundError:
        return
    for parent, folders, _ in os.walk(path):
        Path(parent).chmod(0o700)
        folders[:] = [name for name in folders if not Path(parent, name).is_symlink()]
    shutil.rmtree(path)


def _claim(folder: Path, make: Callable[[Path], int]) -> tuple[int, Path]:
    while True:
        path = folder / secrets.token_hex(8)
        try:
            descriptor = make(path)
        except FileNotFoundError:
            if folder.is_dir():
                continue  # another process took the new folder for a leftover
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.lstat().st_ino:
                return descriptor, path
        except (BlockingIOError, FileNotFoundError):
            pass  # likewise, in the moment before the lock
        os.close(descriptor)
