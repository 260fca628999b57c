"""What is where in a base image, and whether our layers can lie over it."""

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import IntegrityError, UsageError
from harness.images.manifest import PATH
from harness.images.members import tar_members
from harness.images.paths import MERGED
from harness.images.tree import Directory, Symlink, Tree
from harness.locking.imagespec import ImageSpec

_TEXT_LIMIT = 4 << 20
_INTERPRETERS = ("python3", "python")
_OURS = "usr/bin"
_LONGEST_PATH = 4096  # Linux's PATH_MAX: no engine could unpack more


class BaseEntry(msgspec.Struct, frozen=True):
    """What a base has at a path. `kind` is tarfile's type; a file's content is a part of the layer at `layer`."""

    kind: bytes
    mode: int
    target: str
    layer: Path
    offset: int
    size: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind == tarfile.DIRTYPE

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.kind == tarfile.SYMTYPE


class BaseFiles:
    """What is where in a base when all its layers lie on each other: later ones cover and delete what is below.

    Whiteouts: https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#whiteouts
    """

    def __init__(self, layers: Sequence[Path]) -> None:
        self.entries: dict[str, BaseEntry] = {}
        for layer in layers:
            with layer.open("rb") as file:
                found = tar_members(file, "A layer of the base")
                members = [(_path_of(member.name), _entry(member, layer)) for member in found]
            self._delete([path for path, _ in members])
            for path, entry in members:
                if path and not _name(path).startswith(".wh."):
                    self._add(path, entry)

    def text(self, path: str) -> str:
        """The text of a small file; empty where there is none."""
        entry = self.entries.get(path)
        if entry is None or entry.kind not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.size > _TEXT_LIMIT:
            return ""
        with entry.layer.open("rb") as file:
            file.seek(entry.offset)
            return file.read(entry.size).decode(errors="replace")

    def modes(self) -> dict[str, int]:
        """The modes of its folders."""
        return {path: entry.mode for path, entry in self.entries.items() if entry.is_folder}

    def system(self) -> Mapping[str, str]:
        """What `/etc/os-release` says; empty where there is none."""
        text = self.text("etc/os-release") or self.text("usr/lib/os-release")
        pairs = (line.partition("=")[::2] for line in text.splitlines() if "=" in line)
        return {key.strip(): value.strip().strip("\"'") for key, value in pairs}

    def _delete(self, paths: Sequence[str]) -> None:
        """Drop what the whiteouts among a layer's paths delete of the layers below."""
        emptied = {path.rpartition("/")[0] for path in paths if _name(path) == ".wh..wh..opq"}
        gone = {
            path.removesuffix(_name(path)) + _name(path).removeprefix(".wh.")
            for path in paths
            if _name(path).startswith(".wh.") and not _name(path).startswith(".wh..wh.")
        }
        if emptied or gone:
            self.entries = {
                path: entry
                for path, entry in self.entries.items()
                if path not in gone and not any(above in gone or above in emptied for above in _above(path))
            }

    def _add(self, path: str, entry: BaseEntry) -> None:
        there = self.entries.get(path)
        if there is not None and there.is_folder and not entry.is_folder:
            self.entries = {name: below for name, below in self.entries.items() if not name.startswith(f"{path}/")}
        self.entries[path] = entry


def _entry(member: tarfile.TarInfo, layer: Path) -> BaseEntry:
    return BaseEntry(member.type, member.mode & 0o7777, member.linkname, layer, member.offset_data, member.size)


def _path_of(name: str) -> str:
    if len(name) > _LONGEST_PATH:
        raise IntegrityError(f"A layer of the base has a member whose path has {len(name)} characters")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise IntegrityError(f"A layer of the base has the member {name!a}, which leads out of the image")
    return "/".join(parts)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _above(path: str) -> Iterator[str]:
    """The folders above a path, the root (an empty text) among them."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def lay_over(tree: Tree, base: BaseFiles, spec: ImageSpec) -> None:
    """Make sure that the paths of `tree` can lie over those of a base; folders that only lead to files keep its modes.

    A file or link of ours covers one of the base's. A folder would hide a link, and a file a folder with all in it.

    Raises:
        UsageError: the base is another system, has a layout of its own, or a `python3` that would be found before ours.
    """
    system = base.system()
    named = (system.get("ID", "debian"), system.get("VERSION_CODENAME", spec.debian.suite))
    if named != ("debian", spec.debian.suite):
        called = system.get("PRETTY_NAME") or " ".join(named)
        raise UsageError(
            f"The base of {spec.name} is {called}, and packages of Debian {spec.debian.suite} would go over it",
            hint="Programs of the one would meet libraries of the other: take a base of the same release, or none.",
        )
    for path, node in tree:
        there = base.entries.get(path)
        if there is None or there.is_folder == isinstance(node.entry, Directory):
            continue
        if path in MERGED and isinstance(node.entry, Symlink):
            raise UsageError(
                f"The base of {spec.name} has /{path} as a folder of its own, and in Debian it is a link into /usr",
                hint="Take a base with a merged /usr, as Debian's own images are, or none.",
            )
        if isinstance(node.entry, Directory):
            what = f"a link to {there.target}" if there.is_link else "a file"
            problem = f"{what}, and {node.origin} has a folder there"
        else:
            problem = f"a folder, and {node.origin} has a file there"
        raise UsageError(
            f"The base of {spec.name} has /{path} as {problem}", hint="Exclude the path in the image spec."
        )
    for folder in PATH.removeprefix("/").split(":/"):
        if folder == _OURS:
            break
        for name in _INTERPRETERS:
            place = f"{folder}/{name}"
            if place in base.entries and place not in tree:
                raise UsageError(
                    f"The base of {spec.name} has a Python of its own: /{place} would be found before ours",
                    hint=f"Take another base, or cover it in the image spec: links: {{/{place}: /usr/bin/{name}}}.",
                )
    tree.take_modes(base.modes())
