"""The virtual tree: every path of an image, what is there, who put it there and in which layer it goes.

Nothing is unpacked to disk, so nothing needs root and no file system decides about case, modes or owners.
"""

from collections.abc import Iterator, Mapping

import msgspec

from harness.errors import IntegrityError
from harness.images.content import Content, same_content
from harness.images.paths import parents


class Directory(msgspec.Struct, frozen=True):
    """A folder."""

    mode: int = 0o755


class File(msgspec.Struct, frozen=True):
    """A regular file. Files of one layer that share one content object are hard links to each other."""

    mode: int
    content: Content


class Symlink(msgspec.Struct, frozen=True):
    """A symbolic link."""

    target: str


Entry = Directory | File | Symlink


class Node(msgspec.Struct, frozen=True):
    """An entry, the package that put it there (`origin`, for errors), and the layer that holds it.

    A folder that no package ships itself, only files below it, is `implied`.
    """

    entry: Entry
    origin: str
    layer: str
    implied: bool = False


class Tree:
    """Paths to nodes. What two packages ship alike is there once; what they ship differently is an error."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._nodes

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        """Every path with its node, sorted."""
        return iter(sorted(self._nodes.items()))

    def add(self, path: str, entry: Entry, *, origin: str, layer: str) -> None:
        """Put `entry` at `path`; folders above it that are not there yet are made.

        Of a folder that several ship, the mode is the first's, as with dpkg; so the order of calls counts.

        Raises:
            IntegrityError: something else is there already, or above it is something that is not a folder.
        """
        for parent in parents(path):
            above = self._nodes.get(parent)
            if above is None:
                self._nodes[parent] = Node(Directory(), origin, layer, implied=True)
            elif not isinstance(above.entry, Directory):
                raise IntegrityError(
                    f"{origin} puts {path} below {parent}, which is {_what(above.entry)} of {above.origin}"
                )
        node = Node(entry, origin, layer)
        there = self._nodes.get(path)
        if there is None or (there.implied and isinstance(entry, Directory)):
            self._nodes[path] = node
        elif not _same(there.entry, entry):
            raise IntegrityError(
                f"{there.origin} and {origin} both have /{path}: {_what(there.entry)} and {_what(entry)} that differ",
                hint="Exclude the path in the image spec, or leave one of the two out.",
            )

    def take_modes(self, modes: Mapping[str, int]) -> None:
        """Give folders that no package ships itself the modes that they have below, in a base."""
        for path, node in self._nodes.items():
            if node.implied and path in modes:
                self._nodes[path] = msgspec.structs.replace(node, entry=Directory(modes[path]))

    def layers(self) -> dict[str, list[tuple[str, Entry]]]:
        """The entries of each layer, sorted by path, with the folders above them.

        A shared folder is in each of its layers with the same mode, so it doesn't matter which is unpacked last.
        """
        members: dict[str, dict[str, Entry]] = {}
        for path, node in self:
            layer = members.setdefault(node.layer, {})
            if node.implied:
                continue
            for parent in parents(path):
                layer[parent] = self._nodes[parent].entry
            layer[path] = node.entry
        return {name: sorted(layer.items()) for name, layer in members.items() if layer}


def _same(one: Entry, other: Entry) -> bool:
    if isinstance(one, Directory) and isinstance(other, Directory):
        return True
    if isinstance(one, File) and isinstance(other, File):
        return one.mode == other.mode and same_content(one.content, other.content)
    return isinstance(one, Symlink) and one == other


def _what(entry: Entry) -> str:
    match entry:
        case Directory():
            return "a folder"
        case File():
            return "a file"
        case Symlink(target):
            return f"a link to {target}"
