"""Proxies and certificates of one's own: what the variables say is done, for wheels and for Debian's packages."""

import base64
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from private_index import PASSWORD, QUOTED, USER, Checkout, Index, call, leaks

from harness.store.store import Store

TOKEN = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Proxy:
    """Hands each request on to one index, whatever host it names, for one user alone. `asked`: methods and hosts."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.asked: set[tuple[str, str]] = set()
        self.refused = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def known(self, host: str) -> bool:
                if self.headers.get("Proxy-Authorization") == TOKEN:
                    outer.asked.add((self.command, host))
                    return True
                outer.refused += 1
                self.send_response(407)
                self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return False

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if self.known(parts.netloc):
                    onward = HTTPConnection(index.host, timeout=30)
                    onward.request("GET", parts.path, headers={"Authorization": index.wanted})
                    answer = onward.getresponse()
                    data = answer.read()
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.headers["Content-Type"])
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def do_CONNECT(self) -> None:
                if self.known(self.path):
                    name, _, port = index.host.partition(":")
                    with (
                        suppress(ConnectionError),  # of a client that does not like the certificate
                        socket.create_connection((name, int(port)), timeout=30) as onward,
                    ):
                        self.send_response(200)
                        self.end_headers()
                        _relay(self.connection, onward)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://{USER}:{QUOTED}@127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Hand bytes on in both directions until a side has no more."""
    while True:
        for source in select.select([one, other], [], [], 30)[0] or [one]:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout", Store(tmp_path / "first store")).write()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def proxy(checkout: Checkout) -> Iterator[Proxy]:
    index = Index(checkout)
    proxy = Proxy(index)
    yield proxy
    proxy.close()
    index.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, `ca.pem`, and that of an index, `own.crt`, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("authority")
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = "subjectAltName=DNS:index.invalid,DNS:debian.invalid"
    for words in (
        [*new, "-subj", "/CN=authority", "-out", "ca.pem", "-keyout", "ca.key"],
        [*new, "-subj", "/CN=index", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE",
         "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "own.crt", "-keyout", "own.key"],
        ["openssl", "rehash", "."],
    ):  # fmt: skip
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return folder


def addresses(index: str, mirror: str) -> dict[str, str]:
    return {"UV_DEFAULT_INDEX": f"{index}/simple", "HARNESS_DEBIAN_MIRROR": f"{mirror}/debian"}


BUILD = ("build", "tiny", "--update")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_proxy_is_asked_for_both_and_its_login_is_found_nowhere(
    checkout: Checkout, proxy: Proxy, home: Path, name: str
) -> None:
    nowhere = addresses("http://index.invalid", "http://debian.invalid")
    done = call(checkout.root, home, {**nowhere, name: proxy.address}, *BUILD)
    assert done.returncode == 0, done.stderr
    assert proxy.asked == {("GET", "index.invalid"), ("GET", "debian.invalid")}
    assert leaks(done.stdout + done.stderr, checkout.root, home) == []


def test_without_the_proxy_those_hosts_are_not_found(checkout: Checkout, home: Path) -> None:
    done = call(checkout.root, home, addresses("http://index.invalid", "http://debian.invalid"), *BUILD)
    assert done.returncode == 2
    assert "could not be fetched from anywhere" in done.stderr


def test_a_proxy_that_refuses_is_told_without_its_login(checkout: Checkout, proxy: Proxy, home: Path) -> None:
    address = proxy.address.replace(USER, "somebody-else")
    nowhere = addresses("http://index.invalid", "http://debian.invalid")
    done = call(checkout.root, home, {**nowhere, "HTTP_PROXY": address}, *BUILD)
    assert done.returncode == 2
    assert proxy.refused > 0
    assert "407" in done.stderr
    assert leaks(done.stdout + done.stderr, checkout.root, home) == []


@pytest.mark.parametrize(("direct", "asked"), [("", True), ("127.0.0.1", False), ("other.invalid", True)])
def test_a_host_that_no_proxy_names_is_asked_directly(
    checkout: Checkout, proxy: Proxy, home: Path, direct: str, asked: bool
) -> None:
    known = addresses(*2 * (f"http://{USER}:{QUOTED}@{proxy.index.host}",))
    done = call(checkout.root, home, {**known, "HTTP_PROXY": proxy.address, "NO_PROXY": direct}, *BUILD)
    assert done.returncode == 0, done.stderr
    assert proxy.asked == ({("GET", proxy.index.host)} if asked else set())


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", ""])
def test_through_a_tunnel_the_certificate_must_be_that_of_an_authority_that_was_named(
    checkout: Checkout, home: Path, authority: Path, variable: str
) -> None:
    index = Index(checkout, (authority / "own.crt", authority / "own.key"))
    proxy = Proxy(index)
    hosts = (f"https://{USER}:{QUOTED}@{host}.invalid" for host in ("index", "debian"))
    named = {"SSL_CERT_DIR": authority}.get(variable, authority / "ca.pem")
    variables = {**addresses(*hosts), "HTTPS_PROXY": proxy.address, **({variable: str(named)} if variable else {})}
    done = call(checkout.root, home, variables, *BUILD)
    proxy.close()
    index.close()
    assert proxy.asked >= {("CONNECT", "index.invalid:443"), ("CONNECT", "debian.invalid:443")}
    assert leaks(done.stdout + done.stderr, checkout.root, home) == []
    if variable:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2
        assert "certificate" in done.stderr
