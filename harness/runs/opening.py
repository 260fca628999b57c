"""The engines by name, and the environments that the release checks know by theirs."""

from enum import StrEnum
from pathlib import Path

import msgspec

from harness.engines.host_environment import IMAGE as HOST_IMAGE
from harness.engines.interface import Engine
from harness.locking.imagespec import load_image_spec
from harness.store.progress import Progress
from harness.store.store import Store


class EngineName(StrEnum):
    """The engines that run a RunSpec."""

    DOCKER = "docker"
    HOST = "host"


class Environment(msgspec.Struct, frozen=True):
    """Something that can be run in: `host` is a plain process with the CPU image's wheels, any other name an image."""

    name: str
    engine: EngineName
    image: str


def environment(name: str, root: Path) -> Environment:
    """The environment of that name in the checkout `root`.

    Raises:
        UsageError: it is neither `host` nor an image that has a spec.
    """
    if name == EngineName.HOST:
        return Environment(name, EngineName.HOST, HOST_IMAGE)
    return Environment(name, EngineName.DOCKER, load_image_spec(root, name).name)


def open_engine(name: EngineName, root: Path, store: Store, progress: Progress) -> Engine:
    """The engine of that name, ready to be asked.

    Raises:
        PrerequisiteError: no Docker daemon answers, or this machine cannot hold the host environment.
    """
    match name:
        case EngineName.DOCKER:
            from harness.engines.docker import DockerEngine  # a quarter of a second, which `build` need not wait

            return DockerEngine(progress=progress)
        case EngineName.HOST:
            from harness.engines.host import HostEngine

            return HostEngine(root, store, progress=progress)
