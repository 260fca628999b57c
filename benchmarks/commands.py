"""The one place where a benchmark starts a program."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import ToolError

ROOT = Path(__file__).resolve().parent.parent


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
    cwd: Path = ROOT,
) -> str:
    """Run a program to its end, by default in the checkout; what it printed on stdout.

    Raises:
        ToolError: it ended with another exit code than those to accept.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in accept:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise ToolError(f"`{' '.join(words)}` ended with exit code {done.returncode}: {said}")
    return done.stdout


def harness(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
    cwd: Path = ROOT,
) -> str:
    """Run one of the harness's own commands, as a user does."""
    return run([sys.executable, "-m", "harness", *arguments], environment=environment, accept=accept, cwd=cwd)


def peak_memory(command: Sequence[str | Path], *, environment: Mapping[str, str], cwd: Path = ROOT) -> float:
    """Run a program to its end; the most memory that it held at once, in GiB, its children's not included.

    Raises:
        ToolError: it failed.
    """
    process = subprocess.Popen(
        [str(word) for word in command], cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ToolError(f"`{' '.join(map(str, command))}` ended with exit code {process.returncode}")
    return usage.ru_maxrss / (1 << 20)
