"""Ends a process that may not go on, and leaves word of it for whoever started the run. Standard library only.

An exit code alone says too little: a program may ignore its child's, or answer 4 for reasons of its own.
"""

import os
import sys
from contextlib import suppress
from typing import NoReturn

from harness.errors import ExitCode

FILE_NAME = "refused.txt"
OPERATOR = "refused-operator-"
"""What the name of the file begins with that notes that a library's operator was refused, before the operator's."""

# As the process began: what a program does to its variables later does not silence it, and what is done before a
# program's own `os._exit` is not done here.
_OUTPUT = os.environ.get("HARNESS_OUTPUT")
_exit = os._exit


def stop(message: str, code: int = ExitCode.INTEGRITY) -> NoReturn:
    """End this process at once. With code 4 the run's output folder gets `refused.txt`, so that no run is kept."""
    leave_word(message, code)
    _exit(code)


def leave_word(message: str, code: int = ExitCode.INTEGRITY) -> None:
    """Say on stderr, and with code 4 in `refused.txt`, why the run is not strict; this process goes on."""
    if _OUTPUT and code == ExitCode.INTEGRITY:
        # Of several processes the first one's word stays.
        with suppress(OSError), open(os.path.join(_OUTPUT, FILE_NAME), "x", encoding="utf-8") as file:  # noqa: PTH118, PTH123 - pathlib would slow every process down
            file.write(message)
    # Last: in a forked process a thread that it has not may hold the lock of stderr.
    sys.stderr.write(f"harness: {message}\n")
    sys.stderr.flush()


def note_operator(name: str) -> None:
    """Leave word that the operator `name` raises: whether the program goes on without it is its own to decide."""
    if _OUTPUT:
        with suppress(OSError):
            os.close(os.open(os.path.join(_OUTPUT, OPERATOR + name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))  # noqa: PTH118 - as above
