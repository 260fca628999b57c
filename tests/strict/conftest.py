import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.spec.variables import run_variables

CODE = Path(__file__).parents[2]
SITE = CODE / "harness" / "strict" / "site"
LIBRARIES = {name: metadata.version(name) for name in ("numpy",) if find_spec(name) is not None}
CORES = len(os.sched_getaffinity(0))


def _variables(*, mode="strict", profile="native", seed=42, **changes: str | None) -> dict[str, str]:
    """The variables of a run as an engine sets them; a change to None leaves one out."""
    chosen = run_variables(
        mode=mode, profile=profile, variant="cpu", seed=seed, version="v1", cores=CORES, libraries=LIBRARIES
    )
    # The packages of the test run may lie in a folder of their own on PYTHONPATH.
    own = {str(CODE), str(SITE), ""}
    rest = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in own]
    path = os.pathsep.join([str(SITE), str(CODE), *rest])
    environment = {**chosen, "PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": path, **changes}
    return {name: value for name, value in environment.items() if value is not None}


def _start(argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run this interpreter to its end."""
    return subprocess.run(
        [sys.executable, *argv],
        env=dict(environment),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="session")
def variables():
    """`variables(mode=, profile=, seed=, NAME=VALUE or None)`: what an engine sets."""
    return _variables


@pytest.fixture(scope="session")
def start():
    """`start(argv, environment, folder)`: run this interpreter to its end."""
    return _start


@pytest.fixture
def script(tmp_path):
    """Run a script of a user's, with the hook, and return how it ended."""

    def run(source: str, **changes) -> subprocess.CompletedProcess[str]:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        (work / "script.py").write_text(source)
        return _start(["script.py"], _variables(**changes), work)

    return run


@pytest.fixture
def launch(tmp_path):
    """Start the launcher as an engine does, with an output folder, and return how it ended."""

    def run(*arguments: str, folder: Path | None = None, **changes) -> subprocess.CompletedProcess[str]:
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        environment = _variables(**{"HARNESS_OUTPUT": str(output), **changes})
        return _start(["-m", "harness.strict.launch", *arguments], environment, folder or output)

    return run
