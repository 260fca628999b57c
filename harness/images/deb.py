"""Read a Debian package: what its `data.tar` puts where. No maintainer script runs."""

import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from harness.errors import IntegrityError
from harness.images.content import Content, Inline, Slice
from harness.images.dpkg import paragraph, status_path, sums_path
from harness.images.paths import MERGED, link_target, member_path, merged
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.debfile import DebFile, open_deb, tar_members
from harness.locking.debian import SCRIPTS, DebianPackage
from harness.record.hashing import digest_of
from harness.spec.digest import Digest


def read_deb(package: DebianPackage, path: Path, unpack: Callable[[DebFile], BinaryIO]) -> list[tuple[str, Entry]]:
    """The entries of the package in the file `path`, in the archive's order, at their places with `/usr` merged.

    Modes are the archive's, but set-user and set-group bits are left out: every owner becomes root, and runs
    may gain no privileges. The package's control fields and sums go to where scanners look for them (`images.dpkg`).
    The data is unpacked once, by `unpack`, to a file from which the contents are read.

    Raises:
        IntegrityError: the file is damaged, is another package, unpacks to far more than it is, or holds a member that
            an image must not get: one that is absolute or leads out of it, a link that does, a device, a pipe, or a
            path twice.
        OSError: the disk is full.
    """
    where = f"{package.name} {package.version}"
    with open_deb(path, where) as deb:
        control, sums = _about(deb.control(), package, where)
        entries = list(_entries(unpack(deb), where, package.digest))
    about = [(status_path(package.name), control), (sums_path(package.name), sums)]
    return [*entries, *((path, File(0o644, Inline(text))) for path, text in about if text)]


def _about(texts: Mapping[str, bytes], package: DebianPackage, where: str) -> tuple[bytes, bytes]:
    """The package's paragraph for `status.d`, and its `md5sums`, empty where it has none."""
    fields, text = paragraph(texts["control"], where)
    found = (fields.get("Package"), fields.get("Version"), fields.get("Architecture"))
    if found != (package.name, package.version, package.architecture):
        said = " ".join(str(value) for value in found)
        raise IntegrityError(f"{where} for {package.architecture} says in its control file that it is {said}")
    locked: dict[str, Digest] = {script.name: script.digest for script in package.scripts}
    there: dict[str, Digest] = {name: digest_of(data) for name, data in texts.items() if name in SCRIPTS}
    if other := sorted(name for name in locked.keys() | there.keys() if locked.get(name) != there.get(name)):
        raise IntegrityError(
            f"The {other[0]} of {where} is not the one that debian.lock says was read",
            hint="Restore debian.lock from version control, or make it again: `harness lock NAME`.",
        )
    return text, texts.get("md5sums", b"")


def _entries(data: BinaryIO, where: str, digest: Digest) -> Iterator[tuple[str, Entry]]:
    end = data.seek(0, os.SEEK_END)
    data.seek(0)
    seen: dict[str, Entry] = {}
    for member in tar_members(data, where):
        name = member_path(member.name, where)
        if not name or (name in MERGED and member.issym() and member.linkname == f"usr/{name}"):
            continue  # the merged /usr itself, which base-files holds from Debian 13 on and every image has
        path = merged(name)
        entry = _entry(member, path, seen, data, end, where, digest)
        if path in seen and not (isinstance(entry, Directory) and isinstance(seen[path], Directory)):
            raise IntegrityError(f"{where}: the member {path} is there twice")
        seen[path] = entry
        yield path, entry


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
