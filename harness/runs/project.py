"""Where specs and lockfiles are: the project that the user stands in, or else the harness's own checkout."""

from pathlib import Path

import harness


def find_root(folder: Path) -> Path:
    """The nearest folder at or above `folder` with `docker/` and `lockfiles/`; else the harness's own checkout."""
    for candidate in (folder, *folder.parents):
        if (candidate / "lockfiles").is_dir() and (candidate / "docker").is_dir():
            return candidate
    return Path(harness.__file__).resolve().parent.parent
