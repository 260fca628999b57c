"""An index and a mirror that want a password: every way to give it works, and it is never printed or written."""

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import Checkout

from harness.store.store import Store

CHECKOUT = Path(__file__).parents[2]
USER, PASSWORD = "auditor", "hunter2-%-only-here"
QUOTED = "hunter2-%25-only-here"
Done = subprocess.CompletedProcess[str]


class Index:
    """Serves the wheels as a simple index (PEP 503) and the packages as a Debian mirror, to one user alone."""

    def __init__(self, checkout: Checkout) -> None:
        self.files: dict[str, bytes] = {}
        self.refused = 0
        for name, data in checkout.wheels.items():
            filename = f"{name}-1.0-py3-none-any.whl"
            page = f'<a href="/files/{filename}#sha256={sha256(data).hexdigest()}">{filename}</a>'
            self.files |= {f"/simple/{name}/": page.encode(), f"/files/{filename}": data}
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
                self.wfile.write(data or b"")

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout", Store(tmp_path / "first store")).write()


@pytest.fixture
def index(checkout: Checkout) -> Iterator[Index]:
    index = Index(checkout)
    yield index
    index.close()


def configured(way: str, index: Index, home: Path) -> dict[str, str]:
    """The variables, and the files in `home`, that tell where the index is and who asks it."""
    plain, known = f"http://{index.host}", f"http://{USER}:{QUOTED}@{index.host}"
    mirror = {"HARNESS_DEBIAN_MIRROR": f"{known}/debian"}
    match way:
        case "uv":
            return {**mirror, "UV_DEFAULT_INDEX": f"{known}/simple"}
        case "uv, by its older name":
            return {**mirror, "UV_INDEX_URL": f"{known}/simple"}
        case "uv, a further index":
            return {**mirror, "UV_DEFAULT_INDEX": home.as_uri(), "UV_EXTRA_INDEX_URL": f"{known}/simple"}
        case "uv, a named index":
            return {
                **mirror,
                "UV_DEFAULT_INDEX": home.as_uri(),
                "UV_INDEX": f"ours={plain}/simple",
                "UV_INDEX_OURS_USERNAME": USER,
                "UV_INDEX_OURS_PASSWORD": PASSWORD,
            }
        case "uv.toml":
            (home / ".config" / "uv").mkdir(parents=True)
            (home / ".config" / "uv" / "uv.toml").write_text(f'index-url = "{known}/simple"\n')
            return mirror
        case "pip":
            return {**mirror, "PIP_INDEX_URL": f"{known}/simple"}
        case "pip.conf":
            (home / "pip.conf").write_text(f"[global]\nindex-url = {known}/simple\n")
            return {**mirror, "PIP_CONFIG_FILE": str(home / "pip.conf")}
        case "netrc":
            (home / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
            (home / ".netrc").chmod(0o600)
            return {"HARNESS_DEBIAN_MIRROR": f"{plain}/debian", "UV_DEFAULT_INDEX": f"{plain}/simple"}
        case "keyring":
            (home / "keyring").write_text(f"#!/bin/sh\nprintf '%s\\n' '{PASSWORD}'\n")
            (home / "keyring").chmod(0o755)
            address = f"http://{USER}@{index.host}/simple"
            return {**mirror, "UV_DEFAULT_INDEX": address, "UV_KEYRING_PROVIDER": "subprocess"}
    raise AssertionError(way)


WAYS = (
    "uv", "uv, by its older name", "uv, a further index", "uv, a named index", "uv.toml", "pip", "pip.conf", "netrc",
    "keyring",
)  # fmt: skip


def build(checkout: Checkout, home: Path, variables: dict[str, str], *arguments: str) -> Done:
    kept = {
        "PATH": f"{home}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "PIP_CONFIG_FILE": os.devnull,
    }
    own = {"HOME": str(home), "HARNESS_HOME": str(home / "store"), "UV_CACHE_DIR": str(home / "uv")}
    return subprocess.run(
        [sys.executable, "-m", "harness", "--debug", *arguments, "build", "tiny", "--update"],
        cwd=checkout.root, env={**kept, **own, **variables}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def leaks(done: Done, *folders: Path) -> list[str]:
    """Where the password stands: in what was printed, or in a file under the folders."""
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    secrets = [PASSWORD.encode(), QUOTED.encode(), token]
    found = ["printed"] if any(secret in (done.stdout + done.stderr).encode() for secret in secrets) else []
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return found + [str(path) for path in files if any(secret in path.read_bytes() for secret in secrets)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("way", WAYS)
def test_a_login_is_used_and_is_found_nowhere_afterwards(
    checkout: Checkout, index: Index, home: Path, way: str
) -> None:
    done = build(checkout, home, configured(way, index, home))
    assert done.returncode == 0, done.stderr
    assert leaks(done, checkout.root, home / "store") == []


@pytest.mark.parametrize("way", ["uv", "pip.conf", "netrc", "keyring"])
def test_a_login_that_is_refused_is_told_without_it(checkout: Checkout, index: Index, home: Path, way: str) -> None:
    variables = configured(way, index, home)
    index.wanted = "Basic of somebody else"
    done = build(checkout, home, variables)
    assert done.returncode == 2, done.stderr
    assert "401" in done.stderr
    assert leaks(done, checkout.root, home / "store") == []
    assert not (checkout.folder / "image.lock").exists()


def test_without_a_login_the_server_s_refusal_is_told(checkout: Checkout, index: Index, home: Path) -> None:
    plain = f"http://{index.host}"
    done = build(checkout, home, {"HARNESS_DEBIAN_MIRROR": f"{plain}/debian", "UV_DEFAULT_INDEX": f"{plain}/simple"})
    assert done.returncode == 2
    assert "HTTP 401, it wants a user and a password" in done.stderr
    assert index.refused > 0


def test_the_search_for_the_password_finds_it_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f"x{QUOTED}x")
    done = subprocess.CompletedProcess("", 0, PASSWORD, "")
    assert leaks(done, tmp_path) == ["printed", str(tmp_path / "file")]
