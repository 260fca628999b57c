"""Files that a user named for something to be written to: looked at before the work is done, written after it."""

import os
from pathlib import Path

from harness.errors import UsageError
from harness.record.files import write_atomically


def check_place(path: Path) -> None:
    """Refuse a place that cannot be written, while nobody has waited for what is to be written there.

    Raises:
        UsageError: it is a folder, or its folder is missing or not writable.
    """
    if path.is_dir():
        raise UsageError(f"{path} cannot be written: it is a folder", hint="Name a file.")
    if _is_special(path):
        return
    folder = _target(path).parent
    if not folder.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {folder}", hint="Make the folder first.")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{path} cannot be written: the folder {folder} is not writable")


def clear_place(path: Path) -> None:
    """Remove the file there, the one behind a link too (the link stays); nothing else, and none where there is none.

    Raises:
        UsageError: it cannot be removed.
    """
    if not path.is_file():
        return
    try:
        _target(path).unlink()
    except OSError as error:
        raise UsageError(f"{path} cannot be removed: {error.strerror or error}") from error


def write_place(path: Path, text: str) -> None:
    """Write a file whole or not at all, the one behind a link too; a device or pipe gets the text and stays.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if _is_special(path):
            with path.open("wb", buffering=0) as device:
                device.write(text.encode())
        else:
            write_atomically(_target(path), text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def _is_special(path: Path) -> bool:
    """Whether a device or a pipe lies there: a file in its place would take it from everybody else."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path
