"""What tests with a real engine share: a small image with Python in it, made from this machine's own, and RunSpecs."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from harness.engines.docker import DockerEngine
from harness.errors import PrerequisiteError
from harness.spec.digest import digest_from_hex
from harness.spec.run import ImageReference, Mount, Resources, RunSpec

LAUNCHER = """
import ctypes, os, sys
arguments = sys.argv[1:]
if arguments[0] == "--fixed-addresses":
    arguments = arguments[1:]
    if ctypes.CDLL(None).personality(0x40000) == -1:
        sys.exit("personality was refused")
assert arguments[0] == "--", arguments
os.execvp(arguments[1], arguments[1:])
"""
_LEFT_OUT = {"test", "site-packages", "dist-packages", "idlelib", "tkinter", "lib2to3", "ensurepip", "__pycache__"}
_PASSWD = "root:x:0:0:root:/root:/usr/sbin/nologin\nharness:x:65532:65532::/tmp:/usr/sbin/nologin\n"
_GROUP = "root:x:0:\nharness:x:65532:\n"


@pytest.fixture(scope="session")
def docker_engine() -> DockerEngine:
    try:
        return DockerEngine()
    except PrerequisiteError as error:
        pytest.skip(f"no Docker engine: {error.message}")


@pytest.fixture(scope="session")
def python_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system as tar: this machine's Python, the libraries that it links to, and two users."""
    archive = tmp_path_factory.mktemp("image") / "root.tar"
    executable = Path(os.path.realpath(f"{sys.base_prefix}/bin/python3"))
    library = Path(os.__file__).parent
    with tarfile.open(archive, "w") as tar:
        tar.add(executable, "usr/local/bin/python3")
        link = tarfile.TarInfo("usr/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/local/bin/python3"
        tar.addfile(link)
        tar.add(
            library,
            f"usr/local/lib/{library.name}",
            filter=lambda member: (
                None if _LEFT_OUT & set(Path(member.name).parts) or "/config-" in member.name else member
            ),
        )
        for path in sorted(_linked_libraries([executable, *(library / "lib-dynload").glob("*.so")])):
            tar.add(os.path.realpath(path), path.lstrip("/"))
        for name, text in (("etc/passwd", _PASSWD), ("etc/group", _GROUP)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return archive


def _linked_libraries(files: list[Path]) -> set[str]:
    printed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+\.so\S*) \(0x", printed))


@pytest.fixture(scope="session")
def import_image() -> Callable[..., ImageReference]:
    return _import_image


def _import_image(client: docker.DockerClient, archive: Path, *, label: str) -> ImageReference:
    answer = client.api.import_image(
        src=str(archive), repository=f"harness/{label}", tag="latest", changes=[f"LABEL harness.image={label}"]
    )
    identity = digest_from_hex(re.findall(r"sha256:([0-9a-f]{64})", answer)[-1])
    return ImageReference(name="engine-test", manifest=identity, config=identity)


@pytest.fixture(scope="session")
def python_image(docker_engine: DockerEngine, python_archive: Path) -> Iterator[ImageReference]:
    client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    reference = _import_image(client, python_archive, label="engine-test")
    yield reference
    client.api.remove_image(reference.config, force=True)


@pytest.fixture(scope="session")
def launcher_mount(tmp_path_factory: pytest.TempPathFactory) -> Mount:
    """A `code` mount whose launcher does what the engines count on, and no more."""
    folder = tmp_path_factory.mktemp("code")
    package = folder / "harness" / "strict"
    package.mkdir(parents=True)
    for name in ("harness/__init__.py", "harness/strict/__init__.py"):
        (folder / name).touch()
    (package / "launch.py").write_text(LAUNCHER)
    folder.chmod(0o755)  # pytest's own folders are for their owner alone
    return Mount(name="code", source=str(folder), digest=digest_from_hex("0" * 64))


@pytest.fixture
def make_spec(launcher_mount: Mount, tmp_path: Path) -> Callable[..., RunSpec]:
    """A RunSpec that runs a piece of Python; keywords replace fields, or fields of its resources."""
    output = tmp_path / "output"
    output.mkdir()

    def make(
        code: str,
        *,
        image: ImageReference | None = None,
        mounts: tuple[Mount, ...] = (),
        code_mount: Mount | None = None,
        **fields: object,
    ) -> RunSpec:
        limits = {name: fields.pop(name) for name in Resources.__struct_fields__ if name in fields}
        resources = Resources(**{"cpus": (0,), "time_limit": 60.0, "temporary": 64 << 20, **limits})  # type: ignore[arg-type]
        return RunSpec(
            **{
                "run_id": "engine-test",
                "image": image,
                "argv": ("python3", "-c", code),
                "environment": {"PYTHONDONTWRITEBYTECODE": "1"},
                "mounts": (code_mount or launcher_mount, *mounts),
                "output": str(output),
                "resources": resources,
                **fields,
            }  # type: ignore[arg-type]
        )

    return make


class PrivateDaemon:
    """A Docker daemon of the tests' own, which may be killed and emptied."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"unix://{folder}/docker.sock"
        self.start()

    def start(self) -> None:
        log = self._folder / "log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                ["dockerd", f"--host={self.address}", f"--data-root={self._folder}/data",
                 f"--exec-root={self._folder}/exec", f"--pidfile={self._folder}/pid", "--shutdown-timeout=1",
                 "--bridge=none", "--iptables=false", "--ip-masq=false"],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while b"API listen" not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.1)

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.address)

    def kill(self) -> None:
        """Kill the daemon alone, as the kernel would when memory runs out; its containers live on."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again after it was killed: what it wrote down of itself and its containerd is no longer true."""
        for name in ("pid", "exec/containerd/containerd.pid"):
            (self._folder / name).unlink(missing_ok=True)
        self.start()

    def remove(self) -> None:
        """End it and all that it runs: a daemon that was killed is started again for that, so that it tidies up."""
        if self._process.poll() is not None:
            self.restart()
        for container in self.client().containers.list(all=True):
            container.remove(force=True)
        self._process.terminate()
        self._process.wait(30)
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for path in reversed(mounted):  # one that was killed left its own
            if path.startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def private_daemon(docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateDaemon]:
    """A daemon of the test's own, to which `DOCKER_HOST` points. Its folder's path is short: sockets' names must be."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("only root can start a second Docker daemon, and only where dockerd is installed")
    folder = Path(subprocess.check_output(["mktemp", "-d", "-p", "/var/tmp", "hd.XXXXXX"], text=True).strip())
    daemon = PrivateDaemon(folder)
    monkeypatch.setenv("DOCKER_HOST", daemon.address)
    yield daemon
    daemon.remove()
    shutil.rmtree(folder, ignore_errors=True)
