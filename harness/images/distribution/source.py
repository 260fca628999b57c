"""A file on its way to a registry, from any place in it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from harness.images.distribution.errors import Stopped

Advance = Callable[[int], None]
_CHUNK = 1 << 18


class Source:
    """A file from `offset` to its end, as the body of a request; `advance` hears of what was not sent before."""

    def __init__(self, path: Path, size: int, advance: Advance, stop: threading.Event, offset: int = 0) -> None:
        self._path = path
        self._advance = advance
        self._stop = stop
        self._file: BinaryIO | None = None
        self._most = [0]
        self.size = size
        self.offset = offset
        self._position = offset

    @property
    def left(self) -> int:
        """How many bytes are to be sent."""
        return self.size - self.offset

    def starting_at(self, offset: int) -> "Source":
        """The same file from another place."""
        source = Source(self._path, self.size, self._advance, self._stop, offset)
        source._most = self._most
        return source

    def read(self, size: int = -1) -> bytes:
        """The next bytes: what `http.client` sends as a body."""
        if self._stop.is_set():
            raise Stopped
        if self._file is None:
            self._file = self._path.open("rb")
            self._file.seek(self.offset)
        data = self._file.read(min(_CHUNK if size < 0 else max(size, _CHUNK), self.size - self._position))
        self._position += len(data)
        if self._position > self._most[0]:
            self._advance(self._position - self._most[0])
            self._most[0] = self._position
        if not data:
            self._file.close()
            self._file = None
        return data
