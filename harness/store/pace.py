"""Answers that come at a pace: who trickles just enough never to fall silent would otherwise hold us for ever."""

import http.client
import io
import time
from typing import Any

SLOWEST = 1024
"""Bytes a second, below which an answer is as good as silent."""
LONGEST = 60.0
"""For how many seconds at most to put up with less, where the connection's own timeout is longer or there is none."""


class TrickleError(TimeoutError):
    """An answer that came too slowly. It is a timeout to whoever knows only these."""


class PacedResponse(http.client.HTTPResponse):
    """An answer whose every byte, of headers too, is waited for only so long. For `response_class` of a connection.

    Until it begins, the connection's timeout is all there is: checking what it was sent may take a server long.
    Reading it raises `TrickleError` once too little came in as long as that timeout.
    """

    def __init__(self, sock: Any, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), min(sock.gettimeout() or LONGEST, LONGEST)))


class _Paced(io.RawIOBase):
    """The bytes of a socket; only the time that is spent waiting for them counts."""

    def __init__(self, raw: Any, patience: float) -> None:
        super().__init__()
        self._raw = raw
        self._patience = patience
        self._has_begun = False
        self._waited, self._came = 0.0, 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        descriptor: int = self._raw.fileno()
        return descriptor

    def readinto(self, buffer: Any) -> int:
        began = time.monotonic()
        count: int = self._raw.readinto(buffer)
        if count and self._has_begun:
            self._waited, self._came = self._waited + time.monotonic() - began, self._came + count
            if self._waited >= self._patience:
                if self._came < SLOWEST * self._waited:
                    raise TrickleError(f"it gave {self._came} bytes in {self._waited:.1f} s")
                self._waited, self._came = 0.0, 0
        self._has_begun = True
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
