"""Install a wheel into the virtual tree, through the `installer` library.

Format: https://packaging.python.org/specifications/binary-distribution-format/
"""

import configparser
import csv
import io
import posixpath
import stat
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec
from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, InvalidRecordEntry, RecordEntry
from installer.scripts import Script
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, fix_shebang, parse_metadata_file
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from harness.errors import IntegrityError, advising
from harness.images.content import BAD_ZIP, Content, Inline, Member, ZipMember, unzipped
from harness.images.inputs import UNFIT
from harness.images.paths import Excludes, member_path
from harness.images.tree import Entry, File
from harness.locking.architecture import target_tags
from harness.locking.bounded import Bounded
from harness.locking.python import LockedWheel
from harness.record.hashing import digest_of
from harness.spec.digest import hexadecimal

if TYPE_CHECKING:
    import os
    from typing import Any

    from installer.scripts import ScriptSection

INTERPRETER = "/usr/bin/python3"

# Bounds far above any wheel's, so that a small hostile file can't fill memory or disk. Whatever else a wheel holds is
# streamed; these are read whole: the zip's table of contents, the texts of .dist-info, and scripts that name `python`.
MAX_TABLE = 16 << 20
MAX_TEXT = 16 << 20
MAX_ABOUT = 16 << 10  # the file WHEEL, a few lines whose tags multiply
MAX_UNPACKED = 16 << 30
MAX_RATIO = 100
_FREE = 64 << 20  # may be unpacked from however little: a file of zeros is no bomb yet

_LONGEST_TAG = 200
_PYTHON = b"#!python"
_STRONG = ("sha256", "sha384", "sha512")
_BAD_WHEEL: tuple[type[Exception], ...] = (
    InstallerError, InvalidRecordEntry, KeyError, AssertionError, UnicodeError, csv.Error, configparser.Error, *BAD_ZIP,
)  # fmt: skip


def site_packages(python: str) -> str:
    """The folder that Debian's own `python3.X` looks into for what is not Debian's; `python` is `3.X`."""
    return f"usr/local/lib/python{python}/dist-packages"


class InstalledWheel(msgspec.Struct, frozen=True):
    """What installing a wheel puts where, and what it says that it needs (`Requires-Dist`, each as it is written)."""

    entries: list[tuple[str, Entry]]
    needs: tuple[str, ...]


@advising(IntegrityError, UNFIT)
def read_wheel(wheel: LockedWheel, path: Path, *, python: str, platform: str, exclude: Excludes) -> InstalledWheel:
    """The entries that installing the wheel in the file `path` makes, at their places in the image, and its needs.

    `platform` is the image's in uv's words (`x86_64-manylinux_2_36`). Only the zip's table of contents and RECORD are
    read here; the files' bytes are checked against RECORD when they are read (the wheel's own digest says that it is
    the wheel of the lock; RECORD says what each file is, and what a run reports of its libraries rests on it). RECORD
    is written anew, sorted, without what is excluded. There is no byte code, INSTALLER, REQUESTED or `direct_url.json`.

    Raises:
        IntegrityError: the file is damaged or not that wheel, is for another Python or platform, or would unpack to
            far more than it is; a member is absolute, leads out of the image, is a link, is there twice, lies over
            another, or is not listed in RECORD with its size and a strong hash.
    """
    try:
        _check_tags(wheel.filename, parse_wheel_filename(wheel.filename)[3], python, platform)
        archive = zipfile.ZipFile(cast("Any", Bounded(path.open("rb"), MAX_TABLE)))
        archive.filename = wheel.filename
        source = _Source(archive, wheel)
        source.check_size(path.stat().st_size)
        needs = source.check_metadata(python, platform)
        destination = _Destination(python, exclude, wheel)
        install(source, destination, additional_metadata={})
    except _BAD_WHEEL as error:
        raise IntegrityError(f"{wheel.filename} is not a wheel that can be installed: {error}") from error
    return InstalledWheel(destination.entries, needs)


@lru_cache(1)
def _accepted(python: str, platform: str) -> frozenset[Tag]:
    return frozenset(target_tags(python, platform))


def _check_tags(where: str, tags: Iterable[Tag], python: str, platform: str) -> None:
    said = sorted(map(str, tags))
    if said and _accepted(python, platform).isdisjoint(tags):
        raise IntegrityError(
            f"{where} is for {', '.join(said[:3])}, and the image has Python {python} on {platform}",
            hint="Write the lock anew with `harness lock`: it picks the wheels that fit.",
        )


class _Member(io.RawIOBase):
    """A member on its way through `installer`, which never looks inside: its content goes to the tree unread."""

    def __init__(self, content: ZipMember, record: RecordEntry) -> None:
        super().__init__()
        self.content = content
        self.record = record


class _Source(WheelFile):
    """A wheel whose members are handed on unread, and checked by name, kind and size first."""

    def __init__(self, archive: zipfile.ZipFile, wheel: LockedWheel) -> None:
        super().__init__(archive)
        self._file = cast("BinaryIO", archive.fp)
        self._wheel = wheel
        seen: set[str] = set()
        for info in archive.infolist():
            self._check(info)
            if info.filename in seen:
                raise IntegrityError(f"{wheel.filename}: the member {info.filename} is there twice")
            seen.add(info.filename)
        self._check_places()

    def _check_places(self) -> None:
        """Refuse files right in the .data folder, or in its place: installer would seek their scheme without end."""
        for name in self._zipfile.namelist():
            if f"{name}/".startswith(f"{self.data_dir}/") and name.count("/") < 2 and not name.endswith("/"):
                raise IntegrityError(f"{self._wheel.filename}: the member {name} is a file where wheels have a folder")

    def _check(self, info: zipfile.ZipInfo) -> None:
        where = self._wheel.filename
        plain = member_path(info.orig_filename, where)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if "\\" in info.filename or plain != info.filename.removesuffix("/"):
            raise IntegrityError(f"{where}: the member {info.filename!a} is not a plain path")
        if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise IntegrityError(f"{where}: the member {info.filename} is a link or special file")
        if info.flag_bits & 1:
            raise IntegrityError(f"{where}: the member {info.filename} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise IntegrityError(f"{where}: the member {info.filename} is compressed in a way that wheels are not")

    def check_size(self, size: int) -> None:
        """Refuse a wheel of `size` bytes that unpacks to far more, or whose members lie over each other."""
        infos = sorted(self._zipfile.infolist(), key=lambda info: info.header_offset)
        ends = [info.header_offset + info.compress_size for info in infos]
        starts = [info.header_offset for info in infos[1:]] + [size]
        if any(end > start for end, start in zip(ends, starts, strict=True)):
            raise IntegrityError(f"{self._wheel.filename}: two members lie over each other")
        unpacked = sum(info.file_size for info in infos)
        if unpacked > min(MAX_UNPACKED, max(_FREE, MAX_RATIO * size)):
            raise IntegrityError(
                f"{self._wheel.filename} has {size} bytes and would unpack to {unpacked}: it looks like a bomb"
            )

    @cached_property
    def dist_info_filenames(self) -> list[str]:
        """The names of the files in the .dist-info folder."""
        folder = f"{self.dist_info_dir}/"
        names = self._zipfile.namelist()
        return [name.removeprefix(folder) for name in names if name.startswith(folder) and not name.endswith("/")]

    def read_dist_info(self, filename: str) -> str:
        """A text of the .dist-info folder."""
        info = self._zipfile.getinfo(f"{self.dist_info_dir}/{filename}")
        limit = MAX_ABOUT if filename == "WHEEL" else MAX_TEXT
        if info.file_size > limit:
            raise IntegrityError(f"{self._wheel.filename}: {info.filename} has more than {limit} bytes")
        data = bytearray()
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        for chunk in unzipped(self._file, info.header_offset, info.compress_size, deflated=deflated):
            data += chunk
            if len(data) > info.file_size:
                break
        if len(data) != info.file_size:
            raise IntegrityError(f"{self._wheel.filename}: {info.filename} does not unpack to the size that it says")
        return data.decode()

    def check_metadata(self, python: str, platform: str) -> tuple[str, ...]:
        """Refuse a wheel that would call itself something else once it is installed, or is for something else.

        What it needs is returned, nothing of which is looked at here.
        """
        metadata = parse_metadata_file(self.read_dist_info("METADATA"))
        name, version = str(metadata["Name"]), str(metadata["Version"])
        wanted = (self._wheel.name, Version(self._wheel.version))
        if (canonicalize_name(name), Version(version)) != wanted:
            raise IntegrityError(f"{self._wheel.filename} says in its METADATA that it is {name} {version}")
        self._check_python(str(metadata.get("Requires-Python", "")), python)
        about = parse_metadata_file(self.read_dist_info("WHEEL"))
        tags = {tag for text in about.get_all("Tag", []) for tag in parse_tag(str(text)[:_LONGEST_TAG])}
        _check_tags(f"{self._wheel.filename} says in its WHEEL that it", tags, python, platform)
        return tuple(str(text) for text in metadata.get_all("Requires-Dist", []))

    def _check_python(self, wanted: str, python: str) -> None:
        try:
            takes = SpecifierSet(wanted).contains(f"{python}.0")  # as uv understands the version that a lock is for
        except InvalidSpecifier:  # of old wheels: installers pay no heed to it either
            return
        if not takes:
            raise IntegrityError(
                f"{self._wheel.filename} says in its METADATA that it needs Python {wanted[:100]}, "
                f"and the image has {python}",
                hint="Write the lock anew with `harness lock`: it picks the wheels that fit.",
            )

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Every file with its RECORD row; what is there twice, or unlisted, was refused before."""
        rows = self._rows()
        for info in self._zipfile.infolist():
            name = info.filename
            if name.endswith("/") or "__pycache__" in name.split("/"):
                continue
            row = rows.get(name)
            if name.rpartition("/")[2] in ("RECORD.jws", "RECORD.p7s"):
                continue
            if row is None:
                raise IntegrityError(f"{self._wheel.filename}: {name} is not mentioned in RECORD")
            if name == f"{self.dist_info_dir}/RECORD":
                yield row, cast("BinaryIO", io.BytesIO()), False
                continue
            mode = info.external_attr >> 16
            executable = bool(stat.S_ISREG(mode) and mode & 0o111)
            yield row, cast("BinaryIO", self._member(info, row)), executable

    def _rows(self) -> dict[str, tuple[str, str, str]]:
        rows: dict[str, tuple[str, str, str]] = {}
        for row in csv.reader(io.StringIO(self.read_dist_info("RECORD"))):
            if len(row) != 3:
                raise IntegrityError(f"{self._wheel.filename}: RECORD has a row of {len(row)} fields, not 3")
            path, checksum, size = row
            if rows.setdefault(path, (path, checksum, size)) != (path, checksum, size):
                raise IntegrityError(f"{self._wheel.filename}: RECORD lists {path} twice, and differently")
        return rows

    def _member(self, info: zipfile.ZipInfo, row: tuple[str, str, str]) -> _Member:
        record = RecordEntry.from_elements(*row)
        if record.hash_ is None or record.hash_.name not in _STRONG or record.size != info.file_size:
            raise IntegrityError(
                f"{self._wheel.filename}: RECORD does not give {info.filename} its size and a strong hash"
            )
        member = Member(
            info.filename,
            info.header_offset,
            info.compress_type == zipfile.ZIP_DEFLATED,
            info.compress_size,
            info.file_size,
            record.hash_.name,
            record.hash_.value,
        )
        content = ZipMember(lambda: self._file, member, filename=self._wheel.filename, digest=self._wheel.digest)
        return _Member(content, record)


class _Destination(WheelDestination):
    """Puts what `installer` writes into a list of entries."""

    def __init__(self, python: str, exclude: Excludes, wheel: LockedWheel) -> None:
        self.entries: list[tuple[str, Entry]] = []
        self._site = site_packages(python)
        self._exclude = exclude
        self._wheel = wheel
        self._folders = {
            "purelib": self._site,
            "platlib": self._site,
            "scripts": "usr/local/bin",
            "headers": f"usr/local/include/python{python}/{wheel.name}",
            "data": "usr/local",
        }

    def write_script(self, name: str, module: str, attr: str, section: "ScriptSection") -> RecordEntry:
        """The launcher of an entry point."""
        filename, data = Script(name, module, attr, section).generate(INTERPRETER, "posix")
        return self._add(Scheme("scripts"), member_path(filename, self._wheel.filename), Inline(data), 0o755)

    def write_file(
        self, scheme: Scheme, path: "str | os.PathLike[str]", stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        """A file of the wheel. Scripts are looked into, because their first line may change."""
        member = cast("_Member", stream)
        mode = 0o755 if is_executable else 0o644
        if scheme == "scripts":
            mode = 0o755
            if next(iter(member.content.chunks()), b"").startswith(_PYTHON):
                if member.content.size > MAX_TEXT:
                    raise IntegrityError(f"{self._wheel.filename}: the script {path} has more than {MAX_TEXT} bytes")
                with fix_shebang(io.BytesIO(b"".join(member.content.chunks())), INTERPRETER) as fixed:
                    return self._add(scheme, str(path), Inline(fixed.read()), mode)
        return self._add(scheme, str(path), member.content, mode, member.record)

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        """RECORD, with a row for each file that is there, sorted by path."""
        rows = []
        for file_scheme, record in records:
            path = posixpath.join(self._folders[file_scheme], record.path)
            below = self._below(path)
            if below not in self._exclude:
                rows.append((below, *record.to_row()[1:]))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(sorted(rows))
        self._add(scheme, record_file_path, Inline(text.getvalue().encode()), 0o644)

    def _add(
        self, scheme: Scheme, path: str, content: Content, mode: int, record: RecordEntry | None = None
    ) -> RecordEntry:
        place = f"{self._folders[scheme]}/{path}"
        if self._below(place) not in self._exclude:
            self.entries.append((place, File(mode, content)))
        if record is not None:
            return RecordEntry(path, record.hash_, record.size)
        return RecordEntry(path, _hash(content), content.size)

    def _below(self, place: str) -> str:
        """A path in the image as RECORD writes it: relative to the folder of the packages."""
        inside = place.removeprefix(f"{self._site}/")
        return inside if inside != place else posixpath.relpath(place, self._site)


def _hash(content: Content) -> Hash:
    digest = digest_of(b"".join(content.chunks()))
    return Hash("sha256", urlsafe_b64encode(bytes.fromhex(hexadecimal(digest))).decode().rstrip("="))
