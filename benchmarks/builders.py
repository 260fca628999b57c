"""The alternatives to the harness's own images, at their best: BuildKit and buildah with uv on the same base and lock.

Both install from wheels that lie beside the build (nothing is copied into it), offline, without compiling bytecode. A
warm build finds uv's cache as the last build left it: every wheel unpacked. Neither exports anything.
"""

import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

import docker
import uv

from benchmarks.commands import run
from harness.errors import PrerequisiteError

BASE = "benchmark/base:latest"
WHEELS = "benchmark/wheels:latest"
INSTALL = (
    '["/build/uv", "pip", "install", "--offline", "--no-index", "--find-links", "/build/wheels", "--require-hashes", '
    '"--system", "--break-system-packages", "--python", "/usr/bin/python3.11", "--requirement", "/build/python.txt"]'
)
_ENVIRONMENT = "ENV UV_CACHE_DIR=/root/.cache/uv UV_COMPILE_BYTECODE=0"
COLD, WARM = "cold.Dockerfile", "warm.Dockerfile"


def lay_out(folder: Path, lock: Path, wheels: Iterable[tuple[str, Path]]) -> None:
    """Put uv, the lock and the wheels (name and file) into `folder`, where a build finds them; links, not copies."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)
    shutil.copy(uv.find_uv_bin(), folder / "uv")
    shutil.copy(lock, folder / "python.txt")
    for name, path in wheels:
        os.link(path, folder / "wheels" / name)


class BuildKit:
    """`docker build` by BuildKit, in the daemon at `address`. Wheels are an image of their own, bound into the build.

    Raises:
        PrerequisiteError: no docker client on PATH can ask for BuildKit.
    """

    def __init__(self, address: str, scratch: Path, base: Path) -> None:
        self._command = _docker_with_buildkit()
        self._client = docker.DockerClient(base_url=address)
        self._environment = {"DOCKER_HOST": address, "DOCKER_BUILDKIT": "1"}
        self._context = scratch / "context"
        self._context.mkdir()
        bound = f"--mount=type=bind,from={WHEELS},target=/build"
        cache = "--mount=type=cache,target=/root/.cache/uv"
        for name, mounts, mode in ((COLD, bound, "hardlink"), (WARM, f"{bound} {cache}", "copy")):
            text = f"FROM {BASE}\n{_ENVIRONMENT} UV_LINK_MODE={mode}\nRUN {mounts} {INSTALL}\n"
            if name == COLD:
                text = text.replace('"install",', '"install", "--no-cache",')
            (self._context / name).write_text(text)
        self._import(base, BASE)

    def take(self, folder: Path, scratch: Path) -> None:
        """Make the image that holds what `lay_out` laid out."""
        archive = scratch / "wheels.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(folder, ".")
        self._import(archive, WHEELS)
        archive.unlink()

    def build(self, file: str) -> str:
        """Build; the image's id."""
        command = (self._command, "build", "--quiet", "--no-cache", "--network", "none", "--file", self._context / file)
        return run((*command, self._context), environment=self._environment).strip()

    def size(self, image: str) -> int:
        """Bytes of all the image's layers."""
        return int(self._client.images.get(image).attrs["Size"])

    def forget(self) -> None:
        """Take every image but base and wheels out of the daemon; build caches stay."""
        for image in self._client.images.list(all=True):
            if not {BASE, WHEELS} & set(image.tags):
                self._client.api.remove_image(str(image.id), force=True)

    def _import(self, archive: Path, tag: str) -> None:
        repository, _, version = tag.partition(":")
        self._client.api.import_image(src=str(archive), repository=repository, tag=version)


def _docker_with_buildkit() -> Path:
    """A client that can ask for BuildKit: by the plug-in buildx, or by itself, as clients before version 23 could."""
    for folder in os.get_exec_path():
        client = Path(folder) / "docker"
        if not client.is_file():
            continue
        version = run((client, "--version")).removeprefix("Docker version ").partition(".")[0]
        if (version.isdigit() and int(version) < 23) or run((client, "buildx", "version"), accept=(0, 1, 125)):
            return client
    raise PrerequisiteError("No docker client here can build with BuildKit: install the plug-in buildx")


class Buildah:
    """`buildah build`, into a container storage of its own, from which podman would run. Wheels are a bound folder.

    Raises:
        PrerequisiteError: there is no buildah.
    """

    def __init__(self, scratch: Path, base: Path) -> None:
        if shutil.which("buildah") is None:
            raise PrerequisiteError("There is no buildah: install Debian's package buildah")
        self._folder = scratch / "buildah"
        self._folder.mkdir()
        text = f"FROM {BASE}\n{_ENVIRONMENT} UV_LINK_MODE=hardlink\nRUN {INSTALL}\n"
        (self._folder / COLD).write_text(text.replace('"install",', '"install", "--no-cache",'))
        container = self._run("from", "scratch").strip()
        self._run("add", "--quiet", container, base)
        self._run("commit", "--quiet", container, BASE)
        self._run("rm", container)

    def build(self, wheels: Path) -> str:
        """Build; the image's id."""
        arguments = ("--quiet", "--no-cache", "--pull-never", "--isolation", "chroot", "--volume")
        return self._run(
            "build", *arguments, f"{wheels}:/build:ro", "--file", self._folder / COLD, self._folder
        ).strip()

    def forget(self, image: str) -> None:
        """Take an image out of the storage."""
        self._run("rmi", image)

    def _run(self, command: str, *arguments: str | Path) -> str:
        where = ("--root", self._folder / "root", "--runroot", self._folder / "run", "--storage-driver", "overlay")
        return run(("buildah", *where, command, *arguments))
