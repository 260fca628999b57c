"""A self-contained image: an environment's layers, and a last one with the code that runs in it.

The environment below stays what it was, layer for layer; its manifest's digest is a label of the image above it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.errors import IntegrityError
from harness.images.build import Image
from harness.images.layer import layer_chunks
from harness.images.manifest import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Documents, descriptor, oci_json
from harness.images.stored import StoredImage
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.imagelock import LayerLock
from harness.record.hashing import digest_of
from harness.spec.run import Mount
from harness.store.store import Store
from harness.store.trees import FileEntry, FolderEntry, LinkEntry, list_tree

LAYER = "code"
ENVIRONMENT_LABEL = "harness.environment"
_CREATED = "1970-01-01T00:00:00Z"
_CHUNK = 1 << 20


def code_image(
    below: Image,
    trees: Sequence[Mount],
    *,
    folder: str,
    empty: Mapping[str, int],
    environment: Mapping[str, str],
    entrypoint: Sequence[str],
    working_directory: str,
    store: Store,
) -> StoredImage:
    """The image `below` with `trees` (folders of the store) under `folder`, each by its name; a pure function of these.

    Folders in `trees` may be written by everybody, because a node runs the image as whom it likes; `empty` are empty
    folders with their modes. Each tree's digest is a label, as `harness.NAME`.

    Raises:
        IntegrityError: the store's folders changed while they were read.
    """
    entries: dict[str, Entry] = {folder: Directory(0o755)}
    for tree in trees:
        entries[f"{folder}/{tree.name}"] = Directory(0o777)
        entries |= {f"{folder}/{tree.name}/{path}": entry for path, entry in _entries(Path(tree.source))}
    entries |= {f"{folder}/{name}": Directory(mode) for name, mode in empty.items()}
    with store.writer(durable=False) as writer:
        for chunk in layer_chunks(sorted(entries.items())):
            writer.write(chunk)
    layer = LayerLock(LAYER, writer.digest, writer.size)
    name = f"{below.lock.name}-code"
    labels = {
        "harness.image": name,
        "org.opencontainers.image.title": name,
        ENVIRONMENT_LABEL: below.lock.manifest,
        **{f"harness.{tree.name}": tree.digest for tree in trees},
    }
    documents = _documents(below, layer, labels, environment, entrypoint, working_directory)
    return StoredImage(name, documents, (*below.lock.layers, layer), store=store, inputs=below.lock.inputs, below=below)


class _Stored:
    """A file of a folder in the store."""

    def __init__(self, path: Path, entry: FileEntry) -> None:
        self._path = path
        self._entry = entry

    @property
    def size(self) -> int:
        """Bytes."""
        return self._entry.size

    @property
    def source(self) -> str:
        """The digest of the bytes."""
        return self._entry.digest

    def chunks(self) -> Iterator[bytes]:
        """The bytes, from the file."""
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise IntegrityError(f"{self._path} in the store cannot be read: {error.strerror}") from error


def _entries(folder: Path) -> Iterator[tuple[str, Entry]]:
    for path, entry in list_tree(folder).items():
        match entry:
            case FolderEntry():
                yield path, Directory(0o777)
            case LinkEntry(target):
                yield path, Symlink(target)
            case FileEntry():
                yield path, File(0o755 if entry.executable else 0o644, _Stored(folder / path, entry))


def _documents(
    below: Image,
    layer: LayerLock,
    labels: Mapping[str, str],
    environment: Mapping[str, str],
    entrypoint: Sequence[str],
    working_directory: str,
) -> Documents:
    config = json.loads(below.config_bytes)
    inherited = dict(entry.split("=", 1) for entry in config["config"]["Env"])
    config["config"] |= {
        "Entrypoint": list(entrypoint),
        "Env": [f"{name}={value}" for name, value in sorted({**inherited, **environment}.items())],
        "Labels": {**config["config"]["Labels"], **labels},
        "WorkingDir": working_directory,
    }
    config["history"].append({"created": _CREATED, "created_by": f"harness: {layer.name}"})
    config["rootfs"]["diff_ids"].append(layer.digest)
    config_bytes = oci_json(config)
    manifest = json.loads(below.manifest_bytes)
    manifest["config"] = descriptor(CONFIG_TYPE, digest_of(config_bytes), len(config_bytes))
    manifest["layers"].append(descriptor(LAYER_TYPE, layer.digest, layer.size))
    manifest["mediaType"] = MANIFEST_TYPE
    return Documents(oci_json(manifest), config_bytes)
