"""Lists of files in one order: a folder's own order is the file system's, and differs from machine to machine."""

import os
import stat
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from harness.errors import UsageError


class Links(StrEnum):
    """What becomes of symbolic links: an error, left out, or what they lead to."""

    REFUSE = "refuse"
    SKIP = "skip"
    FOLLOW = "follow"


def sorted_files(
    folder: str | Path, pattern: str = "**/*", *, hidden: bool = False, links: Links | str = Links.REFUSE
) -> list[Path]:
    """The files in `folder` whose path below it matches `pattern`, by the bytes of that path.

    In a pattern `*` stands for anything but `/`, `?` for one character, `[ab]` for one of several, `**` for any number
    of folders; upper and lower case differ everywhere. Names that begin with a dot count with `hidden` alone. Names
    are taken as they are: no Unicode form is changed. Sockets, pipes and devices are never listed.

    Raises:
        UsageError: there is no such folder, it cannot be read, the pattern leads out of it, a name is not UTF-8, a link
            is met and `links` is `refuse`, or a link leads nowhere or back to a folder that it is in.
    """
    top, policy = Path(folder), _policy(links)
    parts = pattern.split("/")
    if not pattern or pattern.startswith("/") or {"", ".", ".."} & set(parts):
        raise UsageError(
            f"{pattern!r} is no pattern below a folder", hint="Write *.csv, or **/*.parquet for all below."
        )
    if not top.is_dir():
        raise UsageError(f"There is no folder {top}", hint="Check the path; in a run data lies in $HARNESS_DATA.")
    found = [path for path in _walk(top, "", policy, hidden, ()) if _matches(path.split("/"), parts)]
    return [top / path for path in sorted(found, key=os.fsencode)]


def _policy(links: Links | str) -> Links:
    try:
        return Links(links)
    except ValueError as error:
        raise UsageError(f"links is {links!r}", hint=f"Choose of {', '.join(Links)}.") from error


def _walk(top: Path, below: str, links: Links, hidden: bool, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The paths of all files below `top`, in no order; `above` are the folders that this one is in."""
    folder = top / below if below else top
    try:
        own = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be read: {error.strerror}",
            hint="Name a folder that is there and that this user may read.",
        ) from error
    if (own.st_dev, own.st_ino) in above:
        raise UsageError(f"{folder} leads back to a folder that it is in", hint="Use links='skip'.")
    for entry in entries:
        if entry.name.startswith(".") and not hidden:
            continue
        if not entry.name.isprintable() and _is_broken(entry.name):
            raise UsageError(f"{entry.name!a} in {folder} is not UTF-8", hint="Rename it.")
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_symlink():
            if links is Links.SKIP:
                continue
            if links is Links.REFUSE:
                raise UsageError(f"{folder / entry.name} is a link", hint="Use links='follow' or links='skip'.")
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            raise UsageError(
                f"{folder / entry.name} leads nowhere: {error.strerror}", hint="Use links='skip'."
            ) from error
        if stat.S_ISDIR(mode):
            yield from _walk(top, path, links, hidden, (*above, (own.st_dev, own.st_ino)))
        elif stat.S_ISREG(mode):
            yield path


def _is_broken(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _matches(path: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_matches(path[skipped:], pattern[1:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
