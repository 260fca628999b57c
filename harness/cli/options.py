"""What several commands share: the engines by name, the store, lists on the command line."""

from enum import StrEnum
from pathlib import Path

from harness.engines.interface import Engine
from harness.errors import UsageError
from harness.store.progress import Progress
from harness.store.store import Store


class EngineName(StrEnum):
    """The engines that run a RunSpec."""

    DOCKER = "docker"
    HOST = "host"


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


def open_store() -> Store:
    """The user's store (`HARNESS_HOME`)."""
    return Store.default()


def split(text: str | None) -> tuple[str, ...] | None:
    """`a,b` as a tuple; null stays null.

    Raises:
        UsageError: a part is empty.
    """
    if text is None:
        return None
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise UsageError(f"{text!r} has an empty part", hint="Separate names by single commas: AAPL,JPM.")
    return parts
