"""The one place where the orchestrator runs another program to its end."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import PrerequisiteError, ToolError


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
    check: bool = True,
    umask: int = -1,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program without a shell and return what it printed.

    Raises:
        PrerequisiteError: the program is not there.
        ToolError: it failed (unless `check` is false) or ran past `timeout` seconds; the end of its stderr is quoted,
            without passwords of addresses.
    """
    try:
        completed = subprocess.run(
            argv, cwd=cwd, env=environment, input=stdin, capture_output=True, timeout=timeout, check=False,
            umask=umask,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise PrerequisiteError(f"{argv[0]} is not installed or not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{argv[0]} did not finish within {timeout:g} s") from error
    if check and completed.returncode != 0:
        from harness.store.http import redact_text  # late: few programs fail

        # uv quotes an address that it cannot read, with the password.
        tail = redact_text(completed.stderr.decode(errors="replace").strip())[-2000:]
        raise ToolError(f"{argv[0]} failed with exit code {completed.returncode}: {tail}")
    return completed
