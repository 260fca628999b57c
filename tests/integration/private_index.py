"""An index and a mirror that want a password, a command that asks them, and a search for the password afterwards."""

import base64
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import Checkout

CHECKOUT = Path(__file__).parents[2]
USER, PASSWORD = "auditor", "hunter2-%-only-here"
QUOTED = "hunter2-%25-only-here"
SECRETS = (PASSWORD.encode(), QUOTED.encode(), base64.b64encode(f"{USER}:{PASSWORD}".encode()))
Done = subprocess.CompletedProcess[str]


class Index:
    """Serves the wheels as a simple index (PEP 503) and the packages as a Debian mirror, to one user alone.

    `certificate` and its key make it speak TLS.
    """

    def __init__(self, checkout: Checkout, certificate: tuple[Path, Path] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.refused = 0
        for name, data in checkout.wheels.items():
            filename = f"{name}-1.0-py3-none-any.whl"
            page = f'<a href="/files/{filename}#sha256={sha256(data).hexdigest()}">{filename}</a>'
            self.files |= {f"/simple/{name}/": page.encode(), f"/files/{filename}": data}
            self.files["/links/"] = self.files.get("/links/", b"") + page.encode()
        for name, data in checkout.debs.items():
            self.files[f"/debian/pool/main/{name[0]}/{name}/{name}_1.0_amd64.deb"] = data
        self.wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.headers.get("Authorization") == outer.wanted
                outer.refused += not known
                data = outer.files.get(self.path.partition("#")[0]) if known else b""
                self.send_response(401 if not known else 404 if data is None else 200)
                if not known:
                    self.send_header("WWW-Authenticate", 'Basic realm="private"')
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write((data or b"") if self.command == "GET" else b"")

            do_HEAD = do_GET  # noqa: N815 - the base class's name

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def call(folder: Path, home: Path, variables: dict[str, str], *words: object, start: tuple[str, ...] = ()) -> Done:
    """A command with an empty store under `home`; `start` are Python's arguments in place of `-m harness`."""
    own = {
        "PATH": f"{home}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "PIP_CONFIG_FILE": os.devnull,
        "HOME": str(home),
        "HARNESS_HOME": str(home / "store"),
        "UV_CACHE_DIR": str(home / "uv"),
    }
    command = [sys.executable, *(start or ("-m", "harness")), "--debug", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env={**own, **variables}, capture_output=True, text=True, timeout=300, check=False
    )


def files(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def leaks(printed: str, *folders: Path, given: Iterable[Path] = (), secrets: Collection[bytes] = SECRETS) -> list[str]:
    """Where the password stands: in what was printed, or in a file under the folders but for those `given`."""
    found = ["printed"] if any(secret in printed.encode() for secret in secrets) else []
    left = sorted(files(*folders) - set(given))
    return found + [str(path) for path in left if any(secret in path.read_bytes() for secret in secrets)]
