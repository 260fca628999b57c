"""Build an image from its bundle where there is nothing else: no network, no checkout, no store.

    python -m tests.offline_build cpu

Prints bytes and seconds. Fails unless what comes out is, to the last digest, what is committed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
_SECONDS = 1800


def without_network() -> tuple[str, ...]:
    """The command under which another one has a network namespace of its own, in which even the loopback is down.

    Raises:
        OSError, CalledProcessError: there is no unshare, or this machine lets its user have no such namespace.
        RuntimeError: in the namespace there is a network.
    """
    words = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
    shown = subprocess.run([*words, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
    if [line.split(":")[0].strip() for line in shown.splitlines()[2:]] not in (["lo"], []):
        raise RuntimeError(f"A new namespace has a network: {shown}")
    return words


def copy_harness(folder: Path) -> Path:
    """The package alone, as an installation has it, with no checkout around it; what `PYTHONPATH` must name."""
    shutil.copytree(CHECKOUT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def main(name: str) -> None:
    """Make the bundle here, with whatever the store and the network have, and build from it there."""
    with tempfile.TemporaryDirectory(prefix="offline-build-", dir="/var/tmp") as temporary:
        folder = Path(temporary)
        bundle, empty, began = folder / f"{name}.bundle", folder / "empty", time.monotonic()
        command = [sys.executable, "-m", "harness", "vendor", name, "--out", str(bundle)]
        subprocess.run(command, cwd=CHECKOUT, check=True, timeout=_SECONDS)
        vendored, size = time.monotonic() - began, bundle.stat().st_size
        empty.mkdir()
        command = [*without_network(), sys.executable, "-m", "harness", "build", "--from", str(bundle), "--json"]
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HARNESS_HOME": str(folder / "store"),
            "PYTHONPATH": str(copy_harness(folder / "code")),
        }
        began = time.monotonic()
        built = subprocess.run(
            command, cwd=empty, env=variables, stdout=subprocess.PIPE, check=True, timeout=_SECONDS
        ).stdout
        building = time.monotonic() - began
        committed = (CHECKOUT / "lockfiles" / name / "image.lock").read_bytes()
        assert json.loads(built) == json.loads(committed), built.decode()
    manifest = json.loads(committed)["manifest"]
    sys.stdout.write(f"{name}@{manifest}: {size / 1e6:.1f} MB, vendor {vendored:.1f} s, build {building:.1f} s\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
