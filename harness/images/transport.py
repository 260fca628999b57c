"""An image on its way to a registry and back, with every digest proven on the way.

A push with compression makes another manifest, whose digest is the registry's; the config, which names the uncompressed
layers, stays the same, and so the image that comes back is the one that went.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.errors import IntegrityError, ToolError, UsageError, advising
from harness.images.build import Image
from harness.images.compression import (
    MAX_UNPACKED,
    Compression,
    compressed,
    compression_of,
    decompressed,
    layer_type,
)
from harness.images.distribution.errors import ASK, Stopped
from harness.images.distribution.repository import Repository
from harness.images.manifest import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Documents, descriptor, oci_json
from harness.images.stored import StoredImage
from harness.locking.imagelock import LayerLock
from harness.locking.imagespec import check_image_name
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, digest_from_hex, hexadecimal
from harness.store.progress import SILENT, Progress, Task
from harness.store.store import Store

_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_ACCEPT = ", ".join((MANIFEST_TYPE, _DOCKER_MANIFEST, *_INDEXES))
_CONFIG_LIMIT = 4 << 20
_MOST_LAYERS = 127
_SIDE_BY_SIDE = 3
_READ = 1 << 20
_ALTERED = "The registry, or something on the way, alters what it is given: push the image again, or use another one."

Item = TypeVar("Item")
Result = TypeVar("Result")
Document = TypeVar("Document")


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the registry now. `manifest` is its digest there, `image` the image's own: equal if not compressed.

    `config` and the uncompressed layers are the same either way. `sent` and `held` count bytes that were sent, and
    that the registry had.
    """

    reference: str
    manifest: Digest
    image: Digest
    config: Digest
    compression: Compression
    sent: int
    held: int


class _Blob(msgspec.Struct, frozen=True):
    """A blob as it travels."""

    digest: Digest
    size: int


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """How a manifest names a blob."""

    media_type: str
    digest: Digest
    size: int


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest, as far as it is read."""

    config: _Descriptor
    layers: tuple[_Descriptor, ...]
    media_type: str = ""


class _RootFs(msgspec.Struct, frozen=True):
    """The digests of an image's uncompressed layers."""

    diff_ids: tuple[Digest, ...]


class _Config(msgspec.Struct, frozen=True):
    """A config, as far as it is read."""

    rootfs: _RootFs
    config: dict[str, object] | None = None


@advising(IntegrityError, _ALTERED)
@advising(ToolError, ASK)
def push_image(
    image: Image,
    repository: Repository,
    *,
    store: Store,
    compression: Compression = Compression.NONE,
    progress: Progress = SILENT,
) -> Pushed:
    """Bring an image into a registry; what the registry holds is not sent. The manifest comes last, under its tag.

    Without a tag in the reference it is the first 12 digits of the manifest's digest.

    Raises:
        HarnessError: a layer could not be made, or the registry does not take it.
        IntegrityError: the registry says that it received something else.
    """
    image.fetch()
    total = sum(layer.size for layer in image.lock.layers)
    sent, held, mutex = 0, 0, threading.Lock()
    with progress.task(f"Pushing to {repository.reference.host}", total=total, unit="bytes") as task:

        def deliver(blob: _Blob, path: Path, advance: Callable[[int], None]) -> None:
            nonlocal sent, held
            there = repository.has_blob(blob.digest, blob.size)
            if not there:
                repository.upload(blob.digest, path, advance)
            with mutex:
                sent, held = (sent, held + blob.size) if there else (sent + blob.size, held)

        def layer(one: LayerLock) -> _Blob:
            return _push_layer(one, image, store, compression, deliver, task)

        blobs = _side_by_side(layer, image.lock.layers, repository)
        config = _Blob(image.lock.config, len(image.config_bytes))
        deliver(config, image.blob(config.digest), lambda _: None)
    manifest = image.manifest_bytes if compression is Compression.NONE else _manifest(config, blobs, compression)
    tag = repository.reference.tag or hexadecimal(digest_of(manifest))[:12]
    digest = repository.put_manifest(manifest, MANIFEST_TYPE, tag)
    place = msgspec.structs.replace(repository.reference, tag=tag, digest=digest)
    return Pushed(
        reference=str(place),
        manifest=digest,
        image=image.lock.manifest,
        config=image.lock.config,
        compression=compression,
        sent=sent,
        held=held,
    )


@advising(IntegrityError, _ALTERED)
@advising(ToolError, ASK)
def pull_image(repository: Repository, *, store: Store, progress: Progress = SILENT) -> StoredImage:
    """Bring the image that a repository's reference names by digest into the store, uncompressed.

    An image that travelled compressed gets the manifest that its uncompressed layers make: of one that was pushed from
    here, its own again.

    Raises:
        UsageError: the reference has no digest, or it is of an index of several images.
        PrerequisiteError: the registry does not hold it, or does not let us have it.
        IntegrityError: anything that it serves is not what its digest says.
    """
    digest = repository.reference.digest
    if digest is None:
        raise UsageError(
            f"{repository.reference} names an image by a tag, which may mean another one tomorrow",
            hint="Name it by digest, as `harness push` printed it: HOST/NAME@sha256:…",
        )
    data, media_type = repository.manifest(digest, _ACCEPT)
    manifest = _read_manifest(data, media_type, repository)
    config_bytes = _config_bytes(repository, manifest.config)
    config = _decode(config_bytes, _Config, f"The config of {repository.reference}")
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise IntegrityError(
            f"{repository.reference} contradicts itself: {len(manifest.layers)} layers, {len(diff_ids)} in its config"
        )
    total = sum(layer.size for layer in manifest.layers)
    with progress.task(f"Pulling from {repository.reference.host}", total=total, unit="bytes") as task:

        def layer(pair: tuple[_Descriptor, Digest]) -> int:
            return _pull_layer(*pair, repository, store, task)

        sizes = _side_by_side(layer, tuple(zip(manifest.layers, diff_ids, strict=True)), repository)
    names = _layer_names(config_bytes, len(diff_ids))
    layers = [LayerLock(*parts) for parts in zip(names, diff_ids, sizes, strict=True)]
    as_it_is = media_type == MANIFEST_TYPE and all(one.media_type == LAYER_TYPE for one in manifest.layers)
    uncompressed = data if as_it_is else _manifest(
        _Blob(manifest.config.digest, manifest.config.size),
        [_Blob(one.digest, one.size) for one in layers],
        Compression.NONE,
    )  # fmt: skip
    documents = Documents(uncompressed, config_bytes)
    store.put_bytes(data)  # a document that names the image by the registry's digest needs its layers, too
    return StoredImage(_name(config, repository), documents, layers, store=store)


def _push_layer(
    layer: LayerLock,
    image: Image,
    store: Store,
    compression: Compression,
    deliver: Callable[[_Blob, Path, Callable[[int], None]], None],
    task: Task,
) -> _Blob:
    path = image.blob(layer.digest)
    told = 0

    def advance(amount: int) -> None:
        nonlocal told
        told += amount
        task.advance(amount)

    if compression is Compression.NONE:
        blob = _Blob(layer.digest, layer.size)
        deliver(blob, path, advance)
    else:
        with store.temporary_folder() as folder:
            blob = _compress(path, folder / "layer", compression)
            deliver(blob, folder / "layer", advance)
    task.advance(layer.size - told)
    return blob


def _compress(path: Path, target: Path, compression: Compression) -> _Blob:
    hashed, size = sha256(), 0
    with path.open("rb") as source, target.open("wb") as file:
        for chunk in compressed(iter(lambda: source.read(_READ), b""), compression):
            hashed.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return _Blob(digest_from_hex(hashed.hexdigest()), size)


def _pull_layer(layer: _Descriptor, diff_id: Digest, repository: Repository, store: Store, task: Task) -> int:
    """Bring one layer into the store; its uncompressed size."""
    compression = compression_of(layer.media_type)
    if compression is None:
        raise IntegrityError(
            f"{repository.reference} has a layer of a kind that no engine takes: {layer.media_type[:80]}"
        )
    if compression is Compression.NONE and layer.digest != diff_id:
        raise IntegrityError(f"{repository.reference} contradicts itself: its config and manifest name other layers")
    if store.has(diff_id):
        task.advance(layer.size)
        size = store.verified_path(diff_id).stat().st_size
        if compression is Compression.NONE and size != layer.size:
            raise IntegrityError(
                f"{repository.reference} says that {diff_id} has {layer.size} bytes, and it has {size}"
            )
        return size

    def counted() -> Iterator[bytes]:
        for chunk in repository.chunks(layer.digest, layer.size):
            task.advance(len(chunk))
            yield chunk

    with store.writer(diff_id, durable=False) as writer:
        for chunk in decompressed(counted(), compression):
            writer.write(chunk)
    return writer.size


def _side_by_side(work: Callable[[Item], Result], items: Sequence[Item], repository: Repository) -> list[Result]:
    """`work` on each of `items`, a few at a time; the first failure, or Ctrl-C, calls off the rest."""
    pool = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="transfer")
    try:
        doing: list[Future[Result]] = [pool.submit(work, item) for item in items]
        done, _ = wait(doing, return_when=FIRST_EXCEPTION)
        failed = [error for one in done if (error := one.exception()) is not None]
        if failed:
            raise next((error for error in failed if not isinstance(error, Stopped)), failed[0])
        return [one.result() for one in doing]
    except BaseException:
        repository.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _manifest(config: _Blob, layers: Sequence[_Blob], compression: Compression) -> bytes:
    return oci_json(
        {
            "config": descriptor(CONFIG_TYPE, config.digest, config.size),
            "layers": [descriptor(layer_type(compression), layer.digest, layer.size) for layer in layers],
            "mediaType": MANIFEST_TYPE,
            "schemaVersion": 2,
        }
    )


def _read_manifest(data: bytes, media_type: str, repository: Repository) -> _Manifest:
    what = f"The manifest of {repository.reference}"
    if media_type in _INDEXES or b'"manifests"' in data:
        raise UsageError(
            f"{repository.reference} is an index of images for several platforms, and not one image",
            hint="Name one of them by its own digest: `skopeo inspect --raw` or `docker manifest inspect` list them.",
        )
    manifest = _decode(data, _Manifest, what)
    if media_type not in (MANIFEST_TYPE, _DOCKER_MANIFEST) or manifest.media_type not in ("", media_type):
        raise IntegrityError(f"{what} is of a kind that is not known: {(media_type or manifest.media_type)[:80]!r}")
    sizes = [blob.size for blob in (manifest.config, *manifest.layers)]
    if len(manifest.layers) > _MOST_LAYERS or min(sizes) < 0 or max(sizes) > MAX_UNPACKED:
        raise IntegrityError(
            f"{what} names {len(manifest.layers)} layers of up to {max(sizes)} bytes, which is no image"
        )
    return manifest


def _config_bytes(repository: Repository, config: _Descriptor) -> bytes:
    if config.size > _CONFIG_LIMIT:
        raise IntegrityError(f"{repository.reference} has a config of {config.size} bytes, which no image has")
    return b"".join(repository.chunks(config.digest, config.size))


def _decode(data: bytes, kind: type[Document], what: str) -> Document:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{what} cannot be read: {str(error)[:200]}") from error


def _layer_names(config: bytes, count: int) -> list[str]:
    """What each layer is called: by the history that this builder writes, else its number."""
    history = msgspec.json.decode(config).get("history")
    made = [one.get("created_by") if isinstance(one, dict) else None for one in history or ()]
    if len(made) == count and all(isinstance(text, str) and text.startswith("harness: ") for text in made):
        return [str(text).removeprefix("harness: ") for text in made]
    return [f"layer-{number}" for number in range(1, count + 1)]


def _name(config: _Config, repository: Repository) -> str:
    """The image's name: its own label, else the last part of the repository's."""
    labels = (config.config or {}).get("Labels")
    label = labels.get("harness.image") if isinstance(labels, dict) else None
    if isinstance(label, str):
        with suppress(UsageError):
            return check_image_name(label)
    return repository.reference.name.rpartition("/")[2]
