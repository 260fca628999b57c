"""Whose files are under a folder: the run's user must be able to write them, and the caller gets them back."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.engines.signals import undisturbed
from harness.errors import PrerequisiteError, UsageError


@contextmanager
def lent_to(folder: Path, user: tuple[int, int]) -> Iterator[None]:
    """For the time of a `with` block `folder` and all below it belong to uid and gid `user`, then to the caller again.

    Nothing is done where they are the caller's own. Links are changed themselves, never what they point to.

    Raises:
        UsageError: the folder is not there or cannot be written.
    """
    check_writable(folder)
    caller = (os.geteuid(), os.getegid())
    if user == caller:
        yield
        return
    try:
        _give(folder, user)
        yield
    finally:
        with undisturbed():
            _give(folder, caller)


def check_writable(folder: Path) -> None:
    """Raise where results could not be written, before anything runs.

    Raises:
        UsageError: the folder is not there.
        PrerequisiteError: it cannot be written.
    """
    if not folder.is_dir():
        raise UsageError(f"The output folder {folder} is not there")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PrerequisiteError(
            f"The output folder {folder} cannot be written: {error.strerror}", hint="Choose another output folder."
        ) from error


def _give(folder: Path, user: tuple[int, int]) -> None:
    os.chown(folder, *user)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), *user, follow_symlinks=False)
