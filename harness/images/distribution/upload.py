"""Sending a file to a registry as a blob; a broken connection is taken up where it left off.

Protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-a-blob-in-chunks
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import urllib3

from harness.errors import HarnessError, ToolError
from harness.images.distribution.client import Client
from harness.images.distribution.connection import ATTEMPTS, PROGRESS, Answer, Connection, Request
from harness.images.distribution.errors import Transient
from harness.images.distribution.source import Advance, Source
from harness.spec.digest import Digest
from harness.store.http import whole_number


class Uploads:
    """What sends files; `patience` is how long the registry may take to check a blob that it was given."""

    def __init__(self, client: Client, connection: Connection, patience: urllib3.Timeout) -> None:
        self._client = client
        self._connection = connection
        self._patience = patience

    def send(self, digest: Digest, path: Path, advance: Advance, is_there: Callable[[], bool]) -> None:
        """Send the file `path` as the blob `digest`. `is_there` asks whether the registry has it after all.

        Raises:
            HarnessError: the registry does not take it.
            IntegrityError: it says that it received something else.
        """
        size, failures, furthest = path.stat().st_size, 0, 0
        source = Source(path, size, advance, self._connection.stopped)
        session: tuple[str, int] | None = None
        try:
            while True:
                try:
                    location, offset = session or (self._begin(), 0)
                    session = (location, offset)
                    if offset < size:
                        session = (self._patch(location, source.starting_at(offset)), size)
                    self._finish(session[0], digest)
                    return
                except Transient as error:
                    failures += 1
                    if failures >= ATTEMPTS:
                        raise self._connection.gave_up(error) from None
                    self._connection.wait(failures, error.wait)
                    if is_there():  # only the answer was lost
                        return
                    session = self._resumed(session[0], size) if session else None
                    if session and session[1] - furthest >= PROGRESS:
                        failures, furthest = 1, session[1]
        except BaseException:
            if session:
                self._client.forget(session[0])
            raise

    def _begin(self) -> str:
        url = self._client.url("blobs/uploads/")
        answer = self._client.once(Request("POST", url, {"Content-Length": "0"}))
        self._client.expect(answer, (202,), "to take a layer")
        return self._location(answer, url)

    def _patch(self, location: str, source: Source) -> str:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.left)}
        if source.offset:
            headers["Content-Range"] = f"{source.offset}-{source.size - 1}"
        answer = self._client.once(Request("PATCH", location, headers, source))
        if answer.status in (404, 416):
            raise Transient("the upload was forgotten")
        self._client.expect(answer, (202, 204), "to take a layer")
        return self._location(answer, location)

    def _resumed(self, location: str, size: int) -> tuple[str, int] | None:
        """Where an upload stands; null where it must begin anew."""
        try:
            answer = self._client.once(Request("GET", location))
            first, _, last = answer.headers.get("Range", "").removeprefix("bytes=").partition("-")
            end = whole_number(last)
            if answer.status not in (202, 204) or first != "0" or end is None:
                return None
            moved = self._location(answer, location) if answer.headers.get("Location") else location
        except (Transient, HarnessError):
            return None
        # `0-0` is what some registries say of an upload that has nothing yet, and what others say of one byte.
        received = end + 1 if end else 0
        return (moved, received) if 0 < received <= size else None

    def _finish(self, location: str, digest: Digest) -> None:
        parts = urlsplit(location)
        url = parts._replace(query="&".join(filter(None, (parts.query, urlencode({"digest": digest}))))).geturl()
        answer = self._client.once(Request("PUT", url, {"Content-Length": "0"}, timeout=self._patience))
        if answer.status == 404:
            raise Transient("the upload was forgotten")
        self._client.expect(answer, (201, 204), f"to keep {digest}")
        self._client.same_digest(answer, digest)

    def _location(self, answer: Answer, url: str) -> str:
        place: str | None = answer.headers.get("Location")
        if not place:
            raise ToolError(f"{self._connection.where} took an upload and did not say where it goes on")
        return self._connection.led(url, place)
