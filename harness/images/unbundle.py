"""Building an image from a bundle alone: read once from front to back, believed nowhere, and no network asked.

A bundle is compared with what `harness vendor` would have written, member by member: whatever else it may hold (a
link, a path that leads elsewhere, a member twice) is simply not that. Objects reach the store whole and right, or not
at all.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness.errors import HarnessError, IntegrityError, OutdatedLockError, UsageError
from harness.images.build import build, image_state
from harness.images.bundle import (
    CHUNK,
    INDEX,
    MODE,
    SCHEMA,
    Bundle,
    BundleFile,
    document_paths,
    needed_objects,
    object_path,
)
from harness.images.inputs import Inputs
from harness.images.tar import BLOCK, END, Kind, header, padding
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import SCHEMA as IMAGE_SCHEMA
from harness.locking.imagelock import ImageLock
from harness.locking.imagespec import check_image_name, load_image_spec, spec_path
from harness.locking.lockfile import MAX_BYTES, encode_lock, read_lock
from harness.locking.place import place
from harness.locking.python import read_python_lock
from harness.spec.digest import Digest, digest_from_hex
from harness.store.progress import Progress
from harness.store.store import Store

_AGAIN = "Get it again from whoever made it, or make it anew with `harness vendor`."
_NONE = "`harness vendor IMAGE --out FILE` makes one; it is not compressed."


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a bundle: the image's lock; `known` says whether the checkout has that image; what was written."""

    lock: ImageLock
    known: bool
    written: tuple[Path, ...]


def build_from(
    path: Path,
    *,
    name: str | None,
    root: Path | None,
    store: Store,
    progress: Progress,
    anew: bool = False,
    adopt: bool = False,
) -> Built:
    """Make the image of the bundle `path` in the store, from what the bundle holds and nothing else.

    Spec and locks are the bundle's. Where the checkout `root` has another spec or other locks for the image, nothing is
    done, unless they are to be adopted: then the bundle's are written there once the image is made. Without a checkout
    there is nothing to compare the bundle with, and nowhere to adopt it.

    Raises:
        UsageError: the file is not there or no bundle, it is of another image than `name`, or of another state of it
            than the checkout's.
        IntegrityError: the bundle is altered, cut off, or holds too little or too much; or the image that came out is
            not the one that its lock names.
        OutdatedLockError: it was made for another version of the harness.
        PrerequisiteError: the disk is full.
    """
    with _opened(path) as file, store.temporary_folder() as folder, _named(folder, path):
        reader = _Reader(file, path)
        bundle = reader.index()
        _write_documents(reader, bundle, folder)
        inputs, lock = _checked(bundle, folder, path)
        if name not in (None, bundle.image):
            raise UsageError(f"{path} is a bundle of the image {bundle.image}, not of {name}")
        differing = _differing(bundle.image, folder, root) if root is not None else []
        if differing and not adopt:
            raise UsageError(
                f"{root} has another {differing[0]} than {path}, so it would build another image {bundle.image}",
                hint="Check out the commit that the bundle is of, or take over its spec and locks with --adopt.",
            )
        _check_objects(bundle, needed_objects(inputs, lock), path)
        objects = bundle.files[len(document_paths(bundle.image)) :]
        total = sum(entry.size for entry in objects)
        with progress.task(f"Reading {path.name}", total=total, unit="bytes") as bar:
            for entry in objects:
                with store.writer() as writer:
                    for chunk in reader.member(entry):
                        writer.write(chunk)
                        bar.advance(len(chunk))
        reader.end()
        built = build(bundle.image, root=folder, store=store, progress=progress, anew=anew)
        known = root is not None and spec_path(root, bundle.image).is_file()
        written = _adopt(bundle.image, folder, root) if adopt and root is not None else ()
        return Built(lock=built, known=known, written=written)


class _Reader:
    """Reads a bundle's members in order; each is checked as it passes, and no more than a chunk is held."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def index(self) -> Bundle:
        """The first member."""
        block = self._file.read(BLOCK)
        info = _member_info(block)
        if info is None or info.name != INDEX or not info.isreg():
            raise UsageError(f"{self._path} is not a bundle", hint=_NONE)
        if info.size > MAX_BYTES:
            raise self._bad(f"its {INDEX} is larger than any ({MAX_BYTES} bytes)")
        self._expect(block, header(INDEX, Kind.FILE, MODE, size=info.size), INDEX)
        data = self._exactly(info.size)
        self._padding(info.size, INDEX)
        try:
            schema = msgspec.json.decode(data, type=dict[str, object]).get("schema")
            if schema != SCHEMA:
                raise UsageError(f"{self._path} has the schema {schema!r}, not {SCHEMA!r}", hint=_NONE)
            bundle = msgspec.json.decode(data, type=Bundle)
            check_image_name(bundle.image)
        except (msgspec.DecodeError, UnicodeDecodeError, UsageError) as error:
            raise self._bad(f"its {INDEX} cannot be read: {error}") from error
        if encode_lock(bundle) != data:
            raise self._bad(f"its {INDEX} is not in the form that the harness writes")
        return bundle

    def member(self, entry: BundleFile) -> Iterator[bytes]:
        """The next member's content in chunks, which is to be thrown away if this raises at the end."""
        wanted = header(entry.path, Kind.FILE, MODE, size=entry.size)
        self._expect(self._exactly(len(wanted)), wanted, entry.path)
        digest, left = hashlib.sha256(), entry.size
        while left:
            chunk = self._exactly(min(left, CHUNK))
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
        self._padding(entry.size, entry.path)
        if digest_from_hex(digest.hexdigest()) != entry.digest:
            raise self._bad(f"{entry.path} in it is altered: its bytes are not {entry.digest}")

    def end(self) -> None:
        """Nothing may follow the last member."""
        block = self._exactly(len(END))
        if block != END:
            info = _member_info(block[:BLOCK])
            raise self._bad(f"it holds {_described(info)}, which its {INDEX} does not name")
        if self._file.read(1):
            raise self._bad("something follows its end")

    def _expect(self, found: bytes, wanted: bytes, path: str) -> None:
        if found == wanted:
            return
        info = _member_info(found[:BLOCK])
        if found[:BLOCK] == bytes(BLOCK):
            raise self._bad(f"{path} is missing from it")
        if info is not None and info.name == path and info.isreg():
            raise self._bad(f"the header of {path} in it is not as the harness writes it")
        raise self._bad(f"it holds {_described(info)} where {path} should be")

    def _padding(self, size: int, path: str) -> None:
        if self._exactly(len(padding(size))) != padding(size):
            raise self._bad(f"what follows {path} in it is altered")

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise self._bad("it is cut off")
        return data

    def _bad(self, problem: str) -> IntegrityError:
        return IntegrityError(f"The bundle {self._path} is damaged: {problem}", hint=_AGAIN)


def _member_info(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None


def _described(info: tarfile.TarInfo | None) -> str:
    if info is None:
        return "bytes that are no member"
    kind = (
        "a file" if info.isreg() else "a folder" if info.isdir() else "a link" if info.issym() or info.islnk() else ""
    )
    return f"{kind or 'a special member'} {info.name[:200]!a}"


def _write_documents(reader: _Reader, bundle: Bundle, folder: Path) -> None:
    """Spec and locks into `folder`, which looks like a checkout afterwards. No path of the bundle's own is used."""
    paths = document_paths(bundle.image)
    if tuple(entry.path for entry in bundle.files[: len(paths)]) != paths:
        raise IntegrityError(f"The bundle does not hold {', '.join(paths)}, in this order", hint=_AGAIN)
    for path, entry in zip(paths, bundle.files, strict=False):
        if not 0 <= entry.size <= MAX_BYTES:
            raise IntegrityError(f"{path} in the bundle is larger than any ({MAX_BYTES} bytes)", hint=_AGAIN)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(reader.member(entry)))


def _checked(bundle: Bundle, folder: Path, path: Path) -> tuple[Inputs, ImageLock]:
    """The inputs and the lock that the bundle's documents are, if they fit together and this harness."""
    name = bundle.image
    locks = folder / "lockfiles" / name
    inputs = Inputs(
        spec=load_image_spec(folder, name),
        debian=read_debian_lock(locks / "debian.lock"),
        python=read_python_lock(locks / "python.txt"),
    )
    lock = read_lock(locks / "image.lock", ImageLock, schema=IMAGE_SCHEMA)
    if (lock.name, lock.manifest) != (name, bundle.manifest):
        raise IntegrityError(f"{path} says that it is {name}@{bundle.manifest}, and its lock does not", hint=_AGAIN)
    _, _, stale = image_state(name, folder)
    if stale:
        raise OutdatedLockError(
            f"{path} was made for another state of {name} or version of the harness: {', '.join(stale)} differs",
            hint="Use the version of the harness that made it, or make it anew with `harness vendor`.",
        )
    return inputs, lock


def _check_objects(bundle: Bundle, needed: tuple[Digest, ...], path: Path) -> None:
    """Refuse a bundle whose index names other artifacts than its locks do, before one of them is read."""
    there = bundle.files[len(document_paths(bundle.image)) :]
    held = {entry.digest for entry in there}
    if missing := [digest for digest in needed if digest not in held]:
        raise IntegrityError(f"{path} does not hold {missing[0]}, which its locks name", hint=_AGAIN)
    if extra := [entry.path for entry in there if entry.digest not in needed]:
        raise IntegrityError(f"{path} holds {extra[0][:200]!a}, which its locks do not name", hint=_AGAIN)
    if [entry.path for entry in there] != [object_path(digest) for digest in needed]:
        raise IntegrityError(f"{path} does not name its artifacts as the harness does", hint=_AGAIN)
    if any(entry.size < 0 for entry in there):
        raise IntegrityError(f"{path} holds an artifact of less than no bytes", hint=_AGAIN)


def _differing(name: str, folder: Path, root: Path) -> list[str]:
    """In what the checkout's image differs from the bundle's; nothing where the checkout has no such image."""
    if not spec_path(root, name).is_file():
        return []
    theirs, their_lock, _ = image_state(name, folder)
    try:
        ours, our_lock, _ = image_state(name, root)
    except (HarnessError, OSError):
        return ["state of its locks"]
    found = [key for key in sorted(theirs | ours) if theirs.get(key) != ours.get(key)]
    return [*found, *(["image.lock"] if our_lock != their_lock else [])]


def _adopt(name: str, folder: Path, root: Path) -> tuple[Path, ...]:
    """Write the bundle's spec and locks into the checkout, as far as they differ; which those are."""
    return place(root, {path: (folder / path).read_bytes() for path in document_paths(name)})


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_NONE) from error
    with file:
        yield file


@contextmanager
def _named(folder: Path, path: Path) -> Iterator[None]:
    """Name in errors the bundle, and not the folder where its documents lie for a moment."""
    try:
        yield
    except HarnessError as error:
        error.message = error.message.replace(f"{folder}/", f"{path}: ").replace(str(folder), str(path))
        error.args = (error.message,)
        raise
