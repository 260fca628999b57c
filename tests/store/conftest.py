"""A store, and a real server on the loopback that can misbehave."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.store.store import Store


class Server:
    """Serves `files`; `faults` by path are names of misbehaviours, each used once, in order."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.authorizations: list[str | None] = []
        self.ranges = True
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        self.authorizations.append(handler.headers.get("Authorization"))
        faults = self.faults.get(handler.path, [])
        fault = faults.pop(0) if faults else ""
        data = self.files.get(handler.path)
        if fault.isdigit() or data is None:
            handler.send_response(int(fault or 404))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if fault == "lie":
            data = bytes(len(data))
        if fault in ("trickle", "trickled head"):
            whole = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data
            at_once = 0 if fault == "trickled head" else whole.index(data)
            handler.wfile.write(whole[:at_once])
            for byte in whole[at_once:]:
                handler.wfile.write(bytes([byte]))
                if self.closing.wait(0.05):
                    return
        if fault == "endless":
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(data * 50)
            return
        offset = 0
        if asked and self.ranges:
            offset = int(asked.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {offset}-{len(data) - 1}/{len(data)}")
        else:
            handler.send_response(200)
        if handler.path.endswith("/"):
            handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(data) - offset))
        handler.end_headers()
        body = data[offset:]
        handler.wfile.write(body[: len(body) // 2] if fault == "die" else body)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")
