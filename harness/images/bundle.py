"""A bundle: one file with all that an image is made from, so that it can be made where there is no network.

It is a tar archive, uncompressed and normalised, so that whoever makes the bundle of an image writes the same bytes.
First comes `bundle.json`, which names every other member with its size and digest; then the spec and the locks, at
their places in a checkout; then the artifacts (and the layers of a base, if there is one), by digest.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness.errors import UsageError
from harness.images.build import base_layers, open_image
from harness.images.inputs import Inputs
from harness.images.tar import END, Kind, header, padding
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import ImageLock
from harness.locking.imagespec import load_image_spec
from harness.locking.lockfile import encode_lock
from harness.locking.python import read_python_lock
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, hexadecimal
from harness.store.progress import Progress
from harness.store.store import Store
from harness.store.writer import ObjectWriter

SCHEMA = "harness.bundle/1"
INDEX = "bundle.json"
MODE = 0o644
CHUNK = 1 << 20


class BundleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of a bundle; `size` is bytes."""

    path: str
    digest: Digest
    size: int


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bundle says of itself: the image, its manifest's digest, and every other member in the order they have."""

    schema: str = SCHEMA
    image: str
    manifest: Digest
    files: tuple[BundleFile, ...]


class Vendored(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that was written: its own digest and size in bytes, and how many artifacts it holds."""

    image: str
    manifest: Digest
    file: str
    digest: Digest
    size: int
    artifacts: int


def document_paths(image: str) -> tuple[str, ...]:
    """Where spec and locks of an image lie, in a bundle and in a checkout alike."""
    return (
        f"docker/{image}.yaml",
        *(f"lockfiles/{image}/{name}" for name in ("debian.lock", "image.lock", "python.txt")),
    )


def object_path(digest: Digest) -> str:
    """Where a bundle holds an artifact."""
    return f"objects/sha256/{hexadecimal(digest)}"


def needed_objects(inputs: Inputs, lock: ImageLock) -> tuple[Digest, ...]:
    """The digests of all that an image is made from, sorted: what a bundle must hold, no more and no less."""
    artifacts = {artifact.digest for artifact in inputs.artifacts()}
    return tuple(sorted(artifacts | {layer.digest for layer in base_layers(lock)}))


def vendor(name: str, target: Path, *, root: Path, store: Store, progress: Progress) -> Vendored:
    """Write the bundle of an image to the file `target`, whole or not at all; a file that is there is replaced.

    Raises:
        UsageError: there is no such image, or `target` is a folder or can't be written.
        OutdatedLockError: the image's lock is older than what it was made from.
        PrerequisiteError: an artifact can't be fetched.
        IntegrityError: likewise, and somebody has another file under its name.
    """
    from harness.store.fetch import fetch, fetch_path  # the index's client, of no use where a bundle is read

    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint=f"Give the name of the file to write, such as {name}.bundle.")
    with open_image(name, root=root, store=store, progress=progress) as image, _replacing(target) as file:
        inputs, documents = _read(name, root)
        artifacts = {artifact.digest: artifact for artifact in inputs.artifacts()}
        fetch(store, list(artifacts.values()), progress=progress)
        objects = {}
        for digest in needed_objects(inputs, image.lock):
            known = artifacts.get(digest)
            path = image.blob(digest) if known is None else fetch_path(store, known, progress=progress)
            objects[digest] = (path, path.stat().st_size)
        files = [BundleFile(path, digest_of(data), len(data)) for path, data in documents.items()]
        files += [BundleFile(object_path(digest), digest, size) for digest, (_, size) in objects.items()]
        index = encode_lock(Bundle(image=name, manifest=image.lock.manifest, files=tuple(files)))
        writer = ObjectWriter(file)
        total = sum(entry.size for entry in files)
        with progress.task(f"Writing {target.name}", total=total, unit="bytes") as bar:
            for chunk in _archive({INDEX: index, **documents}, objects):
                writer.write(chunk)
                bar.advance(len(chunk))
    return Vendored(
        image=name,
        manifest=image.lock.manifest,
        file=str(target),
        digest=writer.digest,
        size=writer.size,
        artifacts=len(objects),
    )


def _read(name: str, root: Path) -> tuple[Inputs, dict[str, bytes]]:
    folder = root / "lockfiles" / name
    inputs = Inputs(
        spec=load_image_spec(root, name),
        debian=read_debian_lock(folder / "debian.lock"),
        python=read_python_lock(folder / "python.txt"),
    )
    return inputs, {path: (root / path).read_bytes() for path in document_paths(name)}


def _archive(documents: dict[str, bytes], objects: dict[Digest, tuple[Path, int]]) -> Iterator[bytes]:
    for path, data in documents.items():
        yield from _member(path, len(data), [data])
    for digest, (file, size) in objects.items():
        yield from _member(object_path(digest), size, _chunks(file))
    yield END


def _member(path: str, size: int, content: Iterable[bytes]) -> Iterator[bytes]:
    yield header(path, Kind.FILE, MODE, size=size)
    yield from content
    yield padding(size)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `target` at the end of the block; after an exception nothing has changed."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise UsageError(f"{target} can't be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), MODE)
            os.fsync(file.fileno())
        Path(name).replace(target)
    except OSError as error:
        raise UsageError(f"{target} can't be written: {error.strerror}") from error
    finally:
        Path(name).unlink(missing_ok=True)
