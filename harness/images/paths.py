"""Paths inside an image: `usr/bin/python3`, with no slash in front, checked before anything is put there."""

import re
from collections.abc import Iterable
from fnmatch import translate

from harness.errors import IntegrityError

# Debian's merged /usr: these folders of the root are links into /usr, so what a package ships there belongs below
# usr. https://wiki.debian.org/UsrMerge
MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")

# What Linux takes. Folders above a path are made, so that a name without limit could fill memory.
_MAX_PATH = 4095
_MAX_PART = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HINT = "Do not use this file: it was not made by a package builder that can be trusted."


def member_path(name: str, where: str) -> str:
    """The path in the image of an archive's member; empty for the root. `where` says in errors which archive it is.

    Raises:
        IntegrityError: the name is absolute, leads out of the image, is not plain or not UTF-8, holds a control
            character, is longer than Linux takes, or would delete a file of another layer (`.wh.`).
    """
    parts = name.removeprefix("./").removesuffix("/").split("/")
    if name in (".", "./"):
        return ""
    if name.startswith("/"):
        problem = "is absolute"
    elif ".." in parts:
        problem = "leads out of the image"
    elif "" in parts or "." in parts:
        problem = "is not a plain path"
    elif not name.isascii() and not _is_unicode(name):
        problem = "is not UTF-8"
    elif _CONTROL.search(name):
        problem = "holds a control character"
    elif len(name) > _MAX_PART // 4 and _is_too_long(name, parts):
        problem = "is longer than a system takes"
    elif ".wh." in name and any(part.startswith(".wh.") for part in parts):
        problem = "would delete files of other layers (.wh.)"
    else:
        return "/".join(parts)
    raise IntegrityError(f"{where}: the member {name[:_MAX_PART]!a} {problem}", hint=_HINT)


def merged(path: str) -> str:
    """`path` as it is on a system with a merged `/usr`: `lib/x` is `usr/lib/x`."""
    return f"usr/{path}" if path.partition("/")[0] in MERGED else path


def link_target(path: str, target: str, where: str) -> str:
    """`target` itself, if a symbolic link at `path` that has it stays in the image.

    Raises:
        IntegrityError: it leads above the root, or is not UTF-8 text without control characters.
    """
    depth = 0 if target.startswith("/") else path.count("/")
    escapes = False
    for part in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        escapes = escapes or depth < 0
    if escapes or not target or len(target) > _MAX_PATH or _CONTROL.search(target) or not _is_unicode(target):
        problem = "leads out of the image" if escapes else "has no plain target"
        raise IntegrityError(f"{where}: the link {path} -> {target[:_MAX_PART]!a} {problem}", hint=_HINT)
    return target


def parents(path: str) -> Iterable[str]:
    """The folders above `path`, outermost first, without the root."""
    position = path.find("/")
    while position != -1:
        yield path[:position]
        position = path.find("/", position + 1)


class Excludes:
    """Globs of paths to leave out, matched as `fnmatch` does: `*` crosses `/`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        joined = "|".join(translate(pattern) for pattern in patterns)
        self._pattern = re.compile(joined) if joined else None

    def __contains__(self, path: str) -> bool:
        return self._pattern is not None and self._pattern.match(path) is not None


def _is_too_long(name: str, parts: Iterable[str]) -> bool:
    return len(name.encode()) > _MAX_PATH or any(len(part.encode()) > _MAX_PART for part in parts)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
