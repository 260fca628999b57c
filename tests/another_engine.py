"""Run a command with another container engine than the machine's own, which ends with it.

    python -m tests.another_engine containerd python -m pytest tests/integration/test_docker_engine.py
    python -m tests.another_engine podman python -m pytest tests/integration/test_docker_engine.py

`containerd` is Debian trixie's Docker with the containerd image store, Docker 29's default; its packages are fetched by
digest and unpacked to a temporary folder. `podman` is the installed one behind its Docker-compatible socket. Where an
engine cannot run here the answer is 77, with the reason on stderr.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from harness.errors import HarnessError
from harness.spec.digest import digest_from_hex
from harness.store.artifact import DebianFile
from harness.store.fetch import fetch
from harness.store.progress import SILENT
from harness.store.store import Store

CANNOT = 77
_PATIENCE_SECONDS = 60
_SNAPSHOT = "20260913T075541Z"
_PACKAGES = (
    ("pool/main/c/containerd/containerd_1.7.24~ds1-6+deb13u1_amd64.deb", 32784720,
     "ed708deb96fe476a3bce4efa5c0538dfbcf717ab9a7c7944ba7260342c25899c"),
    ("pool/main/d/docker.io/docker.io_26.1.5+dfsg1-9+deb13u1_amd64.deb", 23037844,
     "142fe32f839a20720b2e6074b8d28d883b01bc45345f7315586b0c2d348dae87"),
)  # fmt: skip
# A script of that name, so that tests that start daemons of their own get the same one.
_DOCKERD = """#!/bin/sh
exec {root}/usr/sbin/dockerd --config-file={folder}/daemon.json "$@"
"""


class CannotRunError(Exception):
    """Why an engine cannot run on this machine, in one sentence."""


@contextmanager
def containerd(folder: Path) -> Iterator[dict[str, str]]:
    """Trixie's Docker with the containerd image store; the variables that lead to it."""
    if missing := [name for name in ("dpkg-deb", "runc") if shutil.which(name) is None]:
        raise CannotRunError(f"{missing[0]} is not installed")
    root, own = folder / "root", folder / "bin"
    own.mkdir()
    for file in _fetched():
        subprocess.run(["dpkg-deb", "-x", file, root], check=True)
    (folder / "daemon.json").write_text('{"features": {"containerd-snapshotter": true}}')
    (own / "dockerd").write_text(_DOCKERD.format(root=root, folder=folder))
    (own / "dockerd").chmod(0o755)
    path = f"{own}:{root}/usr/bin:{root}/usr/sbin:{os.environ['PATH']}"
    command = [
        "dockerd", f"--host=unix://{folder}/engine.sock", f"--data-root={folder}/data", f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid", "--shutdown-timeout=1", "--bridge=none", "--iptables=false", "--ip-masq=false",
    ]  # fmt: skip
    with _running(folder, command, {**os.environ, "PATH": path}) as address:
        yield {"DOCKER_HOST": address, "PATH": path}


@contextmanager
def podman(folder: Path) -> Iterator[dict[str, str]]:
    """The installed podman with a storage of its own; the variables that lead to it."""
    if missing := [name for name in ("podman", "runc") if shutil.which(name) is None]:
        raise CannotRunError(f"{missing[0]} is not installed (apt-get install podman catatonit runc)")
    if not Path("/usr/libexec/podman/catatonit").exists():
        raise CannotRunError("podman has no init to start containers with (apt-get install catatonit)")
    command = [
        "podman", f"--root={folder}/data", f"--runroot={folder}/run", "--runtime=runc", "--cgroup-manager=cgroupfs",
        "--events-backend=file", "system", "service", "--time=0", f"unix://{folder}/engine.sock",
    ]  # fmt: skip
    with _running(folder, command, os.environ) as address:
        yield {"DOCKER_HOST": address}


def _fetched() -> list[Path]:
    store = Store.default()
    files = [DebianFile(path, digest_from_hex(sha256), size, "trixie", _SNAPSHOT) for path, size, sha256 in _PACKAGES]
    fetch(store, files, progress=SILENT)
    return [store.verified_path(file.digest) for file in files]


@contextmanager
def _running(folder: Path, command: list[str], variables: "os._Environ[str] | dict[str, str]") -> Iterator[str]:
    address = f"unix://{folder}/engine.sock"
    with (folder / "log").open("wb") as log:
        # In the folder: podman's monitor leaves a file `oom` where it works when a container runs out of memory.
        process = subprocess.Popen(
            command, cwd=folder, env=dict(variables), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRunError(f"{command[0]} did not start: {(folder / 'log').read_text()[-1000:].strip()}")
            time.sleep(0.2)
        (folder / "engine.sock").chmod(0o666)  # some tests ask it as another user
        yield address
        for container in docker.DockerClient(base_url=address).containers.list(all=True):
            container.remove(force=True)
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for path in reversed(mounted):
            if path.startswith(f"{folder}/"):
                subprocess.run(["umount", "--lazy", path], check=False)


def _answers(address: str) -> bool:
    try:
        return bool(docker.DockerClient(base_url=address).ping())
    except Exception:
        return False


def main(arguments: list[str]) -> int:
    """The command's exit code; 77 where the engine cannot run here."""
    engines = {"containerd": containerd, "podman": podman}
    if len(arguments) < 2 or arguments[0] not in engines:
        sys.stderr.write(__doc__ or "")
        return 2
    if os.geteuid() != 0:
        sys.stderr.write("Only root can start an engine of its own\n")
        return CANNOT
    # The name of a socket may have a hundred characters, and the system's folder may be a file system in memory.
    folder = Path(tempfile.mkdtemp(prefix="he.", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with engines[arguments[0]](folder) as variables:
            return subprocess.run(arguments[1:], env={**os.environ, **variables}, check=False).returncode
    except (CannotRunError, HarnessError) as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
