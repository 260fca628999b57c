"""A Docker daemon of the benchmark's own, which may be emptied: the user's stays as it is."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import PrerequisiteError, ToolError

_PATIENCE_SECONDS = 60


@contextmanager
def private_daemon() -> Iterator[str]:
    """The address of a daemon that holds nothing; it and all that it holds are gone after the `with` block.

    Raises:
        PrerequisiteError: this user or machine cannot start one.
        ToolError: it did not start.
    """
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise PrerequisiteError("Only root can start a second Docker daemon, and only where dockerd is installed")
    # The name of a socket may have a hundred characters, and the system's folder may be a file system in memory.
    folder = Path(tempfile.mkdtemp(prefix="hb.", dir="/var/tmp"))
    process = _start(folder)
    try:
        _wait(process, folder / "log")
        yield f"unix://{folder}/docker.sock"
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [
                "dockerd",
                f"--host=unix://{folder}/docker.sock",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/exec",
                f"--pidfile={folder}/pid",
                "--bridge=none",
                "--iptables=false",
                "--ip-masq=false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while b"API listen" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ToolError(f"A second Docker daemon did not start: {log.read_text()[-600:].strip()}")
        time.sleep(0.1)
