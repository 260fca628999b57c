"""Where the bytes of an image are: by layer, by package, by file, and what is in it twice.

Everything is read from the layers themselves, without unpacking them; only files that could be equal are hashed.
"""

import csv
import hashlib
import io
import posixpath
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.images.assembly import workers
from harness.images.build import image_state
from harness.images.deb import read_deb
from harness.locking.debian import DebianPackage, read_debian_lock
from harness.locking.imagelock import ImageLock
from harness.spec.digest import Digest, digest_from_hex
from harness.store.progress import SILENT, Progress
from harness.store.store import Store

_RECORD = re.compile(r"(?P<site>.+)/(?P<name>[^/-]+)-(?P<version>[^/]+)\.dist-info/RECORD\Z")
# A shared library's name without its version, and without the digests that auditwheel puts into the names of copies.
_LIBRARY = re.compile(r"(?P<name>lib[^/]+?)(-[0-9a-f]{8})*\.so(\.[0-9][0-9a-z.]*)?\Z")
_CHUNK = 1 << 20


class Kind(StrEnum):
    """What a package is. `other` is what no package brings: the spec's own files, a base's, generated ones."""

    DEBIAN = "debian"
    WHEEL = "wheel"
    OTHER = "other"


class Same(StrEnum):
    """In what way files are there twice: byte for byte, or as the same library, perhaps in other versions."""

    CONTENT = "content"
    LIBRARY = "library"


class SizedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer: `size` is that of its archive, in bytes, and `files` how many regular files it holds."""

    name: str
    size: int
    files: int


class SizedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A package, and the bytes and number of its files in the image. `version` is null for `other`."""

    kind: Kind
    name: str
    version: str | None
    size: int
    files: int


class SizedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file: its path in the image without the first slash, its bytes, its layer and its package's name."""

    path: str
    size: int
    layer: str
    package: str


class Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are there twice or more. `spare` are the bytes that would be saved if only the largest were there.

    `name` is the library's, or the digest of the content.
    """

    same: Same
    name: str
    spare: int
    files: tuple[SizedFile, ...]


class ImageSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one image, the largest first everywhere but in `layers`, which come from the bottom up.

    `size` is that of all layers: what the files hold (`content`) and what the archives add to it (`overhead`).
    """

    name: str
    manifest: Digest
    size: int
    content: int
    overhead: int
    layers: tuple[SizedLayer, ...]
    packages: tuple[SizedPackage, ...]
    files: tuple[SizedFile, ...]
    repeated: tuple[Repeated, ...]


class _Place(msgspec.Struct, frozen=True):
    """A regular file in a layer: the layer's archive, and where in it the bytes begin."""

    path: str
    size: int
    layer: str
    archive: Path
    offset: int


class _Owner(msgspec.Struct, frozen=True):
    kind: Kind
    name: str
    version: str | None


_NOBODY = _Owner(Kind.OTHER, "of no package", None)


def image_sizes(name: str, root: Path, store: Store, *, progress: Progress = SILENT) -> ImageSizes:
    """Where the bytes of the image `name` of the checkout `root` are, as its `image.lock` names it.

    Files of Debian packages whose artifacts the store no longer has count as `other`.

    Raises:
        UsageError: there is no such image, or no `image.lock` yet.
        PrerequisiteError: the store does not have every layer.
        IntegrityError: a layer is not an archive, or a lock of the image is not valid.
    """
    _, lock, _ = image_state(name, root)
    if lock is None:
        raise UsageError(f"The image {name} has no image.lock yet", hint=f"Run `harness build {name} --update`.")
    missing = [layer.name for layer in lock.layers if not store.has(layer.digest)]
    if missing:
        raise PrerequisiteError(
            f"The store lacks {len(missing)} of the {len(lock.layers)} layers of {name}",
            hint=f"Run: harness build {name}",
        )
    with progress.task(f"Measuring {name}"):
        places = [place for layer in lock.layers for place in _places(layer.name, store.path(layer.digest))]
        owners = _debian_owners(read_debian_lock(root / "lockfiles" / name / "debian.lock").packages, store)
        owners |= _wheel_owners(places)
        return _sizes(lock, places, owners)


def library_name(path: str) -> str | None:
    """The name of the shared library in the file `path`, without version: `libgomp` for `libgomp-a34b3233.so.1.0.0`."""
    found = _LIBRARY.match(posixpath.basename(path))
    return found["name"] if found else None


def _sizes(lock: ImageLock, places: list[_Place], owners: dict[str, _Owner]) -> ImageSizes:
    files = [
        SizedFile(path=place.path, size=place.size, layer=place.layer, package=owners.get(place.path, _NOBODY).name)
        for place in places
    ]
    size, content = sum(layer.size for layer in lock.layers), sum(place.size for place in places)
    return ImageSizes(
        name=lock.name,
        manifest=lock.manifest,
        size=size,
        content=content,
        overhead=size - content,
        layers=tuple(
            SizedLayer(name=layer.name, size=layer.size, files=sum(place.layer == layer.name for place in places))
            for layer in lock.layers
        ),
        packages=tuple(_packages(places, owners)),
        files=tuple(sorted(files, key=_largest_first)),
        repeated=tuple(sorted(_repeated(places, files), key=lambda found: (-found.spare, found.same, found.name))),
    )


def _largest_first(file: SizedFile) -> tuple[int, str]:
    return -file.size, file.path


def _places(layer: str, archive: Path) -> Iterator[_Place]:
    try:
        with tarfile.open(archive, "r:") as members:
            for member in members:
                if member.isreg():
                    yield _Place(member.name.removeprefix("./"), member.size, layer, archive, member.offset_data)
    except (tarfile.TarError, OSError) as error:
        raise IntegrityError(
            f"The layer {layer} in {archive} cannot be read: {error}", hint="Make it again with `harness build --anew`."
        ) from error


def _debian_owners(packages: Iterable[DebianPackage], store: Store) -> dict[str, _Owner]:
    owners: dict[str, _Owner] = {}
    there = [package for package in packages if store.has(package.digest)]
    with store.temporary_folder() as folder, ThreadPoolExecutor(workers(), thread_name_prefix="unpack") as pool:
        # Of each package only the names are kept: what it unpacked to goes at once.
        listed = pool.map(
            lambda package: [
                path for path, _ in read_deb(package, store.verified_path(package.digest), lambda deb: deb.data(folder))
            ],
            there,
        )
        for package, paths in zip(there, listed, strict=True):
            for path in paths:
                owners.setdefault(path, _Owner(Kind.DEBIAN, package.name, package.version))
    return owners


def _wheel_owners(places: Iterable[_Place]) -> dict[str, _Owner]:
    """The owner of each path that a RECORD in the image lists, and of RECORD itself."""
    owners: dict[str, _Owner] = {}
    for place in places:
        if (found := _RECORD.match(place.path)) is None:
            continue
        owner = _Owner(Kind.WHEEL, canonicalize_name(found["name"]), found["version"])
        text = b"".join(_chunks(place)).decode(errors="replace")
        for row in csv.reader(io.StringIO(text)):
            if row:
                owners[posixpath.normpath(posixpath.join(found["site"], row[0]))] = owner
    return owners


def _packages(places: Iterable[_Place], owners: dict[str, _Owner]) -> list[SizedPackage]:
    bytes_of: dict[_Owner, int] = defaultdict(int)
    files_of: dict[_Owner, int] = defaultdict(int)
    for place in places:
        owner = owners.get(place.path, _NOBODY)
        bytes_of[owner] += place.size
        files_of[owner] += 1
    found = [
        SizedPackage(kind=owner.kind, name=owner.name, version=owner.version, size=size, files=files_of[owner])
        for owner, size in bytes_of.items()
    ]
    return sorted(found, key=lambda package: (-package.size, package.kind, package.name))


def _repeated(places: list[_Place], files: list[SizedFile]) -> Iterator[Repeated]:
    by_size: dict[int, list[int]] = defaultdict(list)
    by_library: dict[str, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        if place.size:
            by_size[place.size].append(number)
            if library := library_name(place.path):
                by_library[library].append(number)
    for numbers in by_size.values():
        if len(numbers) == 1:
            continue
        by_digest: dict[Digest, list[int]] = defaultdict(list)
        for number in numbers:
            by_digest[_digest(places[number])].append(number)
        for digest, alike in by_digest.items():
            if len(alike) > 1:
                yield _group(Same.CONTENT, digest, [files[number] for number in alike])
    for library, numbers in by_library.items():
        if len(numbers) > 1:
            yield _group(Same.LIBRARY, library, [files[number] for number in numbers])


def _group(same: Same, name: str, files: list[SizedFile]) -> Repeated:
    ordered = tuple(sorted(files, key=_largest_first))
    return Repeated(same=same, name=name, spare=sum(file.size for file in ordered[1:]), files=ordered)


def _digest(place: _Place) -> Digest:
    checksum = hashlib.sha256()
    for chunk in _chunks(place):
        checksum.update(chunk)
    return digest_from_hex(checksum.hexdigest())


def _chunks(place: _Place) -> Iterator[bytes]:
    with place.archive.open("rb") as file:
        file.seek(place.offset)
        left = place.size
        while left and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
