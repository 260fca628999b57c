"""Where a change can be seen in a committed file, so that a review can point at it."""

import functools
import re
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.locking.imagespec import spec_path
from harness.release.changes import Difference
from harness.release.entries import requirement_name
from harness.release.report import Change, Layer, Location
from harness.spec.documents import KeyPath, read_document

_LISTS = ("debian.packages", "debian.exclude", "python.exclude", "python.requirements")
_MAPPINGS = ("links", "files", "postinst")


def locate(change: Change | Difference, root: Path, image: str) -> Location | None:
    """The file of `image` in the checkout `root` that shows a change, and its line; None where no file does.

    What is not in its file any more has no line of its own: then it is that of the key above it, if there is one.
    """
    return Locator(root, image).locate(change)


class Locator:
    """The committed files of one image, each read once."""

    def __init__(self, root: Path, image: str) -> None:
        self._root, self._image = root, image

    def locate(self, change: Change | Difference) -> Location | None:
        """As the function `locate`."""
        path = change.path
        match change.layer:
            case Layer.OS_PACKAGE:
                return self._in("debian.lock", rf'\s*"name": "{re.escape(path)}",?')
            case Layer.WHEEL:
                return self._in("python.txt", rf"{re.escape(path)}==.*")
            case Layer.IMAGE:
                return self._in("image.lock", _image_line(path))
            case Layer.LOCK:
                name, _, key = path.partition("/")
                return self._in(name, _lock_line(name, key)) if name != "variables" else None
            case Layer.SPEC:
                return self._in_spec(path)
        return None

    def _in(self, name: str, expression: str) -> Location | None:
        file = f"lockfiles/{self._image}/{name}"
        lines = self._lines.get(name)
        if lines is None:
            return None
        compiled = re.compile(expression)
        return Location(file, next((n for n, line in enumerate(lines, 1) if compiled.fullmatch(line)), None))

    @functools.cached_property
    def _lines(self) -> dict[str, list[str]]:
        folder = self._root / "lockfiles" / self._image
        found = {}
        for name in ("debian.lock", "python.txt", "image.lock"):
            try:
                found[name] = (folder / name).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
        return found

    @functools.cached_property
    def _spec_lines(self) -> dict[KeyPath, int] | None:
        """The line of each key of the spec, lists by their items; None where there is no spec that can be read."""
        try:
            document, origin = read_document(spec_path(self._root, self._image))
        except UsageError:
            return None
        return {_by_name(path, document): line for path, line in origin.lines.items()}

    def _in_spec(self, path: str) -> Location | None:
        lines = self._spec_lines
        if lines is None:
            return None
        keys = () if path == "digest" else _spec_keys(path)
        while keys and keys not in lines:
            keys = keys[:-1]
        return Location(f"docker/{self._image}.yaml", lines[keys] if keys else None)


def _image_line(path: str) -> str:
    folder, slash, name = path.partition("/")
    if not slash or folder == "base":
        return rf'\s*"{folder}": .*'
    return rf'\s*"name": "{re.escape(name)}",?' if folder == "layers" else r'\s*"variables": .*'


def _lock_line(name: str, key: str) -> str:
    if not key:
        return r"(?!)"  # the whole file
    return rf"# {re.escape(key)}: .*" if name == "python.txt" else rf'\s*"{re.escape(key)}": .*'


def _by_name(path: KeyPath, document: Any) -> KeyPath:
    """A key path with the items of lists by their names instead of their numbers."""
    names: list[str | int] = []
    value = document
    for key in path:
        value = value[key]
        names.append(_name(value, path) if isinstance(key, int) else key)
    return tuple(names)


def _name(item: object, path: KeyPath) -> str:
    if path[:2] == ("python", "requirements"):
        return requirement_name(str(item))
    return str(item.get("name")) if isinstance(item, dict) else str(item)


def _spec_keys(path: str) -> KeyPath:
    """A change's path as the keys that lead to it: `users/harness/uid` is (users, harness, uid)."""
    for prefix in (*_LISTS, *_MAPPINGS):
        if path.startswith(f"{prefix}/"):
            return (*prefix.split("."), path.removeprefix(f"{prefix}/"))
    return tuple(path.split("/") if path.startswith("users/") else path.split("."))
