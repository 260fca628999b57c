"""Getting an image into the Docker daemon, and telling whether it is there."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import docker
from docker.errors import ImageNotFound, NotFound

from harness.engines.connection import daemon_errors
from harness.engines.interface import Image
from harness.errors import IntegrityError, ToolError
from harness.images.export import write_archive
from harness.images.registry import serve
from harness.locking.imagelock import LayerLock
from harness.spec.digest import hexadecimal
from harness.spec.run import ImageReference
from harness.store.progress import Progress, Task

# What the daemon says where the loopback that it sees is not ours: Docker Desktop runs it in a virtual machine.
_UNREACHABLE = ("connection refused", "no such host", "i/o timeout", "network is unreachable", "no route to host")


def find_image(client: docker.DockerClient, reference: ImageReference) -> str | None:
    """The daemon's own id of the image, or null where it does not hold it.

    The classic store knows an image by its config's digest, the containerd store by its manifest's. Either pins every
    byte, so nothing else (a tag, a name) is asked.

    Raises:
        ToolError: the daemon failed.
    """
    api: Any = client.api
    with daemon_errors(f"to look for image {reference.name}"):
        for digest in (reference.config, reference.manifest):
            try:
                if api.inspect_image(digest)["Id"] == digest:
                    return digest
            except (ImageNotFound, NotFound):
                continue
    return None


def deliver_image(client: docker.DockerClient, image: Image, progress: Progress) -> str:
    """Bring an image into the daemon, by pulling it by digest or else as an archive, and return its id there.

    Raises:
        IntegrityError: the daemon took something, but not the image of that digest.
        ToolError: the daemon cannot take it.
    """
    reference = image.reference
    try:
        _pull(client, image, progress)
    except _UnreachableError:
        progress.note("The engine cannot reach this machine's loopback: handing it the image as an archive")
        _load(client, image, progress)
    found = find_image(client, reference)
    if found is None:
        raise IntegrityError(
            f"After taking image {reference.name} the Docker daemon holds no image of digest {reference.manifest}",
            hint="Look at the daemon's log, and run `harness build` to check the image.",
        )
    with daemon_errors(f"to name image {reference.name}"):
        client.api.tag(found, f"harness/{reference.name}", tag=hexadecimal(reference.manifest)[:12], force=True)
    return found


class _UnreachableError(Exception):
    pass


def _pull(client: docker.DockerClient, image: Image, progress: Progress) -> None:
    name = image.reference.name
    with serve(image) as address, progress.task(
        f"Docker takes image {name}", total=sum(layer.size for layer in image.lock.layers), unit="bytes"
    ) as task:  # fmt: skip
        repository, _, digest = address.partition("@")
        with daemon_errors(f"to pull image {name}"):
            events = client.api.pull(repository, tag=digest, stream=True, decode=True)
            follow_pull(events, image.lock.layers, task, name=name)


def follow_pull(events: Iterable[dict[str, Any]], layers: Iterable[LayerLock], task: Task, *, name: str) -> None:
    """Draw a pull's events; a layer counts half when it has come and half when it is unpacked.

    Raises:
        ToolError: the pull failed, which the daemon says inside the stream.
    """
    sizes = {hexadecimal(layer.digest)[:12]: layer.size for layer in layers}
    done = dict.fromkeys(sizes, 0.0)
    for event in events:
        if "error" in event:
            message = " ".join(str(event["error"]).split())
            if any(words in message for words in _UNREACHABLE):
                raise _UnreachableError(message)
            raise ToolError(f"The Docker daemon could not take image {name}: {message}")
        layer = event.get("id", "")
        if layer in sizes:
            now = max(done[layer], _layer_progress(event, sizes[layer]))
            task.advance(now - done[layer])
            done[layer] = now
    task.advance(sum(sizes.values()) - sum(done.values()))


def _layer_progress(event: dict[str, Any], size: int) -> float:
    current = (event.get("progressDetail") or {}).get("current") or 0
    match event.get("status"):
        case "Downloading":
            return min(current, size) / 2
        case "Download complete":
            return size / 2
        case "Extracting":
            return size / 2 + min(current, size) / 2
        case "Pull complete" | "Already exists":
            return size
    return 0


def _load(client: docker.DockerClient, image: Image, progress: Progress) -> None:
    name = image.reference.name
    with tempfile.TemporaryDirectory(prefix="harness-image-") as folder:
        archive, api = Path(folder) / "image.tar", cast(Any, client.api)
        write_archive(image, archive)
        with (
            progress.task(f"Docker loads image {name}", unit="items"),
            archive.open("rb") as file,
            daemon_errors(f"to load image {name}"),
        ):
            for event in api.load_image(file):
                if "error" in event:
                    raise ToolError(f"The Docker daemon could not load image {name}: {event['error']}")
