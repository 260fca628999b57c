"""Where specs and lockfiles are: the project that the user stands in, or else the harness's own checkout."""

from pathlib import Path

import harness
from harness.errors import UsageError


def find_root(folder: Path) -> Path:
    """The nearest folder at or above `folder` with `docker/` and `lockfiles/`; else the harness's own checkout."""
    return find_own_root(folder) or Path(harness.__file__).resolve().parent.parent


def find_own_root(folder: Path) -> Path | None:
    """The nearest folder at or above `folder` with `docker/` and `lockfiles/`, if there is one."""
    for candidate in (folder, *folder.parents):
        if (candidate / "lockfiles").is_dir() and (candidate / "docker").is_dir():
            return candidate
    return None


def require_own_root(folder: Path, purpose: str) -> Path:
    """As `find_own_root`, for what is about specs and locks, which is never done to a checkout somewhere else.

    Raises:
        UsageError: `folder` is in no project with specs. The message says that `purpose` needs one.
    """
    root = find_own_root(folder)
    if root is None:
        raise UsageError(
            f"{purpose} needs a project with specs, and {folder} is in none (no docker/ and lockfiles/)",
            hint="Change to the project's folder; if it has no image yet, `harness init` writes spec and locks.",
        )
    return root
