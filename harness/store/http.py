"""Reading from addresses: what fails for a moment, what fails for good, and no passwords shown."""

import base64
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from harness.errors import ToolError
from harness.store.pace import PacedResponse, TrickleError

ATTEMPTS = 4
TIMEOUT = 30.0
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 30.0
_MOST_DIGITS = 20
# What stands before the host in an address: up to the last `@`, with spaces too, and with slashes behind a colon that
# no port follows. A path has lost one of the two slashes.
_USER = re.compile(r"(:/{1,2}|//)(?:[^/@\n]*@|[^/\s@]*:(?!\d+(?:/|$))[^\s@]*@)+")
_QUERY = re.compile(r"(:/{1,2}[^\s?#]*)[?#]\S*")
# Where an address may have a password, and so a further `@` may be of it: a colon or an `@` before the first slash.
_MAY_HAVE_PASSWORD = re.compile(r"[^/?#]*[:@]")
_UNFIT = "not an address that can be asked (in a password / ? # @ [ ] are written %2F %3F %23 %40 %5B %5D)"


class Credentials(Protocol):
    """`user:password` by origin."""

    def get(self, server: str, default: str, /) -> str:
        """Those for a server; `default` where there are none."""


class AddressError(ToolError):
    """An address did not give what was asked. `transient` says that it may in a moment, `reached` that it answered."""

    def __init__(self, reason: str, *, transient: bool, reached: bool, wait: float | None = None) -> None:
        super().__init__(reason)
        self.transient = transient
        self.reached = reached
        self.wait = wait


def redact(address: str) -> str:
    """An address as it may be shown: without user, password and query, which may hold tokens.

    Of one where a password that is not percent-encoded may go on behind what looks like the host, nothing is shown.
    """
    scheme, mark, rest = "".join(address.split()).partition("://")
    if not mark:
        return redact_text(address)
    user = _USER.match(f"//{rest}")
    shown = rest[user.end() - 2 :] if user else rest
    if "@" in shown and _MAY_HAVE_PASSWORD.match(rest):
        return "(an address with an @ behind its host)"
    return scheme + mark + re.split("[?#]", shown, maxsplit=1)[0]


def redact_text(text: str) -> str:
    """A text as it may be shown: each address in it without user, password and query, rather short than whole."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


def origin(address: str) -> str:
    """Scheme, host and port of an address: what is down when a server is down.

    Raises:
        AddressError: it is none.
    """
    parts = _split(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def whole_number(text: str) -> int | None:
    """The number that a header gives; null where it is none, or longer than a size or a time can be."""
    return int(text) if len(text) < _MOST_DIGITS and text.isascii() and text.isdigit() else None


def open_address(address: str, *, offset: int = 0, credentials: Credentials | None = None) -> Any:
    """The answer to a request for an address, to be closed; from byte `offset` on where the server can (status 206).

    `credentials` are `user:password` by origin; those in the address itself come first.

    Raises:
        AddressError: it cannot be had from there.
    """
    parts = _split(address)
    if parts.scheme not in ("http", "https", "file"):
        raise AddressError(f"{parts.scheme or 'no'} scheme is not supported", transient=False, reached=False)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit((parts.scheme, host, parts.path, parts.query, "")))  # noqa: S310
    user = unquote(user)
    if ":" not in user and credentials is not None and parts.scheme != "file":
        user = credentials.get(origin(address), user)
    if user:
        token = base64.b64encode(user.encode()).decode()
        # Not to be sent along to wherever the server redirects to.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    request.add_header("User-Agent", "hermetic-harness")
    request.add_header("Accept-Encoding", "identity")
    if offset and parts.scheme != "file":
        request.add_header("Range", f"bytes={offset}-")
    try:
        return _opener().open(request, timeout=TIMEOUT)
    except http.client.InvalidURL:
        raise _unfit() from None
    except (OSError, http.client.HTTPException) as error:
        raise explain(error) from error
    except ValueError:
        raise _unfit() from None


def _split(address: str) -> SplitResult:
    """The parts of an address; its port is a number."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise _unfit() from None
    return parts


def _unfit() -> AddressError:
    """What an address is that cannot be read; raised `from None`, since the cause may quote a password."""
    return AddressError(_UNFIT, transient=False, reached=False)


def explain(error: Exception) -> AddressError:
    """What went wrong with a request or in the middle of an answer."""
    match error:
        case urllib.error.HTTPError():
            with error:
                wait = error.headers.get("Retry-After", "") if error.headers else ""
            asked = whole_number(wait)
            seconds = None if asked is None else min(float(asked), _LONGEST_WAIT)
            asks = ", it wants a user and a password that it knows" if error.code in (401, 403) else ""
            return AddressError(
                f"HTTP {error.code}{asks}", transient=error.code in _TRANSIENT, reached=True, wait=seconds
            )
        case urllib.error.URLError() if isinstance(error.reason, Exception):
            return explain(error.reason)
        case ssl.SSLCertVerificationError():
            return AddressError(f"certificate not accepted: {error.verify_message}", transient=False, reached=False)
        case FileNotFoundError() | IsADirectoryError() | PermissionError():
            return AddressError(error.strerror or str(error), transient=False, reached=True)
        case TrickleError():
            return AddressError(str(error), transient=True, reached=False)
        case TimeoutError():
            return AddressError("no answer in time", transient=True, reached=False)
        case http.client.IncompleteRead() | http.client.RemoteDisconnected() | ConnectionResetError():
            return AddressError("the connection broke", transient=True, reached=True)
        case ConnectionRefusedError():
            return AddressError("connection refused", transient=True, reached=False)
        case OSError():
            return AddressError(error.strerror or str(error), transient=True, reached=False)
    return AddressError(str(error) or type(error).__name__, transient=False, reached=True)


def retrying(
    attempt: Callable[[], None],
    *,
    delay: float = 0.5,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Call `attempt` until it succeeds, at most `attempts` times, waiting twice as long each time.

    Raises:
        AddressError: it failed for good, or each time.
    """
    for number in range(attempts):
        try:
            attempt()
            return
        except AddressError as error:
            if not error.transient or number == attempts - 1:
                raise
            sleep(error.wait if error.wait is not None else delay * 2**number)


def read_address(address: str, *, limit: int, credentials: Credentials | None = None) -> bytes:
    """All bytes at an address, at most `limit`; tried again where that may help.

    Raises:
        AddressError: it cannot be had from there, or is larger.
    """
    found = b""

    def attempt() -> None:
        nonlocal found
        with open_address(address, credentials=credentials) as answer:
            try:
                found = answer.read(limit + 1)
            except (OSError, http.client.HTTPException) as error:
                raise explain(error) from error
            wanted = whole_number(answer.headers.get("Content-Length", ""))
            if wanted is not None and len(found) < min(wanted, limit + 1):
                raise AddressError("the connection broke", transient=True, reached=True)
        if len(found) > limit:
            raise AddressError(f"more than {limit} bytes", transient=False, reached=True)

    retrying(attempt)
    return found


def _opener() -> urllib.request.OpenerDirector:
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    context = ssl.create_default_context(cafile=bundle or None)
    return urllib.request.build_opener(_Plain(), _Secure(context=context))


class _PlainConnection(http.client.HTTPConnection):
    response_class = PacedResponse


class _SecureConnection(http.client.HTTPSConnection):
    response_class = PacedResponse


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PlainConnection, req)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._trusted = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req, context=self._trusted)
