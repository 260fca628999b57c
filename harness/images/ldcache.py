"""`/etc/ld.so.cache`: where the dynamic linker, `ldconfig -p`, and so `ctypes.util.find_library` look for libraries.

Written as glibc's ldconfig does it, from the tree alone, so that nothing of the image has to run. Which folders, which
files, which names and in which order: https://man7.org/linux/man-pages/man8/ldconfig.8.html; the file's format:
https://sourceware.org/git/?p=glibc.git;a=blob;f=sysdeps/generic/dl-cache.h. A test holds the result against ldconfig's
own. What ldconfig also knows and Debian has no use for is not here: libraries for 32 bits, ISA levels in notes.
"""

import posixpath
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from harness.errors import IntegrityError
from harness.images.content import Content, Inline
from harness.images.elf import library_name
from harness.images.tree import Directory, File, Symlink, Tree

CONFIGURATION = "etc/ld.so.conf"
CACHE = "etc/ld.so.cache"

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_EXTENSIONS = struct.Struct("<II")
_SECTION = struct.Struct("<IIII")
_EXTENSIONS_MAGIC = 0xEAA42174
_LITTLE_ENDIAN = 2
_GENERATOR_TAG, _HWCAPS_TAG = 0, 1
_GENERATOR = b"hermetic-harness"
_HWCAPS_BIT = 1 << 62
_HWCAPS = "glibc-hwcaps"
_IN_MEMORY = 1 << 24
_MAX_CONFIGURATIONS = 100
# What a link may be called. A library could ask for any name, one that leads elsewhere among them.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~:@,=-]*")
# More parts and links than any path that leads somewhere.
_MAX_STEPS = 1000


class _Platform(msgspec.Struct, frozen=True):
    """`machine` is its libraries' `e_machine`, `flags` what the cache calls them, `folder` where Debian has them."""

    machine: int
    flags: int
    folder: str


PLATFORMS: Mapping[str, _Platform] = {
    "amd64": _Platform(62, 0x0303, "x86_64-linux-gnu"),
    "arm64": _Platform(183, 0x0A03, "aarch64-linux-gnu"),
}


class Library(msgspec.Struct, frozen=True):
    """A line of the cache: the name that is asked for, the path that is answered, and the `glibc-hwcaps` it needs."""

    name: str
    path: str
    hwcaps: str = ""


class _Candidate(msgspec.Struct, frozen=True):
    file: str
    is_link: bool


def add_linker_cache(tree: Tree, architecture: str, *, layer: str, temporary: Path) -> None:
    """Put the cache of the tree's libraries into it, and the links of sonames that no package ships, as ldconfig would.

    A tree without `/etc/ld.so.conf` has no dynamic linker that would read one, and one that has a cache keeps it.

    Raises:
        IntegrityError: configurations of the linker include each other without end.
    """
    if CONFIGURATION not in tree or CACHE in tree:
        return
    platform = PLATFORMS[architecture]
    libraries: list[Library] = []
    view = _View(tree)
    for folder, real, hwcaps in _folders(view, platform):
        for soname, chosen in sorted(_libraries(view, real, platform, temporary).items()):
            if not hwcaps and not chosen.is_link and posixpath.join(real, soname) not in tree:
                tree.add(posixpath.join(real, soname), Symlink(chosen.file), origin="ldconfig", layer=layer)
            libraries.append(Library(soname, posixpath.join(folder, chosen.file if hwcaps else soname), hwcaps))
    tree.add(CACHE, File(0o644, Inline(encode(libraries, platform.flags))), origin="ldconfig", layer=layer)


class _View:
    """A tree as programs see it: what is in a folder, and where a path leads when links are followed."""

    def __init__(self, tree: Tree) -> None:
        self.entries = {path: node.entry for path, node in tree}
        self._children: dict[str, list[str]] = {}
        for path in self.entries:
            folder, _, name = path.rpartition("/")
            self._children.setdefault(folder, []).append(name)

    def children(self, folder: str) -> list[str]:
        """The names in a folder, sorted."""
        return self._children.get(folder, [])

    def resolve(self, path: str) -> str | None:
        """Where a path really is; None if nothing is there, or links go round."""
        rest = [part for part in reversed(path.split("/")) if part]
        real = ""
        for _ in range(_MAX_STEPS):
            if not rest:
                return real
            part = rest.pop()
            step = f"{real}/{part}" if real else part
            entry = self.entries.get(step)
            if part in (".", ".."):
                real = real.rpartition("/")[0] if part == ".." else real
            elif isinstance(entry, Symlink):
                real = "" if entry.target.startswith("/") else real
                rest += [part for part in reversed(entry.target.split("/")) if part]
            elif entry is None:
                return None
            else:
                real = step
        return None

    def file(self, path: str) -> File | None:
        """The file to which a path leads, if it does to one."""
        real = self.resolve(path)
        entry = self.entries.get(real) if real is not None else None
        return entry if isinstance(entry, File) else None


def encode(libraries: list[Library], flags: int) -> bytes:
    """The bytes of a cache of `libraries`, of which the earlier is preferred where two have one name."""
    ordered = sorted(libraries, key=lambda library: (not library.hwcaps, library.hwcaps))
    ordered = sorted(ordered, key=lambda library: _version(library.name), reverse=True)
    hwcaps = sorted({library.hwcaps for library in libraries if library.hwcaps})
    texts = {text for library in libraries for text in (library.name, library.path)} | set(hwcaps)
    start = _HEADER.size + _ENTRY.size * len(ordered)
    strings, places = _string_table(texts, start)
    entries = b"".join(
        _ENTRY.pack(
            flags,
            places[library.name],
            places[library.path],
            0,
            _HWCAPS_BIT | hwcaps.index(library.hwcaps) if library.hwcaps else 0,
        )
        for library in ordered
    )
    body_end = start + len(strings)
    extensions = body_end + -body_end % 4
    sections: list[tuple[int, bytes]] = [(_GENERATOR_TAG, _GENERATOR)]
    if hwcaps:
        sections.append((_HWCAPS_TAG, b"".join(places[name].to_bytes(4, "little") for name in hwcaps)))
    header = _HEADER.pack(_MAGIC, len(ordered), len(strings), _LITTLE_ENDIAN, extensions)
    return header + entries + strings + bytes(extensions - body_end) + _encode_sections(sections, extensions)


def _encode_sections(sections: list[tuple[int, bytes]], start: int) -> bytes:
    """The directory of sections and what is in them: numbers first, because they must be aligned."""
    offset = start + _EXTENSIONS.size + _SECTION.size * len(sections)
    places = {}
    content = b""
    for tag, data in sorted(sections, reverse=True):
        places[tag] = offset + len(content)
        content += data
    directory = b"".join(_SECTION.pack(tag, 0, places[tag], len(data)) for tag, data in sections)
    return _EXTENSIONS.pack(_EXTENSIONS_MAGIC, len(sections)) + directory + content


def _string_table(texts: set[str], start: int) -> tuple[bytes, dict[str, int]]:
    """The texts, each ended by a zero; what is the end of another is there once. And the offset of each in the file."""
    table = b""
    places: dict[str, int] = {}
    previous = b""
    for backwards in sorted((text.encode()[::-1] for text in texts), reverse=True):
        text = backwards[::-1]
        if not previous.endswith(text):
            table += text + b"\0"
            previous = text
        places[text.decode()] = start + len(table) - 1 - len(text)
    return table, places


def _version(name: str) -> list[tuple[int, int]]:
    """A key that orders library names as the linker does: numbers by value, and after anything else."""
    pieces = re.findall(r"\d+|\D", name)
    return [(1, int(piece)) if piece[0].isdigit() else (0, ord(piece)) for piece in pieces]


def _folders(view: _View, platform: _Platform) -> Iterator[tuple[str, str, str]]:
    """Each folder of the linker once: its name as configured, its place in the tree, and the hwcaps it is for."""
    built_in = [f"/lib/{platform.folder}", f"/usr/lib/{platform.folder}", "/lib", "/usr/lib"]
    seen: set[str] = set()
    for folder in [*_configured(view, CONFIGURATION, []), *built_in]:
        real = view.resolve(folder.removeprefix("/"))
        if real is None or real in seen or not isinstance(view.entries.get(real), Directory):
            continue
        seen.add(real)
        yield folder, real, ""
        below = posixpath.join(real, _HWCAPS)
        for name in view.children(below):
            if isinstance(view.entries.get(f"{below}/{name}"), Directory):
                yield f"{folder}/{_HWCAPS}/{name}", f"{below}/{name}", name


def _configured(view: _View, path: str, read: list[str]) -> Iterator[str]:
    """The folders that a configuration names, and those that it includes."""
    read.append(path)
    if len(read) > _MAX_CONFIGURATIONS:
        raise IntegrityError(f"/{CONFIGURATION} includes more than {_MAX_CONFIGURATIONS} files, or itself")
    entry = view.file(path)
    if entry is None:
        return
    for line in b"".join(entry.content.chunks()).decode("utf-8", "replace").splitlines():
        text = line.partition("#")[0].strip()
        keyword, _, patterns = text.partition(" ")
        if keyword == "include":
            for pattern in patterns.split():
                for name in _matching(view, posixpath.join("/", posixpath.dirname(path), pattern)):
                    yield from _configured(view, name, read)
        elif text.startswith("/"):
            yield posixpath.normpath(text.partition("=")[0].strip())


def _matching(view: _View, pattern: str) -> list[str]:
    """The files that match a glob in their last part, sorted."""
    folder, _, name = posixpath.normpath(pattern).removeprefix("/").rpartition("/")
    real = view.resolve(folder)
    return [] if real is None else [f"{real}/{child}" for child in view.children(real) if fnmatchcase(child, name)]


def _libraries(view: _View, folder: str, platform: _Platform, temporary: Path) -> dict[str, _Candidate]:
    """What in a folder of the tree answers to which name: of several the file before the link, the newest first."""
    found: dict[str, _Candidate] = {}
    for name in view.children(folder):
        if not (name.startswith(("lib", "ld-")) and ".so" in name):
            continue
        path = f"{folder}/{name}"
        entry = view.file(path)
        if entry is None:
            continue
        soname = _soname(entry.content, platform, temporary)
        if soname is None or not _NAME.fullmatch(soname or name):
            continue
        soname = soname or name
        is_link = isinstance(view.entries.get(path), Symlink) and _is_plain_link(name, soname)
        soname = name if is_link else soname
        there = found.get(soname)
        chosen = _Candidate(name, is_link)
        found[soname] = chosen if there is None else max(there, chosen, key=_preference)
    return found


def _preference(candidate: _Candidate) -> tuple[bool, list[tuple[int, int]]]:
    return not candidate.is_link, _version(candidate.file)


def _is_plain_link(name: str, soname: str) -> bool:
    """Whether a link is there for the soname or for the compiler, and not one more name of an implementation."""
    return name == soname or (name.endswith(".so") and soname.startswith(name))


def _soname(content: Content, platform: _Platform, temporary: Path) -> str | None:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(temporary)) as file:
        for chunk in content.chunks():
            file.write(chunk)
        return library_name(file, platform.machine)  # type: ignore[arg-type]
