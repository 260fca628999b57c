"""The state of the code under version control: which commit, and whether the tree still was that commit."""

import json
from pathlib import Path

import msgspec

from harness.errors import HarnessError, UsageError
from harness.record.layout import ENSEMBLES, HISTORY, KEPT, runs_folder
from harness.runs.repository import Repository, open_repository

_SHOWN = 10
RELEASES = "releases"
"""Where below a results folder the pages of releases are kept."""


class GitState(msgspec.Struct, frozen=True):
    """`commit` is null before the first one; both are null where no repository or no git is.

    `files` are the paths, from the repository's top, that are not as in the commit: changed, staged, removed (a file
    that was moved counts twice), or untracked and not ignored; names that are not UTF-8 as Python holds them.
    """

    commit: str | None
    dirty: bool | None
    files: tuple[str, ...] = ()


def git_state(folder: Path, results: Path | None = None) -> GitState:
    """The commit checked out in `folder`, and what of `folder` differs from it, submodules included.

    What the harness itself keeps under `results` makes no tree dirty. The repository is not changed in any byte, and no
    program that its configuration names is run; so a file under a filter (git-lfs) whose time has changed counts as
    changed until git has looked at it.
    """
    with open_repository(folder) as repository:
        if repository is None:
            return GitState(None, None)
        try:
            repository.leave_out(kept_by_harness(results))
            files = tuple(sorted(_differing(repository)))
        except HarnessError:
            return GitState(None, None)
        return GitState(repository.head(), bool(files), files)


def require_clean(folder: Path, results: Path | None = None, *, whole: bool = False) -> GitState:
    """The state of `folder`, where that is one commit and nothing else.

    Raises:
        UsageError: it is in no repository, has no commit, or files differ: up to ten of them are named, or under
            `whole` all, one a line.
    """
    state = git_state(folder, results)
    if state.dirty is None:
        hint = "A clean tree is one that git can vouch for: work in a clone, and have git installed."
        raise UsageError(f"{folder.absolute()} is in no git repository that can be read", hint=hint)
    if state.commit is None:
        raise UsageError(f"{folder.absolute()} is in a repository without a commit", hint="Commit what is to be run.")
    if state.files:
        files = listed_files(state.files) if whole else f" {shown_files(state.files)}"
        raise UsageError(
            f"The tree of {folder.absolute()} is not clean:{files}",
            hint="Commit these files, have them ignored, or remove them: `git status` shows how they differ.",
        )
    return state


def shown_files(files: tuple[str, ...]) -> str:
    """Up to ten names, and how many more there are."""
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(shown(name) for name in files[:_SHOWN]) + more


def listed_files(files: tuple[str, ...]) -> str:
    """Every name on a line of its own, below the line that it is put behind."""
    return "".join(f"\n  {shown(name)}" for name in files)


def shown(name: str) -> str:
    """A file's name as a person can read it on one line: as it is, or quoted as JSON does."""
    return name if name.isprintable() and name.strip() == name else json.dumps(name)


def kept_by_harness(results: Path | None) -> tuple[Path, ...]:
    """What of a results folder the harness wrote: the rest of the folder may be anybody's."""
    if results is None:
        return ()
    return (runs_folder(results), *(results / name for name in (HISTORY, ENSEMBLES, KEPT, RELEASES)))


def project_files(folder: Path) -> frozenset[str] | None:
    """Paths, relative to `folder`, of the files that belong to a project: tracked, or untracked and not ignored.

    Submodules' tracked files are among them. Null where the folder is not in a repository, or git is not installed.
    """
    with open_repository(folder) as repository:
        if repository is None:
            return None
        try:
            tracked = repository.names("ls-files", "-z", "--cached", "--recurse-submodules", "--", *repository.paths)
            others = repository.names("ls-files", "-z", "--others", "--exclude-standard", "--", *repository.paths)
        except HarnessError:
            return None
        start = folder.resolve().relative_to(repository.top).as_posix()
        prefix = "" if start == "." else f"{start}/"
        return frozenset(name.removeprefix(prefix) for name in (*tracked, *others))


def tracked_files(folder: Path) -> frozenset[Path]:
    """Where the files lie that git tracks in the repository that `folder` is in, its submodules' too, all of it.

    There are none where the folder is in no repository, or git is not installed.
    """
    with open_repository(folder) as repository:
        if repository is None:
            return frozenset()
        try:
            names = repository.names("ls-files", "-z", "--cached", "--recurse-submodules", "--", ":(top)")
        except HarnessError:
            names = repository.names("ls-files", "-z", "--cached", "--", ":(top)")
        return frozenset(repository.top / name for name in names)


def _differing(repository: Repository) -> set[str]:
    status = repository.names(
        "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty",
        "--", *repository.paths,
    )  # fmt: skip
    files = {entry[3:] for entry in status}
    for submodule in repository.submodules:
        files |= {f"{submodule.path}/{name}" for name in git_state(submodule.folder).files}
    return files
