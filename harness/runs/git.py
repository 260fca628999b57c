"""The state of the code under version control: which commit, and whether the tree still was that commit."""

from pathlib import Path

import msgspec

from harness.errors import HarnessError
from harness.store.process import run


class GitState(msgspec.Struct, frozen=True):
    """`commit` and `dirty` are null where a folder is not in a repository, or git is not installed."""

    commit: str | None
    dirty: bool | None


def git_state(folder: Path) -> GitState:
    """The commit checked out in `folder` and whether tracked files differ from it or untracked ones lie beside them."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    if commit is None or status is None:
        return GitState(None, None)
    return GitState(commit.decode().strip(), bool(status.strip()))


def project_files(folder: Path) -> frozenset[str] | None:
    """Paths, relative to `folder`, of the files that belong to a project: tracked, or untracked and not ignored.

    Submodules' tracked files are among them. Null where the folder is not in a repository, or git is not installed.
    """
    tracked = _git(folder, "ls-files", "-z", "--cached", "--recurse-submodules", "--", ".")
    others = _git(folder, "ls-files", "-z", "--others", "--exclude-standard", "--", ".")
    if tracked is None or others is None:
        return None
    return frozenset(name for name in (tracked + others).decode(errors="surrogateescape").split("\0") if name)


def _git(folder: Path, *arguments: str) -> bytes | None:
    # A repository's own configuration may name programs to run (fsmonitor, hooks); looking must not run them.
    options = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    try:
        completed = run(["git", "-C", str(folder), *options, *arguments], check=False)
    except HarnessError:
        return None
    return completed.stdout if completed.returncode == 0 else None
