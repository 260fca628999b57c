"""`docker/ensure-engine.sh`: what answers is used, what cannot be helped is said, and a daemon is really started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "ensure-engine.sh"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


def ensure(*wrapper: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"} | environ
    return subprocess.run([*wrapper, SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False)


class Answers(threading.Thread):
    """A socket that gives every connection the same answer."""

    def __init__(self, path: Path, answer: bytes) -> None:
        super().__init__(daemon=True)
        self.asked: list[bytes] = []
        self._answer = answer
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self.start()

    def run(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection:
                self.asked.append(connection.recv(1000))
                connection.sendall(self._answer)


def test_an_engine_that_answers_is_used_as_it_is_without_the_docker_client(tmp_path: Path) -> None:
    engine = Answers(tmp_path / "engine.sock", OK)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    host = f"unix://{tmp_path}/engine.sock"
    done = ensure(DOCKER_HOST=host, PATH=str(programs))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"engine: using the engine at {host}\n"
    assert [request.split()[:2] for request in engine.asked] == [[b"GET", b"/_ping"]]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 Internal Server Error\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_what_does_not_answer_like_an_engine_is_not_taken_for_one(tmp_path: Path, answer: bytes) -> None:
    Answers(tmp_path / "engine.sock", answer)
    done = ensure(DOCKER_HOST=f"unix://{tmp_path}/engine.sock")
    assert done.returncode == 2
    assert "does not answer like an engine" in done.stderr


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://user@build"])
def test_a_remote_engine_is_refused_with_the_reason(host: str) -> None:
    done = ensure(DOCKER_HOST=host)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: DOCKER_HOST={host} is not on this machine, and a remote engine is refused")
    assert "Unset DOCKER_HOST" in done.stderr


def test_an_engine_that_was_named_and_is_down_is_not_replaced_by_another(tmp_path: Path) -> None:
    done = ensure(DOCKER_HOST=f"unix://{tmp_path}/dead.sock")
    assert done.returncode == 2
    assert f"no engine answers at DOCKER_HOST=unix://{tmp_path}/dead.sock" in done.stderr


@pytest.fixture
def machine() -> list[str]:
    """A command under which no engine runs: own mounts and network, with nothing in `/run` and `/var/lib/docker`."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can set up a machine within the machine")
    prepare = """
set -e
mount -t tmpfs none /run && mkdir -p /run/lock
mkdir -p /var/lib/docker && mount -t tmpfs none /var/lib/docker
[ -z "$OS_RELEASE" ] || mount --bind "$OS_RELEASE" "$(readlink -f /etc/os-release)"
[ -z "$STALE" ] || {
    mkdir -p /run/docker/containerd
    echo "$STALE" | tee /run/docker.pid >/run/docker/containerd/containerd.pid
}
exec "$@"
"""
    command = ["unshare", "--mount", "--net", "sh", "-c", prepare, "machine"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root set up another within it")
    return command


def test_another_system_is_told_to_install_docker(machine: list[str], tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=fedora\n")
    done = ensure(*machine, OS_RELEASE=str(tmp_path / "os-release"))
    assert done.returncode == 2
    assert "neither Debian nor Ubuntu" in done.stderr
    assert "Install and start Docker" in done.stderr


def test_a_plain_user_is_told_to_become_root(machine: list[str], tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=ubuntu\nID_LIKE=debian\n")
    shutil.copy(SCRIPT, "/var/tmp/ensure-engine-test.sh")  # where a plain user may read it
    try:
        done = subprocess.run(
            [*machine, "setpriv", "--reuid", "65534", "--clear-groups", "/bin/sh", "/var/tmp/ensure-engine-test.sh"],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "OS_RELEASE": str(tmp_path / "os-release")},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        Path("/var/tmp/ensure-engine-test.sh").unlink()
    assert done.returncode == 2
    assert "only root can install and start one" in done.stderr
    assert "Run: sudo" in done.stderr


@pytest.mark.docker
@pytest.mark.parametrize("stale", ["", "999999", "self"])
def test_a_daemon_is_started_waited_for_and_outlives_the_script(machine: list[str], tmp_path: Path, stale: str) -> None:
    if shutil.which("dockerd") is None or Path("/run/systemd/system").exists():
        pytest.skip("needs dockerd, and no systemd")
    pid_file, log = tmp_path / "pid", tmp_path / "log"
    left = str(os.getpid()) if stale == "self" else stale
    # A shell in the same machine shows what is left of it when the script has ended, and a second call's answer.
    after = f"{SCRIPT}; code=$?; cat /run/docker.pid >{pid_file}; {SCRIPT}; exit $code"
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*machine, "sh", "-c", after],
            env={"PATH": os.environ["PATH"], "HARNESS_DOCKER_LOG": str(log), "STALE": left},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        lines = done.stderr.splitlines()
        assert done.returncode == 0, done.stderr + (log.read_text()[-2000:] if log.exists() else "")
        assert lines[-2:] == ["engine: using the engine at unix:///var/run/docker.sock"] * 2
        assert f"engine: starting dockerd (log: {log})" in lines
        assert ("engine: clearing /var/run/docker.pid, left by a dockerd that is gone" in lines) == bool(stale)
        assert time.monotonic() - began < 90
        assert Path(f"/proc/{int(pid_file.read_text())}/comm").read_text() == "dockerd\n"
        assert "API listen on /var/run/docker.sock" in log.read_text()
    finally:
        if pid_file.exists() and pid_file.read_text():
            pid = int(pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
                time.sleep(0.1)
