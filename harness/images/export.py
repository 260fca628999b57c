"""An image for other tools: an OCI layout, as a folder or as one archive; and what images there are.

Format: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md. The archive also holds the
`manifest.json` of `docker save`, because an engine with the classic image store loads nothing else.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.images.build import Image, image_state
from harness.images.manifest import MANIFEST_TYPE, descriptor, oci_json
from harness.images.tar import END, Kind, header, padding
from harness.locking.imagespec import image_names
from harness.spec.digest import Digest, hexadecimal
from harness.store.store import Store
from harness.store.temporary import remove_tree

_CHUNK = 1 << 20


def tag(image: Image) -> str:
    """The name and tag under which an engine shows a loaded image: `harness/cpu:` and 12 digits of its digest."""
    return f"harness/{image.lock.name}:{hexadecimal(image.lock.manifest)[:12]}"


def archive_chunks(image: Image) -> Iterator[bytes]:
    """The image as one tar archive, in chunks: what `docker load` and `podman load` take. The same bytes every time.

    Raises:
        HarnessError: a layer could not be made.
    """
    image.fetch()
    documents = _layout_files(image)
    documents["manifest.json"] = oci_json(
        [
            {
                "Config": _blob_path(image.lock.config),
                "Layers": [_blob_path(layer.digest) for layer in image.lock.layers],
                "RepoTags": [tag(image)],
            }
        ]
    )
    for folder in ("blobs", "blobs/sha256"):
        yield header(folder, Kind.DIRECTORY, 0o755)
    for layer in {layer.digest: layer for layer in image.lock.layers}.values():
        yield header(_blob_path(layer.digest), Kind.FILE, 0o644, size=layer.size)
        yield from _chunks(image.blob(layer.digest))
        yield padding(layer.size)
    for path, data in sorted(documents.items()):
        yield header(path, Kind.FILE, 0o644, size=len(data)) + data + padding(len(data))
    yield END


def export_archive(image: Image, path: Path) -> None:
    """Write the image as one archive to `path`, whole or not at all; a file that is there is replaced.

    Raises:
        UsageError: `path` is a folder, or can't be written.
        HarnessError: a layer could not be made.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="Give the name of the archive to write, such as cpu.tar.")
    try:
        descriptor_, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor_, "wb") as file:
            for chunk in archive_chunks(image):
                file.write(chunk)
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def export_layout(image: Image, folder: Path) -> None:
    """Write the image as an OCI layout to a new folder, whole or not at all.

    Raises:
        UsageError: `folder` is there already, or can't be written.
        HarnessError: a layer could not be made.
    """
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already", hint="Give the name of a new folder.")
    image.fetch()
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror}") from error
    try:
        (temporary / "blobs" / "sha256").mkdir(parents=True)
        for path, data in _layout_files(image).items():
            (temporary / path).write_bytes(data)
        for layer in image.lock.layers:
            shutil.copyfile(image.blob(layer.digest), temporary / _blob_path(layer.digest))
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror}") from error
    finally:
        remove_tree(temporary)


class LayerSummary(msgspec.Struct, frozen=True):
    """A layer of an image; `stored` says whether the store holds it."""

    name: str
    digest: Digest
    size: int
    stored: bool


class ImageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An image of a checkout. What its lock says is null where there is none; `size` is bytes, of all layers.

    `stale` are the inputs that changed since the lock was made.
    """

    name: str
    manifest: Digest | None
    config: Digest | None
    size: int | None
    stale: tuple[str, ...]
    inputs: dict[str, Digest]
    layers: tuple[LayerSummary, ...]


def list_images(root: Path, store: Store) -> tuple[ImageSummary, ...]:
    """The images that have a spec in the checkout `root`, by name.

    Raises:
        HarnessError: a spec or lock can't be read.
    """
    return tuple(show_image(name, root, store) for name in image_names(root))


def show_image(name: str, root: Path, store: Store) -> ImageSummary:
    """What is known of one image, without making or fetching anything.

    Raises:
        UsageError: there is no such image.
        IntegrityError: a lock of it is not valid.
    """
    digests, lock, stale = image_state(name, root)
    layers = lock.layers if lock else ()
    return ImageSummary(
        name=name,
        manifest=lock.manifest if lock else None,
        config=lock.config if lock else None,
        size=sum(layer.size for layer in layers) if lock else None,
        stale=tuple(stale),
        inputs=digests,
        layers=tuple(LayerSummary(layer.name, layer.digest, layer.size, store.has(layer.digest)) for layer in layers),
    )


def _layout_files(image: Image) -> dict[str, bytes]:
    index = {
        "manifests": [
            {
                **descriptor(MANIFEST_TYPE, image.lock.manifest, len(image.manifest_bytes)),
                "annotations": {
                    "io.containerd.image.name": f"docker.io/{tag(image)}",
                    "org.opencontainers.image.ref.name": tag(image).rpartition(":")[2],
                },
            }
        ],
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "schemaVersion": 2,
    }
    return {
        _blob_path(image.lock.config): image.config_bytes,
        _blob_path(image.lock.manifest): image.manifest_bytes,
        "index.json": oci_json(index),
        "oci-layout": oci_json({"imageLayoutVersion": "1.0.0"}),
    }


def _blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{hexadecimal(digest)}"


def _chunks(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
