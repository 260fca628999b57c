"""Files that a user named for something to be written to: looked at before the work is done, written after it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import harness
from harness.errors import UsageError
from harness.record.files import write_atomically
from harness.runs.git import kept_by_harness, tracked_files

_READ = ("docker", "lockfiles", "pyproject.toml", "harness", ".git")
"""What of a checkout a check reads, or rests on."""


def guarded_places(root: Path, results: Path, named: Sequence[Path]) -> dict[Path, str]:
    """Files and folders, resolved, that nothing is to be written over or below, each with the reason.

    They are what a check of the checkout at `root` reads, the files that are `named` on the command line, what the
    harness keeps under `results`, and every file that git tracks.
    """
    places = {path: f"git tracks {path}" for path in tracked_files(root)}
    kept = kept_by_harness(results)
    places |= {path.resolve(): f"{path} is what earlier runs and releases left" for path in kept}
    read = [*(root / name for name in _READ), Path(harness.__file__).parent]
    read += [path for path in named if not path.is_dir()]
    return places | {path.resolve(): f"{path} is read by the check" for path in read}


def check_guarded(path: Path, guarded: Mapping[Path, str]) -> None:
    """Refuse a place that is one of `guarded`, or lies below one.

    Raises:
        UsageError: it is, or does; the reason is said.
    """
    target = path.resolve()
    for place in (*reversed(target.parents), target):
        if place in guarded:
            raise UsageError(f"{path} cannot be written: {guarded[place]}", hint="Name another file.")


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
