"""A run's log: JSON lines, each of which says on its own which run, commit, image and seed it belongs to."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec


class RunLog:
    """Appends lines to `log.jsonl`. Safe to call from several threads; a context manager that closes the file."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self._file = path.open("ab")
        self._facts = dict(facts)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, level: str, message: str, **fields: Any) -> None:
        """Append one line. The run's facts win over fields of the same name, which come from inside the run."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {**fields, "time": time, "level": level, "message": message, **self._facts}
        with self._lock:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
