"""Connections to a registry and to where it leads: which are trusted, and what it means when one breaks.

Nothing goes over plain HTTP where others could listen, and no answer is read without a bound.
"""

import http.client
import os
import ssl
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
import urllib3
from msgspec.structs import replace

from harness.errors import HarnessError, IntegrityError, ToolError, UsageError
from harness.images.distribution.errors import Stopped, Transient
from harness.images.distribution.source import Source
from harness.images.remote import RemoteReference, is_loopback
from harness.store.http import redact
from harness.store.pace import PacedResponse, TrickleError

ATTEMPTS = 5
"""How often something is tried that may work in a moment."""
PROGRESS = 1 << 20
"""How many bytes further something must have come for what failed before not to count any more."""
LONGEST_WAIT = 30.0
"""For how many seconds at most to wait before the next try."""
_ERROR_LIMIT = 64 << 10
_CHUNK = 1 << 18
_CERTIFICATES = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
_DOCKER_HUB = {"docker.io": "registry-1.docker.io"}


class Request(msgspec.Struct, frozen=True):
    """What is asked; `timeout` is null for the connection's own."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | Source | None = None
    timeout: urllib3.Timeout | None = None

    def bearing(self, authorization: str | None) -> "Request":
        """The same, with the header that says who we are, if anything is to be said."""
        return replace(self, headers={**self.headers, "Authorization": authorization}) if authorization else self


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: Any
    data: bytes


class Connection:
    """Connections to a registry, and to wherever it redirects. Safe to use from several threads.

    `ca` is a file of certificates that are trusted beside the system's. Plain HTTP is spoken with a registry on this
    machine, and elsewhere only under `plain_http`. `stall` is for how many seconds the registry may say nothing.

    Raises:
        UsageError: `ca` cannot be read.
    """

    def __init__(
        self, reference: RemoteReference, *, ca: Path | None, plain_http: bool, stall: float, delay: float
    ) -> None:
        self.reference = reference
        self.where = f"{reference.host}/{reference.name}"
        self._timeout = patience(stall, stall)
        self.stopped = threading.Event()
        self._plain_http = plain_http
        self._delay = delay
        self._context = _trusted(ca, reference.host)
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._found: str | None = None
        self._mutex = threading.RLock()

    def exchange(self, request: Request) -> Any:
        """One request as it is: no redirect followed, nothing tried again, the body of the answer unread.

        Raises:
            Transient: it may work in a moment.
            Stopped: it was called off.
            HarnessError: it will not work.
        """
        if self.stopped.is_set():
            raise Stopped
        sent = {"User-Agent": "hermetic-harness", "Accept-Encoding": "identity", **request.headers}
        try:
            return self._pool(request.url).request(
                request.method, request.url, headers=sent, body=request.body, timeout=request.timeout or self._timeout,
                redirect=False, retries=False, preload_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise self._explain(error) from None
        except ValueError:  # what the registry sent makes no request: its words are not quoted
            raise self._unusable() from None

    def read(self, response: Any, limit: int) -> Answer:
        """The whole of an answer of at most `limit` bytes, and its connection given back; by 0 an error's first words.

        Raises:
            Transient: the connection broke.
            IntegrityError: it has more bytes.
        """
        most = limit or _ERROR_LIMIT
        data = b""
        try:
            while len(data) <= most and (chunk := response.read1(most + 1 - len(data), decode_content=False)):
                data += chunk
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise self._explain(error) from None
        finally:
            if len(data) > most:
                response.close()
            response.release_conn()
        if len(data) > most and limit:
            raise IntegrityError(f"{self.where} answered with more than {limit} bytes, which no such document has")
        return Answer(response.status, response.headers, data[:most])

    def pieces(self, response: Any) -> Iterator[bytes]:
        """The body of an answer as it comes in.

        Raises:
            Transient: the connection broke.
            Stopped: it was called off.
        """
        while True:
            if self.stopped.is_set():
                raise Stopped
            try:
                chunk = response.read1(_CHUNK, decode_content=False)
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
                raise self._explain(error) from None
            if not chunk:
                return
            yield chunk

    def origin(self) -> str:
        """Scheme, host and port. Which scheme a registry on this machine speaks is found out, without credentials."""
        with self._mutex:
            if self._found is None:
                host = _DOCKER_HUB.get(self.reference.host, self.reference.host)
                plain = self._plain_http or (self.reference.is_loopback and self._speaks_http(host))
                self._found = origin_of(f"{'http' if plain else 'https'}://{host}")
            return self._found

    def check_scheme(self, url: str) -> None:
        """Refuse to go on over plain HTTP where others could listen, or to somewhere that is no web address."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise self._unusable() from None
        here = self.reference.is_loopback and is_loopback(parts.netloc.rpartition("@")[2])
        allowed = parts.scheme == "https" or (parts.scheme == "http" and (self._plain_http or here))
        if not allowed:
            raise ToolError(f"{self.where} leads to {redact(url)!a}, which is not safe to ask", hint=_USE_TLS)

    def led(self, url: str, place: str) -> str:
        """The address of `place`, as the answer from `url` named it; refused as by `check_scheme`."""
        try:
            found = urljoin(url, place)
        except ValueError:
            raise self._unusable() from None
        self.check_scheme(found)
        return found

    def farewell(self, request: Request) -> None:
        """A request whose answer changes nothing, also after `stopped`."""
        self._pool(request.url).request(
            request.method, request.url, headers=request.headers, redirect=False, retries=False, timeout=2.0,
            preload_content=False,
        ).close()  # fmt: skip

    def wait(self, failures: int, asked: float | None) -> None:
        """Wait before the next try, for as long as the registry `asked`, in seconds, or longer each time.

        Raises:
            Stopped: it was called off meanwhile.
        """
        if self.stopped.wait(asked if asked is not None else min(self._delay * 2 ** (failures - 1), LONGEST_WAIT)):
            raise Stopped

    def gave_up(self, error: Transient) -> ToolError:
        """What is said once it was tried often enough."""
        return ToolError(
            f"{self.where}: {error.reason}; tried {ATTEMPTS} times",
            hint="Try again later: what was sent or received whole is not sent or received again.",
        )

    def _unusable(self) -> ToolError:
        return ToolError(f"{self.where} sent an address or a token that cannot be used")

    def _speaks_http(self, host: str) -> bool:
        try:
            response = self.exchange(Request("GET", f"http://{host}/v2/", timeout=urllib3.Timeout(5.0)))
        except (Transient, HarnessError):
            return False
        response.close()
        return bool(response.status != 400)  # what a server says that was to be asked by TLS

    def _pool(self, url: str) -> Any:
        """The connections to where an address leads, by way of the user's proxy if there is one."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxy = "" if is_loopback(host) or urllib.request.proxy_bypass(host) else _proxy(parts.scheme)
        with self._mutex:
            if proxy not in self._pools:
                options: dict[str, Any] = {"ssl_context": self._context, "maxsize": 8}
                pool = (
                    urllib3.ProxyManager(proxy, proxy_headers=_proxy_headers(proxy), **options)
                    if proxy
                    else urllib3.PoolManager(**options)
                )
                pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
                self._pools[proxy] = pool
            return self._pools[proxy]

    def _explain(self, error: Exception) -> Transient | HarnessError:
        """What a broken exchange means."""
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, Stopped):
                raise cause
            if isinstance(cause, TrickleError):
                return Transient(str(cause))
            if isinstance(cause, ssl.SSLCertVerificationError):
                return ToolError(
                    f"The certificate of {self.reference.host} is not accepted: {cause.verify_message}",
                    hint="Give the file of the authority that signed it: --ca FILE, or SSL_CERT_FILE.",
                )
        match error:
            case urllib3.exceptions.ReadTimeoutError() | TimeoutError():
                return Transient(f"it said nothing for {self._timeout.read_timeout or 0:g} s")
            case urllib3.exceptions.NameResolutionError():
                return ToolError(
                    f"There is no registry {self.reference.host}: its name is not known",
                    hint="Is it spelt right, and does this machine have a network?",
                )
            case urllib3.exceptions.NewConnectionError():
                return Transient("nobody answers there")
            case urllib3.exceptions.ConnectTimeoutError():
                return Transient("it cannot be reached in time")
            case urllib3.exceptions.ProxyError():
                return Transient("the proxy does not let us through")
            case urllib3.exceptions.SSLError() | ssl.SSLError():
                return ToolError(f"{self.reference.host} does not speak TLS", hint=f"Is it a registry? {_USE_TLS}")
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return Transient("it did not take in time what it was sent")
        return Transient("the connection broke")


class _PlainConnection(urllib3.connection.HTTPConnection):
    response_class = PacedResponse

    def send(self, data: Any) -> None:
        if self.sock is not None:  # used before: it would wait for as long as the last answer was waited for
            self.sock.settimeout(self.timeout)
        super().send(data)


class _SecureConnection(_PlainConnection, urllib3.connection.HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what is behind it."""
    while error is not None:
        yield error
        reason = getattr(error, "reason", None)
        error = error.__cause__ or error.__context__ or (reason if isinstance(reason, BaseException) else None)


def patience(stall: float, answer: float) -> urllib3.Timeout:
    """For how many seconds to wait for a connection, at most `stall`, and for the next bytes of an `answer`."""
    return urllib3.Timeout(connect=min(stall, 30.0), read=answer)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _trusted(ca: Path | None, host: str) -> ssl.SSLContext:
    """The system's certificates (or `SSL_CERT_FILE`'s), the file `ca`, and what Docker and podman trust for a host."""
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    own = [*([ca] if ca else []), *(path for folder in _CERTIFICATES for path in sorted((folder / host).glob("*.crt")))]
    try:
        context = ssl.create_default_context(cafile=bundle or None)
        for path in own:
            context.load_verify_locations(path)
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(map(str, [*([bundle] if bundle else []), *own]))
        raise UsageError(
            f"Certificates cannot be read from {named}: {error.strerror or error}",
            hint="Name a file in PEM format that holds the certificate of the authority: --ca FILE, or SSL_CERT_FILE.",
        ) from error
    return context


def _proxy(scheme: str) -> str:
    return urllib.request.getproxies().get(scheme, "")


def _proxy_headers(proxy: str) -> Any:
    user = urlsplit(proxy).netloc.rpartition("@")[0]
    return urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None


_USE_TLS = "Plain HTTP is for registries on this machine, or with --plain-http."
