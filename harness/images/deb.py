"""Read a Debian package: what its `data.tar` puts where. No maintainer script runs.

Format: https://manpages.debian.org/bookworm/dpkg-dev/deb.5.en.html
"""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

from debian.arfile import ArError, ArFile

from harness.errors import IntegrityError, ToolError
from harness.images.content import CHUNK, Bounded, Content, Inline, Slice
from harness.images.dpkg import paragraph, status_path, sums_path
from harness.images.paths import MERGED, link_target, member_path, merged
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.debian import SCRIPTS, DebianPackage
from harness.record.hashing import digest_of
from harness.spec.digest import Digest
from harness.store.process import output_of

# Bounds far above any package's, so that a small hostile file can't fill memory or disk.
MAX_UNPACKED = 4 << 30
MAX_RATIO = 100
MAX_CONTROL = 16 << 20
MAX_DICTIONARY = 256 << 20  # the memory that a decompressor may ask for; `xz -9` needs 65 MiB
MAX_HEADER = 1 << 20  # a long name, or a set of extended headers
MAX_MEMBERS = 200_000
_FREE = 256 << 20  # may be unpacked from however little
_MAX_PARTS = 100

_DAMAGED = (
    tarfile.TarError, lzma.LZMAError, zlib.error, ArError, ToolError, OSError, EOFError, ValueError, IndexError,
)  # fmt: skip


def read_deb(package: DebianPackage, path: Path, temporary: Path) -> list[tuple[str, Entry]]:
    """The entries of the package in the file `path`, in the archive's order, at their places with `/usr` merged.

    Modes are the archive's, but set-user and set-group bits are left out: every owner becomes root, and runs
    may gain no privileges. The package's control fields and sums go to where scanners look for them (`images.dpkg`).
    The data is unpacked once, to an unnamed file in the folder `temporary`, from which the contents are read.

    Raises:
        IntegrityError: the file is damaged, is another package, unpacks to far more than it is, or holds a member that
            an image must not get: one that is absolute or leads out of it, a link that does, a device, a pipe, or a
            path twice.
        PrerequisiteError: it is compressed with zstd and there is no `unzstd`.
    """
    where = f"{package.name} {package.version}"
    try:
        with _Forward(path) as file:
            archive = ArFile(fileobj=file)
            if not archive.getnames() or archive.getnames()[0] != "debian-binary":
                raise IntegrityError(f"{where} is not a Debian package")
            control, sums = _control(archive, package, where, temporary)
            limit = min(MAX_UNPACKED, max(_FREE, MAX_RATIO * path.stat().st_size))
            data = _unpacked(archive, "data.tar", temporary, where, limit)
        entries = list(_entries(data, where, package.digest))
    except _DAMAGED as error:
        raise IntegrityError(f"{where} is damaged and cannot be read: {error}") from error
    about = [(status_path(package.name), control), (sums_path(package.name), sums)]
    return [*entries, *((path, File(0o644, Inline(text))) for path, text in about if text)]


class _Forward(io.FileIO):
    """A file that can't be walked backwards, so that an ar member with a negative size can't make a loop; nor far."""

    steps = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_CUR:
            self.steps += 1
            if offset < 0:
                raise ArError("a member has a negative size")
            if self.steps > _MAX_PARTS:
                raise ArError("it has more parts than a package")
        return super().seek(offset, whence)


def _control(archive: Any, package: DebianPackage, where: str, temporary: Path) -> tuple[bytes, bytes]:
    """The package's paragraph for `status.d`, and its `md5sums`, empty where it has none."""
    file = _unpacked(archive, "control.tar", temporary, where, MAX_CONTROL)
    texts: dict[str, bytes] = {}
    with tarfile.open(fileobj=cast("Any", Bounded(file, MAX_HEADER)), mode="r:") as members:
        for member in members:
            name = member.name.removeprefix("./")
            if name in ("control", "md5sums", *SCRIPTS) and member.isreg():
                texts.setdefault(name, os.pread(file.fileno(), member.size, member.offset_data))
    if "control" not in texts:
        raise IntegrityError(f"{where} has no control file")
    fields, text = paragraph(texts["control"], where)
    found = (fields.get("Package"), fields.get("Version"), fields.get("Architecture"))
    if found != (package.name, package.version, package.architecture):
        said = " ".join(str(value) for value in found)
        raise IntegrityError(f"{where} for {package.architecture} says in its control file that it is {said}")
    locked: dict[str, Digest] = {script.name: script.digest for script in package.scripts}
    there = {name: digest_of(data) for name, data in texts.items() if name in SCRIPTS}
    if other := sorted(name for name in locked.keys() | there.keys() if locked.get(name) != there.get(name)):
        raise IntegrityError(
            f"The {other[0]} of {where} is not the one that debian.lock says was read",
            hint="Restore debian.lock from version control, or make it again: `harness lock NAME`.",
        )
    return text, texts.get("md5sums", b"")


def _unpacked(archive: Any, part: str, temporary: Path, where: str, limit: int) -> BinaryIO:
    """The decompressed `part` of the package as an unnamed file of at most `limit` bytes."""
    names = [name for name in archive.getnames() if name.partition(".tar")[0] + ".tar" == part]
    if len(names) != 1:
        raise IntegrityError(f"{where} has {len(names)} members called {part}, where a Debian package has one")
    target: BinaryIO = tempfile.TemporaryFile(dir=temporary)  # noqa: SIM115 - closed with the contents read from it
    size = 0
    with closing(_decompressed(archive.getmember(names[0]), names[0].removeprefix(part), temporary, where)) as chunks:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise IntegrityError(f"{where}: {part} unpacks to more than {limit} bytes: it looks like a bomb")
            target.write(chunk)
    target.flush()
    target.seek(0)
    return target


def _decompressed(member: Any, extension: str, temporary: Path, where: str) -> Generator[bytes]:
    """The bytes of a member in pieces of a mebibyte at most, however much a little input makes."""
    match extension:
        case ".xz" | ".lzma":
            yield from _unlzma(member)
        case ".gz":
            with gzip.open(member) as stream:
                yield from _pieces(stream)
        case ".bz2":
            with bz2.open(member) as stream:
                yield from _pieces(stream)
        case ".zst":
            with tempfile.TemporaryFile(dir=temporary) as file:
                file.writelines(_pieces(member))
                file.seek(0)
                command = ["unzstd", "--stdout", f"--memory={MAX_DICTIONARY}"]
                with output_of(command, stdin=cast("BinaryIO", file)) as printed:
                    yield from _pieces(printed)
        case "":
            yield from _pieces(member)
        case _:
            raise IntegrityError(f"{where} is compressed in a way that is not known: {extension}")


def _pieces(source: Any) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _unlzma(member: Any) -> Iterator[bytes]:
    """As `lzma.open` would, which takes no limit: a few bytes may ask for four gigabytes of memory."""
    data = member.read(CHUNK)
    while data:
        stream = lzma.LZMADecompressor(memlimit=MAX_DICTIONARY)
        while not stream.eof:
            if stream.needs_input:
                data = data or member.read(CHUNK)
                if not data:
                    raise EOFError("its compressed data ends too early")
            yield stream.decompress(data, CHUNK)
            data = b""
        # Another stream may follow, after zeros.
        data = stream.unused_data.lstrip(b"\0")
        while not data and (more := member.read(CHUNK)):
            data = more.lstrip(b"\0")


def _entries(data: BinaryIO, where: str, digest: Digest) -> Iterator[tuple[str, Entry]]:
    end = data.seek(0, os.SEEK_END)
    data.seek(0)
    seen: dict[str, Entry] = {}
    source = cast("Any", Bounded(data, MAX_HEADER))
    with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            if len(seen) > MAX_MEMBERS:
                raise IntegrityError(f"{where} has more than {MAX_MEMBERS} members")
            name = member_path(member.name, where)
            if not name or (name in MERGED and member.issym() and member.linkname == f"usr/{name}"):
                continue  # the merged /usr itself, which base-files holds from Debian 13 on and every image has
            path = merged(name)
            entry = _entry(member, path, seen, data, end, where, digest)
            if path in seen and not (isinstance(entry, Directory) and isinstance(seen[path], Directory)):
                raise IntegrityError(f"{where}: the member {path} is there twice")
            seen[path] = entry
            yield path, entry
        # tarfile takes a damaged header for the end of the archive.
        tail = os.pread(data.fileno(), tarfile.BLOCKSIZE, archive.offset)
        if len(tail) != tarfile.BLOCKSIZE or any(tail):
            raise IntegrityError(f"{where} is damaged: its data ends without an end mark")


def _entry(
    member: tarfile.TarInfo, path: str, seen: dict[str, Entry], data: BinaryIO, end: int, where: str, digest: Digest
) -> Entry:
    if member.isdir():
        return Directory(member.mode & 0o1777)
    if member.issym():
        return Symlink(link_target(path, member.linkname, where))
    if member.islnk():
        target = seen.get(merged(member_path(member.linkname, where)))
        if not isinstance(target, File):
            raise IntegrityError(f"{where}: {path} is a hard link to {member.linkname!a}, which is no file before it")
        return target
    if not member.isreg() or member.issparse():
        raise IntegrityError(f"{where}: the member {path} is a device, pipe or other special file")
    if member.offset_data + member.size > end:
        raise IntegrityError(f"{where} is damaged: {path} ends too early")
    content: Content = Slice(data, member.offset_data, member.size, digest)
    return File(member.mode & 0o777, content)
