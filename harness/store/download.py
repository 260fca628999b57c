"""One artifact into the store: from each place in turn, resumed where that is possible, right or not at all."""

import fcntl
import http.client
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import IntegrityError
from harness.spec.digest import Digest, hexadecimal
from harness.store.http import AddressError, Credentials, explain, open_address, origin, redact, retrying, whole_number
from harness.store.store import Store

MAX_BYTES = 16 << 30
_CHUNK = 1 << 18


class Stopped(Exception):  # noqa: N818 - nothing is wrong: the caller gave up
    """The download was called off."""


class Downloader:
    """Downloads into a store. Shared by threads; remembers which servers are down, so that each is waited for once."""

    def __init__(self, store: Store, *, credentials: Credentials, delay: float = 0.5) -> None:
        self._store = store
        self._credentials = credentials
        self._delay = delay
        self._down: dict[str, str] = {}
        self._stop = threading.Event()

    def stop(self) -> None:
        """Call off what is going on."""
        self._stop.set()

    def download(
        self, digest: Digest, size: int | None, addresses: Sequence[str], advance: Callable[[int], None]
    ) -> list[tuple[str, str, bool]]:
        """Fetch an object from the first address that has it; empty when it is in the store.

        `advance` hears how many bytes came (fewer than none when some were thrown away).

        Returns:
            Where it was not to be had: the address, the reason, and whether other bytes were served there.
        """
        failures: list[tuple[str, str, bool]] = []
        for address in addresses:
            try:
                with self._partial(digest) as file:
                    if file is None:
                        return []
                    self._from(address, digest, size, file, advance)
                    return []
            except AddressError as error:
                failures.append((redact(address), error.message, False))
            except IntegrityError:
                failures.append((redact(address), "other bytes than the lock names", True))
        return failures or [("", "", False)]

    @contextmanager
    def _partial(self, digest: Digest) -> Iterator[BinaryIO | None]:
        """The file with what came so far, for this thread alone; None once the object is in the store."""
        path = self._path(digest)
        while not self._store.has(digest):
            with self._store.explaining(), path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not _is_at(file, path):
                    continue  # whoever held it has finished, or thrown it away
                try:
                    yield file
                except OSError:
                    file.truncate(0)  # most likely a full disk: leave it no fuller
                    raise
                finally:
                    if _size(file) == 0 and _is_at(file, path):
                        path.unlink()
                return
        yield None

    def _from(
        self, address: str, digest: Digest, size: int | None, file: BinaryIO, advance: Callable[[int], None]
    ) -> None:
        server = origin(address)
        if server in self._down:
            raise AddressError(self._down[server], transient=False, reached=False)
        resumed = _size(file) > 0
        advance(_size(file))
        try:
            retrying(lambda: self._receive(address, size, file, advance), delay=self._delay, sleep=self._sleep)
        except AddressError as error:
            advance(-_size(file))
            if not error.reached:
                self._down[server] = error.message
            raise
        try:
            self._store.adopt(self._path(digest), digest)
        except IntegrityError:
            self._restart(file, advance)
            if not resumed:
                raise
            self._from(address, digest, size, file, advance)  # what was there before may have been the wrong part

    def _receive(self, address: str, size: int | None, file: BinaryIO, advance: Callable[[int], None]) -> None:
        offset = _size(file)
        if size is not None and offset > size:
            self._restart(file, advance)
            offset = 0
        if size is not None and offset == size:
            return
        try:
            answer = open_address(address, offset=offset, credentials=self._credentials)
        except AddressError as error:
            if error.message == "HTTP 416":
                self._restart(file, advance)
                raise AddressError("HTTP 416", transient=offset > 0, reached=True) from error
            raise
        with answer:
            if offset and not _continues(answer, offset):
                self._restart(file, advance)
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise AddressError("an encoded answer, which was not asked for", transient=False, reached=True)
            self._copy(answer, size, file, advance)

    def _copy(self, answer: Any, size: int | None, file: BinaryIO, advance: Callable[[int], None]) -> None:
        wanted = whole_number(answer.headers.get("Content-Length", ""))
        limit = MAX_BYTES if size is None else size
        received = 0
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                chunk = answer.read1(_CHUNK) if hasattr(answer, "read1") else answer.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise explain(error) from error
            if not chunk:
                break
            received += len(chunk)
            file.write(chunk)
            file.flush()
            advance(len(chunk))
            if _size(file) > limit:
                self._restart(file, advance)
                raise AddressError(f"more than {limit} bytes", transient=False, reached=True)
        if wanted is not None and received < wanted:
            raise AddressError("the connection broke", transient=True, reached=True)
        if size is not None and _size(file) < size and wanted is None:
            raise AddressError("the answer ended early", transient=True, reached=True)

    def _restart(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        advance(-_size(file))
        file.truncate(0)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    def _path(self, digest: Digest) -> Path:
        return self._store.home / "partial" / hexadecimal(digest)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one that `path` names."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _continues(answer: Any, offset: int) -> bool:
    """Whether an answer goes on at `offset`, and not from the beginning."""
    return answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {offset}-")
