"""Putting files of a checkout in their places together: all of them, or none."""

from collections.abc import Mapping
from pathlib import Path

from harness.record.files import write_atomically


def place(root: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write files below a checkout: all of them, or after an error or Ctrl-C none; the paths of those that changed.

    They are written in their order; one that holds its bytes already is not touched.

    Raises:
        OSError: a folder cannot be written, or the disk is full.
    """
    before = {root / path: (root / path).read_bytes() if (root / path).is_file() else None for path in files}
    wanted = {root / path: data for path, data in files.items() if before[root / path] != data}
    made = [folder for path in wanted for folder in _missing(path.parent)]
    try:
        for path, data in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
    except BaseException:
        for path in wanted:
            old = before[path]
            if old is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != old:
                write_atomically(path, old)
        for folder in dict.fromkeys(made):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise
    return tuple(wanted)


def _missing(folder: Path) -> list[Path]:
    """The folders that must be made for `folder` to be there, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]
