"""Getting an image into the Docker daemon, and telling whether it is there."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import docker
from docker.errors import ImageNotFound, NotFound

from harness.engines.connection import daemon_errors, is_podman
from harness.errors import HarnessError, IntegrityError, ToolError
from harness.images.build import Image
from harness.images.export import archive_chunks, tag
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
        HarnessError: a layer could not be made.
        IntegrityError: the daemon took something, but not the image of that digest.
        ToolError: the daemon cannot take it.
    """
    try:
        (_pull_by_podman if is_podman(client) else _pull)(client, image, progress)
    except ToolError as error:
        if isinstance(reason := image.failure(), HarnessError):
            raise reason from error
        if not any(words in error.message for words in _UNREACHABLE):
            raise
        progress.note("The engine cannot reach this machine's loopback: handing it the image as an archive")
        _load(client, image, progress)
    reference = image.reference
    found = find_image(client, reference)
    if found is None:
        raise IntegrityError(
            f"After taking image {reference.name} the Docker daemon holds no image of digest {reference.manifest}",
            hint="Look at the daemon's log, and run `harness build` to check the image.",
        )
    name_image(client, image, found)
    return found


def name_image(client: docker.DockerClient, image: Image, identity: str) -> str:
    """Give the daemon's image `identity` the name under which a person finds `image`; that name.

    Raises:
        ToolError: the daemon failed.
    """
    repository, _, version = tag(image).partition(":")
    with daemon_errors(f"to name image {image.reference.name}"):
        client.api.tag(identity, repository, tag=version, force=True)
    return tag(image)


def _pull(client: docker.DockerClient, image: Image, progress: Progress) -> None:
    name = image.reference.name
    with serve(image) as address, progress.task(
        f"Docker takes image {name}", total=sum(layer.size for layer in image.lock.layers), unit="bytes"
    ) as task:  # fmt: skip
        repository, _, digest = address.partition("@")
        with daemon_errors(f"to pull image {name}"):
            events = client.api.pull(repository, tag=digest, stream=True, decode=True)
            follow_pull(_until_failure(events, image), image.lock.layers, task, name=name)


def _pull_by_podman(client: docker.DockerClient, image: Image, progress: Progress) -> None:
    """As `_pull`, by podman's own endpoint: through Docker's it would speak TLS to loopback too.

    https://docs.podman.io/en/v4.3/_static/api.html#tag/images/operation/ImagePullLibpod
    """
    name = image.reference.name
    api: Any = client.api
    total = sum(layer.size for layer in image.lock.layers)
    with serve(image) as address, progress.task(f"Podman takes image {name}", total=total, unit="bytes") as task:
        with daemon_errors(f"to pull image {name}"):
            answer = api.post(
                f"{api.base_url}/v4.0.0/libpod/images/pull",
                params={"reference": address, "tlsVerify": "false"},
                stream=True,
                timeout=api.timeout,
            )
            for line in answer.iter_lines():
                event = json.loads(line)
                # What failed is said inside the stream, or by a status with a message.
                if problem := event.get("error") or (event.get("message") if answer.status_code >= 400 else None):
                    raise ToolError(f"Podman could not take image {name}: {' '.join(str(problem).split())}")
        task.advance(total)


def _until_failure(events: Iterable[dict[str, Any]], image: Image) -> Iterator[dict[str, Any]]:
    """The events of a pull up to the first that is caused by a layer that cannot be made: the daemon would try on."""
    for event in events:
        if image.failure() is not None:
            raise ToolError(f"A layer of image {image.reference.name} cannot be made")
        yield event


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
    api: Any = client.api
    total = sum(layer.size for layer in image.lock.layers)
    with progress.task(f"Docker loads image {name}", total=total, unit="bytes") as task:

        def chunks() -> Iterator[bytes]:
            for chunk in archive_chunks(image):
                yield chunk
                task.advance(len(chunk))

        with daemon_errors(f"to load image {name}"):
            for event in api.load_image(chunks()):
                if "error" in event:
                    raise ToolError(f"The Docker daemon could not load image {name}: {event['error']}")
