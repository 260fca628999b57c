"""A base image: somebody else's layers under ours, read from a layout, an archive or a registry.

Every document and layer is held against the digest that names it, from the spec's own down. Layers are kept in the
store unpacked, by diff ID, as ours are; so they are served, exported and counted as ours are.
Formats: https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md and `config.md`, and for archives of
`docker save` https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md#combined-image-json--filesystem-changeset-format
"""

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Protocol

import msgspec

from harness.errors import IntegrityError, ToolError, UsageError, advising
from harness.images.compression import MAX_UNPACKED, compression_by, decompressed
from harness.images.distribution.errors import ASK
from harness.images.members import tar_members
from harness.locking.base import BaseImage, BaseLayer, BaseReference, Transport, parse_base
from harness.locking.imagespec import ImageSpec
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, digest_from_hex, hexadecimal
from harness.store.progress import Progress
from harness.store.store import Store

_CHUNK = 1 << 20
_DOCUMENT_LIMIT = 4 << 20
_DEPTH = 3
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# What would reach into every interpreter and program of a run, whose settings are the harness's to declare.
_REACHING = re.compile(r"PYTHON|LD_(?!LIBRARY_PATH\Z)|GLIBC_|MALLOC_|HARNESS_|REPRO_|(BASH_)?ENV\Z")


class _Descriptor(msgspec.Struct, frozen=True):
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=0)]
    media_type: str = msgspec.field(name="mediaType", default="")
    platform: dict[str, Any] = {}


class _Manifest(msgspec.Struct, frozen=True):
    """A manifest, or an index: then `manifests` has something."""

    config: _Descriptor | None = None
    layers: tuple[_Descriptor, ...] = ()
    manifests: tuple[_Descriptor, ...] = ()


class _RootFileSystem(msgspec.Struct, frozen=True):
    diff_ids: tuple[Digest, ...] = ()


class _Runtime(msgspec.Struct, frozen=True):
    variables: tuple[str, ...] | None = msgspec.field(name="Env", default=None)


class _Config(msgspec.Struct, frozen=True):
    architecture: str
    os: str
    rootfs: _RootFileSystem
    config: _Runtime | None = None


class _SavedImage(msgspec.Struct, frozen=True):
    """An image in the `manifest.json` of an archive of `docker save`."""

    config: str = msgspec.field(name="Config")
    layers: tuple[str, ...] = msgspec.field(name="Layers")


class _Source(Protocol):
    """Where a base's blobs are. What it gives is not trusted: whoever reads it checks."""

    def manifest(self, digest: Digest) -> bytes | None:
        """The manifest or index of that digest; None where it holds none."""

    def chunks(self, digest: Digest, size: int) -> Iterator[bytes]:
        """The bytes of a blob.

        Raises:
            UsageError: it is not there.
        """


class _Layout:
    """An OCI layout in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "oci-layout").is_file():
            raise UsageError(
                f"The base {folder} is no OCI layout: it is not a folder with a file oci-layout",
                hint="`skopeo copy docker://IMAGE oci:FOLDER` makes one; a relative path begins at the project.",
            )

    def manifest(self, digest: Digest) -> bytes | None:
        path = self._path(digest)
        return b"".join(_file_chunks(path, _DOCUMENT_LIMIT)) if path.is_file() else None

    def chunks(self, digest: Digest, size: int) -> Iterator[bytes]:
        path = self._path(digest)
        if not path.is_file():
            raise UsageError(f"The base {self._folder} does not hold {digest}", hint="Is the layout whole?")
        return _file_chunks(path, size)

    def _path(self, digest: Digest) -> Path:
        return self._folder / "blobs" / "sha256" / hexadecimal(digest)


class _Archive:
    """An OCI layout, or what `docker save` writes, as one tar archive."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.names = {member.name.removeprefix("./"): member for member in tar_members(file, f"The base {path}")}

    def manifest(self, digest: Digest) -> bytes | None:
        name = _blob_name(digest)
        return self.read(name) if name in self.names else None

    def chunks(self, digest: Digest, size: int) -> Iterator[bytes]:
        return self.member_chunks(_blob_name(digest), size)

    def read(self, name: str) -> bytes:
        """A document of the archive."""
        return b"".join(self.member_chunks(name, _DOCUMENT_LIMIT))

    def member_chunks(self, name: str, limit: int) -> Iterator[bytes]:
        """The bytes of a member, at most `limit` and one more."""
        member = self._file_of(name)
        if member is None:
            raise UsageError(f"The base {self._path} does not hold {name}", hint="Is the archive whole?")
        position, left = member.offset_data, min(member.size, limit + 1)
        while left:
            self._file.seek(position)
            chunk = self._file.read(min(_CHUNK, left))
            if not chunk:
                raise IntegrityError(f"The base {self._path} is a damaged archive: {name} ends too early")
            position, left = position + len(chunk), left - len(chunk)
            yield chunk

    def _file_of(self, name: str) -> tarfile.TarInfo | None:
        """The plain file that a name leads to, over one link at most: `docker save` writes an equal layer as a link."""
        member = self.names.get(name)
        if member is not None and (member.issym() or member.islnk()):
            folder = posixpath.dirname(name) if member.issym() else ""
            member = self.names.get(posixpath.normpath(posixpath.join(folder, member.linkname)))
        return member if member is not None and member.isreg() and not member.issparse() else None


class _Registry:
    """A repository of a registry."""

    def __init__(self, place: str) -> None:
        # Late: urllib3 is of no use to the builds of everybody else.
        from harness.images.credentials import find_credentials
        from harness.images.distribution.repository import Repository
        from harness.images.remote import parse_remote

        reference = parse_remote(place)
        self._repository = Repository(reference, credentials=find_credentials(reference.host, reference.name))

    def manifest(self, digest: Digest) -> bytes | None:
        accept = ", ".join(
            f"application/vnd.{kind}+json"
            for kind in (
                "oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
                "docker.distribution.manifest.v2",
            )
        )  # fmt: skip
        return self._repository.manifest(digest, accept)[0]

    def chunks(self, digest: Digest, size: int) -> Iterator[bytes]:
        chunks: Iterator[bytes] = self._repository.chunks(digest, size)
        return chunks


class _Found(msgspec.Struct, frozen=True):
    """A base's documents, and how to read each of its layers, bottom first."""

    manifest: Digest | None
    config_bytes: bytes
    config: _Config
    layers: tuple[tuple[Digest, Callable[[], Iterator[bytes]]], ...]


@advising(IntegrityError, "Get the base anew from whoever made it, or name another one in the image spec: `base:`.")
@advising(ToolError, ASK)
def load_base(spec: ImageSpec, root: Path, store: Store, progress: Progress) -> BaseImage | None:
    """What the base of `spec` is, its layers unpacked in the store; None where the spec names none.

    Raises:
        UsageError: the base is not there, is for another machine, or uses what cannot be taken over.
        IntegrityError: a document or layer is not what its digest says.
        HarnessError: the registry does not give it.
    """
    if spec.base is None:
        return None
    reference = parse_base(spec.base)
    with _open(reference, root) as source:
        found = _saved(source, reference) if isinstance(source, _Archive) else None
        found = found or _resolved(source, reference, spec.debian.architecture)
        _check_machine(found.config, spec)
        if len(found.config.rootfs.diff_ids) != len(found.layers):
            raise IntegrityError(f"The config of the base {spec.base} names other layers than its manifest")
        layers = []
        with progress.task("layers of the base", total=len(found.layers)) as task:
            for diff, (blob, chunks) in zip(found.config.rootfs.diff_ids, found.layers, strict=True):
                layers.append(BaseLayer(diff, _keep_layer(diff, blob, chunks, store), blob))
                task.advance(1)
    store.put_bytes(found.config_bytes)
    variables, left_out = _variables(found.config)
    if left_out:
        progress.note(f"Variables of the base that are not taken over: {', '.join(left_out)}")
    return BaseImage(
        manifest=found.manifest,
        config=digest_of(found.config_bytes),
        architecture=found.config.architecture,
        variables=variables,
        layers=tuple(layers),
    )


@contextmanager
def _open(reference: BaseReference, root: Path) -> Iterator[_Source]:
    if reference.transport is Transport.REGISTRY:
        yield _Registry(reference.place)
        return
    path = root / reference.place
    if reference.transport is Transport.LAYOUT:
        yield _Layout(path)
        return
    try:
        with path.open("rb") as file:
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except (OSError, tarfile.HeaderError) as error:
        raise UsageError(
            f"The base {path} cannot be read as a tar archive: {getattr(error, 'strerror', None) or error}",
            hint="`docker save` and `skopeo copy … oci-archive:FILE` write one; a compressed one is unpacked first.",
        ) from error
    with path.open("rb") as file:
        yield _Archive(path, file)


def _resolved(source: _Source, reference: BaseReference, architecture: str) -> _Found:
    """The base by the digest of its manifest, or of an index that leads to one."""
    digest = reference.digest
    for _ in range(_DEPTH):
        data = source.manifest(digest)
        if data is None:
            raise UsageError(f"The base {reference.place} holds no image {digest}", hint=_HOW_NAMED)
        _check(data, digest, reference)
        manifest = _decode(data, _Manifest, f"manifest {digest}")
        if not manifest.manifests:
            break
        digest = _choose(manifest.manifests, architecture, reference)
    if manifest.config is None:
        raise UsageError(
            f"The base {reference.place} has no image behind {digest}, but something else", hint=_HOW_NAMED
        )
    config_bytes = b"".join(_limited(source.chunks(manifest.config.digest, manifest.config.size), _DOCUMENT_LIMIT))
    _check(config_bytes, manifest.config.digest, reference)
    layers = tuple((layer.digest, _reader(source, layer, reference)) for layer in manifest.layers)
    return _Found(digest, config_bytes, _decode(config_bytes, _Config, "config"), layers)


def _saved(archive: _Archive, reference: BaseReference) -> _Found | None:
    """The base by the digest of its config, as `docker save` writes it; None if the digest is none of these."""
    if _blob_name(reference.digest) in archive.names and "index.json" in archive.names:
        data = archive.read(_blob_name(reference.digest))
        if b'"rootfs"' not in data:
            return None  # a manifest's digest
    if "manifest.json" not in archive.names:
        return None
    for image in _decode(archive.read("manifest.json"), tuple[_SavedImage, ...], "manifest.json"):
        data = archive.read(image.config)
        if digest_of(data) == reference.digest:
            config = _decode(data, _Config, "config")
            # Such an archive names layers by place alone: the config's diff IDs are what they are held against.
            layers = tuple(
                (diff, lambda name=name: archive.member_chunks(name, MAX_UNPACKED))
                for diff, name in zip(config.rootfs.diff_ids, image.layers, strict=False)
            )
            if len(layers) != len(image.layers):
                raise IntegrityError(f"The config of the base {reference.place} names other layers than its archive")
            return _Found(None, data, config, layers)
    return None


def _choose(manifests: Sequence[_Descriptor], architecture: str, reference: BaseReference) -> Digest:
    """The one manifest of an index that is for Linux on `architecture`."""
    fitting = [
        one.digest
        for one in manifests
        if not one.platform or (one.platform.get("os"), one.platform.get("architecture")) == ("linux", architecture)
    ]
    if len(fitting) != 1:
        there = ", ".join(sorted(f"{one.platform.get('os')}/{one.platform.get('architecture')}" for one in manifests))
        what = f"{len(fitting)} images" if fitting else "no image"
        raise UsageError(
            f"The base {reference.place} has {what} for linux/{architecture} (it has {there or 'none'})",
            hint="Name the digest of the very image, not of the index.",
        )
    return fitting[0]


def _reader(source: _Source, layer: _Descriptor, reference: BaseReference) -> Callable[[], Iterator[bytes]]:
    if "foreign" in layer.media_type or "nondistributable" in layer.media_type:
        raise UsageError(f"A layer of the base {reference.place} may not be passed on ({layer.media_type})")

    def chunks() -> Iterator[bytes]:
        hashed, size = sha256(), 0
        for chunk in _limited(source.chunks(layer.digest, layer.size), layer.size):
            hashed.update(chunk)
            size += len(chunk)
            yield chunk
        if digest_from_hex(hashed.hexdigest()) != layer.digest or size != layer.size:
            raise IntegrityError(f"The base {reference.place} has other bytes as its blob {layer.digest}")

    return chunks


def _keep_layer(diff: Digest, blob: Digest, chunks: Callable[[], Iterator[bytes]], store: Store) -> int:
    """Put a layer in the store, unpacked; how many bytes it has. Nothing is read that the store has."""
    if not store.has(diff):
        # Not durable, as our own layers are not: they are checked whenever they leave the store.
        with store.writer(durable=False) as writer:
            for chunk in _unpacked(chunks()):
                writer.write(chunk)
            if writer.digest != diff:
                raise IntegrityError(
                    f"The layer {blob} of the base unpacks to {writer.digest}, and its config says {diff}"
                )
    return store.path(diff).stat().st_size


def _unpacked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The tar archive that a blob is, as it is or compressed by gzip or zstd: its first bytes tell."""
    first = next(chunks, b"")
    return decompressed(chain((first,), chunks), compression_by(first))


def _check_machine(config: _Config, spec: ImageSpec) -> None:
    wanted = spec.debian.architecture
    if (config.os, config.architecture) != ("linux", wanted):
        raise UsageError(
            f"The base {spec.base} is for {config.os}/{config.architecture}, and {spec.name} for linux/{wanted}",
            hint="Name a base of that architecture, or correct debian.architecture.",
        )


def _variables(config: _Config) -> tuple[dict[str, str], list[str]]:
    """The variables that are taken over, sorted, and the names of those that are not."""
    pairs = dict(line.partition("=")[::2] for line in (config.config and config.config.variables) or ())
    taken = {
        name: value
        for name, value in sorted(pairs.items())
        if _VARIABLE.match(name) and not _REACHING.match(name) and value.isprintable()
    }
    return taken, sorted(set(pairs) - set(taken))


def _decode(data: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"The {what} of the base cannot be read: {error}") from error


def _check(data: bytes, digest: Digest, reference: BaseReference) -> None:
    if len(data) > _DOCUMENT_LIMIT or digest_of(data) != digest:
        raise IntegrityError(f"The base {reference.place} has other bytes as {digest}")


def _file_chunks(path: Path, limit: int) -> Iterator[bytes]:
    left = limit
    with path.open("rb") as file:
        while left >= 0 and (chunk := file.read(_CHUNK)):
            left -= len(chunk)
            yield chunk


def _limited(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """The chunks up to the first that goes past `limit` bytes; that there was more shows in the digest."""
    left = limit
    for chunk in chunks:
        yield chunk
        left -= len(chunk)
        if left < 0:
            return


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{hexadecimal(digest)}"


_HOW_NAMED = "The digest is that of a manifest or index (`skopeo inspect`); for `docker save`, the image's id."
