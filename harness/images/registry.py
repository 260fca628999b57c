"""A read-only registry on loopback that serves one image straight from the store, for as long as an engine pulls.

Protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pull
"""

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any

from harness.errors import HarnessError, IntegrityError
from harness.images.build import Image
from harness.images.manifest import MANIFEST_TYPE
from harness.spec.digest import Digest

_LOOPBACK = "127.0.0.1"
_ROUTE = re.compile(r"/v2/(?P<name>[^?#]+)/(?P<kind>manifests|blobs)/(?P<digest>sha256:[0-9a-f]{64})\Z")
_RANGE = re.compile(r"bytes=(?P<start>[0-9]{1,18})-(?P<end>[0-9]{0,18})\Z")
_TLS_HANDSHAKE = 0x16
_IDLE_SECONDS = 60


@contextmanager
def serve(image: Image) -> Iterator[str]:
    """Serve `image` for the time of a `with` block; the text to pull it by, `127.0.0.1:PORT/NAME@sha256:…`.

    Only this image's manifest and blobs can be had, by digest, from this machine alone. A layer that isn't there yet
    is sent while it is made (`Image.spans`): the engine holds what it got against its digest. One that can't be made
    fails its request, and so the engine's pull: the reason is then in `Image.failure`.

    Raises:
        PrerequisiteError: a layer must be made, and an artifact of it can't be fetched.
    """
    image.fetch()
    with _Server(image) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="registry", daemon=True)
        thread.start()
        try:
            yield f"{_LOOPBACK}:{server.server_port}/{image.lock.name}@{image.lock.manifest}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    """A thread a connection. They end with the process: an engine may keep a connection open for later."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, image: Image) -> None:
        self.image = image
        super().__init__((_LOOPBACK, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An engine that hangs up in mid-answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # What can't be read as a request is answered with a status line: that is how engines that try TLS first see
    # that this is plain HTTP.
    default_request_version = "HTTP/1.0"
    server_version = "harness"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def handle_one_request(self) -> None:
        """One request; or the hello of an engine that tries TLS first, which may hold no line end to read up to."""
        with suppress(OSError):
            first = self.rfile.peek(1)[:1]  # type: ignore[attr-defined]
            if first and first[0] == _TLS_HANDSHAKE:
                self._refuse_tls()
                return
        super().handle_one_request()

    def do_GET(self) -> None:
        """The registry's three routes."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """As `GET`, without the bytes."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what an engine asks for is its own business."""

    def _refuse_tls(self) -> None:
        # The whole hello is read first: closing with bytes unread would send a reset in place of the answer.
        length = self.rfile.read(5)[3:]
        self.rfile.read(int.from_bytes(length, "big"))
        self.wfile.write(b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.close_connection = True

    def _answer(self, *, body: bool) -> None:
        image = self.server.image
        if self.path in ("/v2", "/v2/"):
            self._send(b"{}", "application/json", body=body)
            return
        route = _ROUTE.match(self.path)
        digest = Digest(route["digest"]) if route and route["name"] == image.lock.name else None
        if route and digest and route["kind"] == "manifests" and digest == image.lock.manifest:
            self._send(image.manifest_bytes, MANIFEST_TYPE, body=body, digest=digest)
        elif route and digest and route["kind"] == "blobs" and (size := image.size(digest)) is not None:
            self._send_blob(digest, size, body=body)
        else:
            code = "MANIFEST_UNKNOWN" if route and route["kind"] == "manifests" else "BLOB_UNKNOWN"
            message = f'{{"errors":[{{"code":"{code}","message":"not in this registry"}}]}}'.encode()
            self._send(message, "application/json", body=body, status=HTTPStatus.NOT_FOUND)

    def _send(
        self,
        data: bytes,
        media_type: str,
        *,
        body: bool,
        status: HTTPStatus = HTTPStatus.OK,
        digest: Digest | None = None,
    ) -> None:
        self._head(status, len(data), media_type, digest)
        if body:
            self.wfile.write(data)

    def _send_blob(self, digest: Digest, size: int, *, body: bool) -> None:
        start, end = 0, size
        if wanted := _RANGE.match(self.headers.get("Range", "")):
            start, end = int(wanted["start"]), min(int(wanted["end"] or size - 1) + 1, size)
            if start >= end:
                self._send(b"", "text/plain", body=body, status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                return
        if not body:
            self._head(HTTPStatus.OK, size, "application/octet-stream", digest)
            return
        with closing(self.server.image.spans(digest, start, end)) as spans:
            try:
                first = next(spans)
            except HarnessError as error:
                self._send(error.message.encode(), "text/plain", body=True, status=HTTPStatus.INTERNAL_SERVER_ERROR)
                return
            status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
            self._head(status, end - start, "application/octet-stream", digest, f"bytes {start}-{end - 1}/{size}")
            # What fails from here on ends the connection: fewer bytes than the head says are an error to every engine.
            for span in chain((first,), spans):
                if self.connection.sendfile(*span) != span.size:
                    raise IntegrityError(f"The file of {digest} ended while it was sent")

    def _head(
        self, status: HTTPStatus, length: int, media_type: str, digest: Digest | None, content_range: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(length))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        if status is HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", content_range)
        self.end_headers()
