"""What the trainer says while it works: JSON lines on a stdout that nothing else can write to."""

import os
import sys
from typing import Any, BinaryIO

import msgspec

from harness.errors import HarnessError


class Events:
    """Writes one JSON object a line to `stream`, at once.

    Stages are announced with how much there is to do, and then advanced; levels of `log` are `info`, `note` (a person
    should see it), `warning` and `error`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def stage(self, stage: str, total: int) -> None:
        """Announce a stage of `total` units."""
        self._write({"event": "stage", "stage": stage, "total": total})

    def advance(self, stage: str, amount: int = 1) -> None:
        """Count `amount` more units of a stage as done."""
        self._write({"event": "advance", "stage": stage, "amount": amount})

    def log(self, level: str, message: str, **fields: Any) -> None:
        """Say something, with machine-readable fields beside it."""
        self._write({**fields, "event": "log", "level": level, "message": message})

    def failure(self, error: HarnessError) -> None:
        """Say why there will be no result."""
        self._write({"event": "error", "message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)})

    def _write(self, event: dict[str, Any]) -> None:
        self._stream.write(msgspec.json.encode(event) + b"\n")
        self._stream.flush()


def keep_stdout() -> BinaryIO:
    """The process's stdout for us alone: what anything else prints from now on, C code too, goes to stderr."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(own, "wb")
