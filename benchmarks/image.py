"""From lockfiles to an image that the engine can run, artifacts at hand: the harness against `docker build` with uv."""

import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import docker
import uv

from benchmarks.commands import ROOT, harness, run
from benchmarks.daemon import private_daemon
from benchmarks.figures import Bound, Check, Figure, Result, Skipped, ratios
from benchmarks.rounds import rounds, seconds
from harness.errors import PrerequisiteError
from harness.images.build import build
from harness.locking.debian import read_debian_lock
from harness.locking.python import read_python_lock
from harness.store.store import Store

IMAGE = "cpu"
_LOCKS = ROOT / "lockfiles" / IMAGE
_BASE = "benchmark/base:latest"
_DOCKERFILE = f"""
FROM {_BASE}
RUN ["/build/uv", "pip", "install", "--offline", "--no-cache", "--no-index", "--find-links", "/build/wheels", \
"--require-hashes", "--system", "--break-system-packages", "--python", "/usr/bin/python3.11", \
"--requirement", "/build/python.txt"]
"""


def image_figures(count: int, note: Callable[[str], None]) -> list[Result]:
    """Time from lockfiles to runnable, whether the outcome is the same image, and the time of doing nothing."""
    store = Store.default()
    note("the image's artifacts and Debian layer")
    build(IMAGE, root=ROOT, store=store)
    with tempfile.TemporaryDirectory(prefix="hb-", dir=store.home.parent) as scratch:
        try:
            with private_daemon() as address:
                return _figures(Path(scratch), address, store, count, note)
        except PrerequisiteError as error:
            return [Skipped(name="image", reason=error.message)]


def _figures(scratch: Path, address: str, store: Store, count: int, note: Callable[[str], None]) -> list[Result]:
    client = docker.DockerClient(base_url=address)
    _import_base(client, scratch / "base.tar", store)
    context = scratch / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(_DOCKERFILE)
    home = scratch / "home"
    ours: list[str] = []
    theirs: list[str] = []

    def assemble() -> float:
        environment = {"HARNESS_HOME": str(_cold_home(home, store)), "DOCKER_HOST": address}
        _empty(client)
        return seconds(lambda: ours.append(_ready(environment)))

    def build_with_docker() -> float:
        _empty(client)
        command = ("docker", "build", "--quiet", "--no-cache", "--network", "none", context)
        return seconds(lambda: theirs.append(run(command, environment={"DOCKER_HOST": address}).strip()))

    taken = rounds(count, {"harness": assemble, "docker build": build_with_docker}, note)
    environment = {"HARNESS_HOME": str(home), "DOCKER_HOST": address}
    _ready(environment)
    unchanged = rounds(
        2 * count,
        {
            "build": lambda: seconds(lambda: harness("build", IMAGE, environment=environment)),
            "ready": lambda: seconds(lambda: _ready(environment)),
        },
        note,
    )
    return [
        Figure(
            name="image",
            statement="lockfiles to runnable in the engine: time against `docker build` with `uv pip install`",
            unit="x",
            values=ratios(taken["harness"], taken["docker build"]),
            bound=Bound.AT_MOST,
            target=2.0,
        ),
        Figure(name="seconds", statement="the harness: layers made and taken by the engine", unit="s",
               values=tuple(taken["harness"])),
        Figure(name="seconds", statement="`docker build`", unit="s", values=tuple(taken["docker build"])),
        Check(
            name="image",
            statement="the harness's images are one",
            holds=len(set(ours)) == 1,
            detail=f"{len(ours)} builds, {len(set(ours))} digest(s)",
        ),
        Check(
            name="image",
            statement="`docker build`'s images are not (so there is something to gain)",
            holds=len(set(theirs)) == len(theirs) > 1,
            detail=f"{len(theirs)} builds, {len(set(theirs))} id(s)",
        ),
        Figure(
            name="image", statement="`harness build cpu` with nothing changed", unit="s",
            values=tuple(unchanged["build"]), bound=Bound.AT_MOST, target=0.5,
        ),
        Figure(
            name="image", statement="the same, and the engine asked for the image", unit="s",
            values=tuple(unchanged["ready"]), bound=Bound.AT_MOST, target=0.5,
        ),
    ]  # fmt: skip


def _ready(environment: dict[str, str]) -> str:
    return run([sys.executable, "-m", "benchmarks.ready", IMAGE], environment=environment).strip()


def _cold_home(home: Path, store: Store) -> Path:
    """A store that holds the image's artifacts and nothing else."""
    shutil.rmtree(home, ignore_errors=True)
    cold = Store(home)
    packages = [package.digest for package in read_debian_lock(_LOCKS / "debian.lock").packages]
    for digest in (*packages, *(wheel.digest for wheel in read_python_lock(_LOCKS / "python.txt").wheels)):
        cold.path(digest).parent.mkdir(exist_ok=True)
        os.link(store.path(digest), cold.path(digest))
    return home


def _empty(client: docker.DockerClient) -> None:
    """Take every image but the base out of the engine."""
    for image in client.images.list(all=True):
        if _BASE not in image.tags:
            client.api.remove_image(str(image.id), force=True)


def _import_base(client: docker.DockerClient, archive: Path, store: Store) -> None:
    """The harness's own Debian layer as an image, with uv, lock and wheels in it, so that none is copied later."""
    layers = build(IMAGE, root=ROOT, store=store).layers
    debian = next(layer for layer in layers if layer.name == "debian")
    shutil.copyfile(store.verified_path(debian.digest), archive)
    with tarfile.open(archive, "a") as tar:
        tar.add(uv.find_uv_bin(), "build/uv")
        tar.add(_LOCKS / "python.txt", "build/python.txt")
        for wheel in read_python_lock(_LOCKS / "python.txt").wheels:
            tar.add(store.path(wheel.digest), f"build/wheels/{wheel.filename}")
    repository, _, tag = _BASE.partition(":")
    client.api.import_image(src=str(archive), repository=repository, tag=tag)
    archive.unlink()
