"""Registries to test with: Debian's own on loopback, and one that misbehaves as it is told."""

import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.images.credentials import Credentials
from harness.images.distribution.repository import Repository
from harness.images.remote import parse_remote
from harness.record.hashing import digest_of
from tests.tools import need

USER, PASSWORD = "tester", "a secret: with 'marks'"


def repository(host: str, name: str = "team/tiny", *, push: bool = False, **options: Any) -> Repository:
    """A repository with little patience, so that what is tried again is tried at once."""
    place = host if "/" in host else f"{host}/{name}"
    return Repository(parse_remote(place), **{"credentials": None, "push": push, "delay": 0.0, "stall": 5.0, **options})


KNOWN = Credentials(USER, PASSWORD)


class Registry:
    """A running registry: `host` is where, `folder` what it keeps, `log` what it said."""

    def __init__(self, host: str, folder: Path, log: Path) -> None:
        self.host = host
        self.folder = folder
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def debian_registry(
    folder: Path, *, login: bool = False, certificate: tuple[Path, Path] | None = None
) -> Iterator[Registry]:
    """Debian's docker-registry on a loopback port."""
    need("docker-registry")
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "x"},
    }
    if login:
        need("htpasswd")
        line = subprocess.check_output(["htpasswd", "-nbB", USER, PASSWORD], text=True)
        (folder / "htpasswd").write_text(line)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    if certificate:
        config["http"]["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
    (folder / "config.yml").write_text(json.dumps(config))
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while b"listening on" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Registry(host, folder / "data", log)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback that signs itself, and its key."""
    need("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    pair = folder / "own.crt", folder / "own.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", pair[0], "-keyout", pair[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return pair


Answering = Callable[["Hostile", str, str], bool]


class Hostile(BaseHTTPRequestHandler):
    """A registry in memory that serves `blobs`, unless `answering` has answered first (and returns true)."""

    protocol_version = "HTTP/1.1"
    server: "HostileServer"

    def do_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if self.command != "PATCH" else b""
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        if self.server.answering(self, self.command, self.path):
            return
        if self.command == "PATCH":
            self.body = self.rfile.read(length)
        self.usual()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_any  # noqa: N815

    def usual(self) -> None:
        """What an honest registry answers."""
        digest = self.path.rpartition("/")[2]
        if self.path == "/v2/":
            self.say(200)
        elif self.command == "POST":
            self.say(202, {"Location": "/upload/1"})
        elif self.command == "PATCH":
            self.server.uploaded += self.body
            self.say(202, {"Location": "/upload/1", "Range": f"0-{len(self.server.uploaded) - 1}"})
        elif self.command == "PUT" and self.path.startswith("/upload/"):
            self.server.blobs[digest_of(self.server.uploaded)] = self.server.uploaded
            self.server.uploaded = b""
            self.say(201)
        elif self.command == "PUT":
            self.server.blobs[digest_of(self.body)] = self.body
            self.say(201)
        elif digest in self.server.blobs:
            kind = "application/vnd.oci.image.manifest.v1+json" if "/manifests/" in self.path else "application/x"
            self.say(200, {"Content-Type": kind}, self.server.blobs[digest])
        else:
            self.say(404)

    def say(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class HostileServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, answering: Answering, tls: tuple[Path, Path] | None = None) -> None:
        self.answering = answering
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.blobs: dict[str, bytes] = {}
        self.uploaded = b""
        super().__init__(("127.0.0.1", 0), Hostile)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def requests(self, method: str) -> list[str]:
        return [path for asked, path, _ in self.asked if asked == method]


def honest(handler: Hostile, method: str, path: str) -> bool:
    """Nothing out of the ordinary."""
    return False


@contextmanager
def hostile(answering: Answering = honest, tls: tuple[Path, Path] | None = None) -> Iterator[HostileServer]:
    """A registry that misbehaves."""
    with HostileServer(answering, tls) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
