"""The Docker daemon: where it listens, and what its failures mean in words."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException

from harness.errors import PrerequisiteError, ToolError

_START = "Run docker/ensure-engine.sh (or `make engine`), or start Docker."
# Long, because a layer may still be in the making while the daemon waits for it and says nothing.
_SECONDS_OF_SILENCE = 600


def connect(environ: Mapping[str, str] = os.environ) -> docker.DockerClient:
    """A client of the local daemon.

    Raises:
        PrerequisiteError: none answers, we may not use it, it is remote, or it shifts user ids.
    """
    address = engine_address(environ)
    try:
        client = docker.DockerClient(base_url=address, version="auto", timeout=_SECONDS_OF_SILENCE)
        security = client.info().get("SecurityOptions") or []
    except (DockerException, requests.RequestException, OSError) as error:
        if "Permission denied" in str(error):
            raise PrerequisiteError(
                f"You may not use the Docker daemon at {address}",
                hint="Become a member of the group `docker` and log in again.",
            ) from error
        raise PrerequisiteError(f"No Docker daemon answers at {address}", hint=_START) from error
    if any(option.startswith(("name=rootless", "name=userns")) for option in security):
        raise PrerequisiteError(
            f"The Docker daemon at {address} shifts user ids (rootless, userns-remap), so a run could write no results",
            hint="Use a daemon that does not, or the host engine (--engine host).",
        )
    return client


def engine_address(environ: Mapping[str, str]) -> str:
    """The address of the local daemon: `DOCKER_HOST`, else the usual sockets (the system's, Docker Desktop's).

    Raises:
        PrerequisiteError: `DOCKER_HOST` names a remote engine.
    """
    named = environ.get("DOCKER_HOST")
    if named:
        if not named.startswith("unix://"):
            raise PrerequisiteError(
                f"DOCKER_HOST={named} is not on this machine, and a remote engine could neither mount this machine's "
                "folders nor pull from the registry on its loopback",
                hint="Unset DOCKER_HOST, or point it to a local socket (unix:///path/to/docker.sock).",
            )
        return named
    sockets = [Path("/var/run/docker.sock"), Path(environ.get("HOME", "/nonexistent"), ".docker/run/docker.sock")]
    return f"unix://{next((socket for socket in sockets if socket.exists()), sockets[0])}"


def is_podman(client: docker.DockerClient) -> bool:
    """Whether what answers is podman in Docker's words: it differs where its documentation says nothing.

    Raises:
        ToolError: the daemon failed.
    """
    with daemon_errors("to say what it is"):
        components = client.version().get("Components") or []
    return any(str(component.get("Name", "")).startswith("Podman") for component in components)


@contextmanager
def daemon_errors(doing: str) -> Iterator[None]:
    """Turn a failure of the daemon asked `to do` something into one sentence.

    Raises:
        ToolError: the daemon refused, or stopped answering.
    """
    try:
        yield
    except APIError as error:
        raise ToolError(f"The Docker daemon refused {doing}: {explanation(error)}") from error
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise ToolError(f"The Docker daemon stopped answering when asked {doing}", hint=_START) from error


def explanation(error: APIError) -> str:
    """The daemon's own words, on one line."""
    return " ".join(str(error.explanation or error).split())
