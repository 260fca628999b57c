"""One repository of a registry: its blobs and manifests, by digest, over HTTP.

Protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md and, for tokens,
https://distribution.github.io/distribution/spec/auth/token/

The registry is not trusted: every byte is held against its digest, and nothing is read without a bound. Credentials go
to the registry itself and to the token server that it names, never to where it redirects.
"""

import http.client
import os
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlencode, urljoin, urlsplit

import msgspec
import urllib3

from harness.errors import HarnessError, IntegrityError, PrerequisiteError, ToolError, UsageError
from harness.images.credentials import Credentials
from harness.images.remote import RemoteReference, is_loopback
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, digest_from_hex
from harness.store.http import redact

MANIFEST_LIMIT = 4 << 20
"""The largest manifest that is read, in bytes: what the specification asks registries to take."""
_ERROR_LIMIT = 64 << 10
_TOKEN_LIMIT = 1 << 20
_CHUNK = 1 << 18
_ATTEMPTS = 5
_REDIRECTS = 5
_LONGEST_WAIT = 30.0
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_MOVED = (301, 302, 303, 307, 308)
_CERTIFICATES = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
_DOCKER_HUB = {"docker.io": "registry-1.docker.io"}
_LONGEST_SAYING = 200

Advance = Callable[[int], None]


class Stopped(Exception):  # noqa: N818 - nothing is wrong: the caller gave up
    """What was going on was called off."""


class _Transient(Exception):  # noqa: N818 - internal: what is tried again
    """Something that may work in a moment. `wait` is how many seconds the registry asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class Repository:
    """A repository of a registry. Safe to use from several threads.

    `push` asks for the right to write. `ca` is a file of certificates that are trusted beside the system's. Plain HTTP
    is spoken with a registry on this machine, and elsewhere only under `plain_http`. `stall` is for how many seconds
    the registry may say nothing, `commit` for how many it may take to check a blob that it was given.

    Raises:
        UsageError: `ca` cannot be read.
    """

    def __init__(
        self,
        reference: RemoteReference,
        *,
        credentials: Credentials | None,
        push: bool = False,
        ca: Path | None = None,
        plain_http: bool = False,
        stall: float = 60.0,
        commit: float = 900.0,
        delay: float = 0.5,
    ) -> None:
        self.reference = reference
        self._where = f"{reference.host}/{reference.name}"
        self._credentials = credentials
        self._actions = "pull,push" if push else "pull"
        self._plain_http = plain_http
        self._timeout = urllib3.Timeout(connect=min(stall, 30.0), read=stall)
        self._commit = urllib3.Timeout(connect=min(stall, 30.0), read=commit)
        self._delay = delay
        self._context = _trusted(ca, reference.host)
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._origin: str | None = None
        self._authorization: str | None = None
        self._mutex = threading.RLock()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Call off what other threads are doing."""
        self._stop.set()

    def has_blob(self, digest: Digest, size: int) -> bool:
        """Whether the repository holds a blob of that size.

        Raises:
            HarnessError: the registry cannot be asked.
            IntegrityError: it says that the blob has another size or digest.
        """
        answer = self._ask("HEAD", self._url(f"blobs/{digest}"))
        if answer.status == 404:
            return False
        self._expect(answer, (200,), f"to say whether it has {digest}")
        self._same_digest(answer, digest)
        length = answer.headers.get("Content-Length")
        if length is not None and length != str(size):
            raise IntegrityError(f"{self._where} says that {digest} has {length} bytes, and it has {size}")
        return True

    def upload(self, digest: Digest, path: Path, advance: Advance) -> None:
        """Send the file `path` as the blob `digest`; go on where a broken connection left off.

        `advance` hears of bytes that are sent for the first time.

        Raises:
            HarnessError: the registry does not take it.
            IntegrityError: it says that it received something else.
        """
        size, failures = path.stat().st_size, 0
        source = _Source(path, size, advance, self._stop)
        session: tuple[str, int] | None = None
        try:
            while True:
                try:
                    location, offset = session or (self._begin_upload(), 0)
                    session = (location, offset)
                    if offset < size:
                        session = (self._patch(location, source.starting_at(offset)), size)
                    self._finish(session[0], digest)
                    return
                except _Transient as error:
                    failures += 1
                    if failures >= _ATTEMPTS:
                        raise self._gave_up(error) from None
                    self._wait(failures, error.wait)
                    if self.has_blob(digest, size):  # only the answer was lost
                        return
                    session = self._resumed(session[0], size) if session else None
                    if session and session[1] > offset:
                        failures = 1
        except BaseException:
            if session:
                self._cancel(session[0])
            raise

    def put_manifest(self, data: bytes, media_type: str, tag: str | None) -> Digest:
        """Store a manifest, under a tag or by its digest alone, and read it back.

        Raises:
            HarnessError: the registry does not take it.
            IntegrityError: it serves other bytes than it was given.
        """
        digest = digest_of(data)
        answer = self._ask(
            "PUT", self._url(f"manifests/{tag or digest}"), headers={"Content-Type": media_type}, body=data
        )
        self._expect(answer, (201,), "to take the image's manifest")
        self._same_digest(answer, digest)
        self.manifest(digest, media_type)
        return digest

    def manifest(self, digest: Digest, accept: str) -> tuple[bytes, str]:
        """The bytes of a manifest and their media type, `accept` saying which are understood.

        Raises:
            PrerequisiteError: there is none of that digest.
            HarnessError: the registry does not give it.
            IntegrityError: it gives other bytes, or more than any manifest has.
        """
        answer = self._ask("GET", self._url(f"manifests/{digest}"), headers={"Accept": accept}, limit=MANIFEST_LIMIT)
        if answer.status == 404:
            raise PrerequisiteError(
                f"{self._where} holds no image {digest}",
                hint="Is it the digest that `harness push` printed? A compressed push has one of its own.",
            )
        self._expect(answer, (200,), "to give an image's manifest")
        if digest_of(answer.data) != digest:
            raise IntegrityError(f"{self._where} served other bytes as the manifest {digest}")
        self._same_digest(answer, digest)
        return answer.data, answer.headers.get("Content-Type", "").partition(";")[0].strip()

    def chunks(self, digest: Digest, size: int) -> Iterator[bytes]:
        """A blob of `size` bytes, in pieces; a broken connection is taken up again. Ends only if all of it is right.

        Raises:
            PrerequisiteError: the repository does not hold it.
            HarnessError: the registry does not give it.
            IntegrityError: it gives other bytes, fewer or more: what was handed out before is then to be thrown away.
        """
        hashed, received, failures = sha256(), 0, 0
        while received < size:
            before = received
            try:
                for chunk in self._part(digest, received, size):
                    hashed.update(chunk)
                    received += len(chunk)
                    yield chunk
                if received < size:
                    raise _Transient("the answer ended early")
                break
            except _Transient as error:
                failures = failures + 1 if received == before else 1
                if failures >= _ATTEMPTS:
                    raise self._gave_up(error) from None
                self._wait(failures, error.wait)
        if digest_from_hex(hashed.hexdigest()) != digest:
            raise IntegrityError(f"{self._where} served other bytes as {digest}")

    def _part(self, digest: Digest, offset: int, size: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._follow("GET", self._url(f"blobs/{digest}"), headers=headers)
        try:
            if answer.status == 404:
                raise PrerequisiteError(f"{self._where} does not hold {digest}, which the image's manifest names")
            if answer.status not in (200, 206):
                self._expect(self._read(answer, 0), (200, 206), f"to give {digest}")
            self._same_digest(answer, digest)
            skip = offset
            if answer.status == 206:
                if not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                    raise IntegrityError(f"{self._where} served another part of {digest} than it was asked for")
                skip = 0
            length = answer.headers.get("Content-Length", "")
            if length.isdigit() and int(length) != size - offset + skip:
                raise IntegrityError(
                    f"{self._where} says that {digest} has {int(length) + offset - skip} bytes, and its manifest {size}"
                )
            yield from self._received(answer, skip, size - offset + skip, digest)
        finally:
            answer.close()
            answer.release_conn()

    def _received(self, answer: Any, skip: int, most: int, digest: Digest) -> Iterator[bytes]:
        """The body of an answer without its first `skip` bytes; `most` is how many it may have in all."""
        count = 0
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                chunk = answer.read1(_CHUNK, decode_content=False)
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
                raise self._explain(error) from None
            if not chunk:
                return
            count += len(chunk)
            if count > most:
                raise IntegrityError(f"{self._where} served more bytes as {digest} than its manifest says")
            if count > skip:
                yield chunk[max(0, skip - (count - len(chunk))) :]

    def _begin_upload(self) -> str:
        url = self._url("blobs/uploads/")
        answer = self._once("POST", url, headers={"Content-Length": "0"})
        self._expect(answer, (202,), "to take a layer")
        return self._location(answer, url)

    def _patch(self, location: str, source: "_Source") -> str:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.left)}
        if source.offset:
            headers["Content-Range"] = f"{source.offset}-{source.size - 1}"
        answer = self._once("PATCH", location, headers=headers, body=source)
        if answer.status in (404, 416):
            raise _Transient("the upload was forgotten")
        self._expect(answer, (202, 204), "to take a layer")
        return self._location(answer, location)

    def _resumed(self, location: str, size: int) -> tuple[str, int] | None:
        """Where an upload stands; null where it must begin anew."""
        try:
            answer = self._once("GET", location)
            first, _, last = answer.headers.get("Range", "").removeprefix("bytes=").partition("-")
            if answer.status not in (202, 204) or first != "0" or not last.isdigit():
                return None
            moved = self._location(answer, location) if answer.headers.get("Location") else location
        except (_Transient, HarnessError):
            return None
        # `0-0` is what some registries say of an upload that has nothing yet, and what others say of one byte.
        received = int(last) + 1 if last != "0" else 0
        return (moved, received) if 0 < received <= size else None

    def _finish(self, location: str, digest: Digest) -> None:
        parts = urlsplit(location)
        url = parts._replace(query="&".join(filter(None, (parts.query, urlencode({"digest": digest}))))).geturl()
        answer = self._once("PUT", url, headers={"Content-Length": "0"}, timeout=self._commit)
        if answer.status == 404:
            raise _Transient("the upload was forgotten")
        self._expect(answer, (201, 204), f"to keep {digest}")
        self._same_digest(answer, digest)

    def _cancel(self, location: str) -> None:
        """Have the registry forget an upload, if it will: it would keep what was sent for a week."""
        own = _origin(location) == self._base()
        with suppress(Exception):  # whatever ended the upload matters more
            self._pool(location).request(
                "DELETE", location, headers=_bearing(self._authorization if own else None), redirect=False,
                retries=False, timeout=2.0,
            )  # fmt: skip

    def _location(self, answer: "Answer", url: str) -> str:
        place = answer.headers.get("Location")
        if not place:
            raise ToolError(f"{self._where} took an upload and did not say where it goes on")
        place = urljoin(url, place)
        self._check_scheme(place)
        return place

    def _ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 0,
    ) -> "Answer":
        """One request with its whole answer; tried again where that may help."""
        for failures in range(1, _ATTEMPTS + 1):
            try:
                return self._once(method, url, headers=headers, body=body, limit=limit)
            except _Transient as error:
                last = error
                if failures < _ATTEMPTS:
                    self._wait(failures, error.wait)
        raise self._gave_up(last)

    def _once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: "bytes | _Source | None" = None,
        limit: int = 0,
        timeout: urllib3.Timeout | None = None,
    ) -> "Answer":
        response = self._follow(method, url, headers=headers, body=body, timeout=timeout)
        return self._read(response, limit if response.status < 300 else 0)

    def _follow(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: "bytes | _Source | None" = None,
        timeout: urllib3.Timeout | None = None,
    ) -> Any:
        """The answer to a request, its body unread, where redirects end and with the credentials that it takes.

        Raises:
            _Transient: it may come in a moment.
        """
        for _ in range(_REDIRECTS + 1):
            self._check_scheme(url)
            response = self._authorized(method, url, headers or {}, body, timeout or self._timeout)
            if response.status not in _MOVED or method not in ("GET", "HEAD"):
                if response.status in _TRANSIENT:
                    wait = response.headers.get("Retry-After", "")
                    response.close()
                    seconds = min(float(wait), _LONGEST_WAIT) if wait.isascii() and wait.isdigit() else None
                    raise _Transient(_MEANINGS.get(response.status, f"HTTP {response.status}"), seconds)
                return response
            place = response.headers.get("Location")
            response.close()
            if not place:
                raise ToolError(f"{self._where} redirects to nowhere")
            url = urljoin(url, place)
        raise ToolError(f"{self._where} redirects in a circle")

    def _authorized(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: "bytes | _Source | None",
        timeout: urllib3.Timeout,
    ) -> Any:
        used = self._authorization
        own = _origin(url) == self._base()
        response = self._exchange(method, url, {**headers, **_bearing(used if own else None)}, body, timeout)
        if response.status != 401 or not own:
            return response
        challenges = response.headers.getlist("WWW-Authenticate")
        response.close()
        with self._mutex:
            if self._authorization == used:  # or another thread has renewed it
                self._authorization = self._authenticate(challenges)
            renewed = self._authorization
        if isinstance(body, _Source):
            body = body.starting_at(body.offset)
        return self._exchange(method, url, {**headers, **_bearing(renewed)}, body, timeout)

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: "bytes | _Source | None",
        timeout: urllib3.Timeout,
    ) -> Any:
        """One request as it is: no redirect followed, nothing tried again, the body of the answer unread."""
        if self._stop.is_set():
            raise Stopped
        sent = {"User-Agent": "hermetic-harness", "Accept-Encoding": "identity", **headers}
        try:
            return self._pool(url).request(
                method, url, headers=sent, body=body, timeout=timeout, redirect=False, retries=False,
                preload_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise self._explain(error) from None
        except ValueError:  # what the registry sent makes no request: its words are not quoted
            raise ToolError(f"{self._where} sent an address or a token that cannot be used") from None

    def _read(self, response: Any, limit: int) -> "Answer":
        """The whole of an answer, and its connection given back."""
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
            raise IntegrityError(f"{self._where} answered with more than {limit} bytes, which no such document has")
        return Answer(response.status, response.headers, data[:most])

    def _authenticate(self, challenges: list[str]) -> str:
        """What to send as `Authorization`, as the registry asks for it."""
        found = dict(_challenge(text) for text in challenges)
        if "bearer" in found:
            return f"Bearer {self._token(found['bearer'])}"
        if "basic" in found and self._credentials and not self._credentials.identity_token:
            return f"Basic {self._credentials.basic}"
        raise self._refused(401, "")

    def _token(self, challenge: Mapping[str, str]) -> str:
        realm = challenge.get("realm", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise ToolError(f"{self._where} asks for a token and does not say where to get it")
        self._check_scheme(realm)
        wanted = {"scope": f"repository:{self.reference.name}:{self._actions}"}
        if service := challenge.get("service"):
            wanted["service"] = service
        known = self._credentials
        if known and known.identity_token:
            form = {**wanted, "grant_type": "refresh_token", "client_id": "hermetic-harness"}
            body = urlencode({**form, "refresh_token": known.identity_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._exchange("POST", realm, headers, body, self._timeout)
        else:
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(wanted)}"
            response = self._exchange("GET", url, _bearing(known and f"Basic {known.basic}"), None, self._timeout)
        answer = self._read(response, _TOKEN_LIMIT)
        if answer.status in _TRANSIENT:
            raise _Transient(_MEANINGS.get(answer.status, f"HTTP {answer.status}"))
        if answer.status != 200:
            raise self._refused(401, "")
        try:
            document = msgspec.json.decode(answer.data, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            document = {}
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ToolError(f"The token server of {self._where} gave no token") from None
        return token

    def _url(self, path: str) -> str:
        return f"{self._base()}/v2/{self.reference.name}/{path}"

    def _base(self) -> str:
        """Scheme, host and port. Which scheme a registry on this machine speaks is found out, without credentials."""
        with self._mutex:
            if self._origin is None:
                host = _DOCKER_HUB.get(self.reference.host, self.reference.host)
                plain = self._plain_http or (self.reference.is_loopback and self._speaks_http(host))
                self._origin = _origin(f"{'http' if plain else 'https'}://{host}")
            return self._origin

    def _speaks_http(self, host: str) -> bool:
        try:
            response = self._exchange("GET", f"http://{host}/v2/", {}, None, urllib3.Timeout(5.0))
        except (_Transient, HarnessError):
            return False
        response.close()
        return bool(response.status != 400)  # what a server says that was to be asked by TLS

    def _check_scheme(self, url: str) -> None:
        """Refuse to go on over plain HTTP where others could listen, or to somewhere that is no web address."""
        parts = urlsplit(url)
        here = self.reference.is_loopback and is_loopback(parts.netloc.rpartition("@")[2])
        allowed = parts.scheme == "https" or (parts.scheme == "http" and (self._plain_http or here))
        if not allowed:
            raise ToolError(f"{self._where} leads to {redact(url)}, which is not safe to ask", hint=_USE_TLS)

    def _pool(self, url: str) -> Any:
        """The connections to where an address leads, by way of the user's proxy if there is one."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxy = "" if is_loopback(host) or urllib.request.proxy_bypass(host) else _proxy(parts.scheme)
        with self._mutex:
            if proxy not in self._pools:
                options: dict[str, Any] = {"ssl_context": self._context, "maxsize": 8}
                self._pools[proxy] = (
                    urllib3.ProxyManager(proxy, proxy_headers=_proxy_headers(proxy), **options)
                    if proxy
                    else urllib3.PoolManager(**options)
                )
            return self._pools[proxy]

    def _explain(self, error: Exception) -> _Transient | HarnessError:
        """What a broken exchange means."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, Stopped):
                raise cause
            if isinstance(cause, ssl.SSLCertVerificationError):
                return ToolError(
                    f"The certificate of {self.reference.host} is not accepted: {cause.verify_message}",
                    hint="Give the file of the authority that signed it: --ca FILE, or SSL_CERT_FILE.",
                )
            reason = getattr(cause, "reason", None)
            cause = cause.__cause__ or cause.__context__ or (reason if isinstance(reason, BaseException) else None)
        match error:
            case urllib3.exceptions.ReadTimeoutError() | TimeoutError():
                return _Transient(f"it said nothing for {self._timeout.read_timeout or 0:g} s")
            case urllib3.exceptions.NameResolutionError():
                return ToolError(f"There is no registry {self.reference.host}: its name is not known")
            case urllib3.exceptions.NewConnectionError():
                return _Transient("nobody answers there")
            case urllib3.exceptions.ConnectTimeoutError():
                return _Transient("it cannot be reached in time")
            case urllib3.exceptions.ProxyError():
                return _Transient("the proxy does not let us through")
            case urllib3.exceptions.SSLError() | ssl.SSLError():
                return ToolError(f"{self.reference.host} does not speak TLS", hint=f"Is it a registry? {_USE_TLS}")
        return _Transient("the connection broke")

    def _gave_up(self, error: _Transient) -> ToolError:
        return ToolError(
            f"{self._where}: {error.reason}; tried {_ATTEMPTS} times",
            hint="Try again later: what was sent or received whole is not sent or received again.",
        )

    def _wait(self, failures: int, asked: float | None) -> None:
        if self._stop.wait(asked if asked is not None else min(self._delay * 2 ** (failures - 1), _LONGEST_WAIT)):
            raise Stopped

    def _expect(self, answer: "Answer", wanted: tuple[int, ...], doing: str) -> None:
        if answer.status in wanted:
            return
        if answer.status in (401, 403):
            raise self._refused(answer.status, self._said(answer.data))
        said = self._said(answer.data) or http.client.responses.get(answer.status, "no reason given")
        raise ToolError(f"{self._where} refused {doing} (HTTP {answer.status}): {said}")

    def _refused(self, status: int, said: str) -> PrerequisiteError:
        login = f"Log in: docker login {self.reference.host} (or podman login; REGISTRY_AUTH_FILE names another file)."
        if status == 401:
            what = (
                "does not accept your credentials" if self._credentials else "asks for credentials, and there are none"
            )
            return PrerequisiteError(f"{self._where} {what}", hint=login)
        may = "push to" if "push" in self._actions else "pull from"
        reason = f": {said}" if said else ""
        return PrerequisiteError(
            f"You may not {may} {self._where}{reason}", hint="Ask for the right to, or see who you are."
        )

    def _said(self, data: bytes) -> str:
        """The registry's own words, short and on one line; nothing where they hold what we sent as a secret."""
        try:
            errors = msgspec.json.decode(data, type=dict[str, Any]).get("errors")
            said = "; ".join(str(one.get("message") or one.get("code") or "") for one in errors or ())
        except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError, TypeError):
            return ""
        known = self._credentials
        secrets = (known.password, known.identity_token, known.basic) if known else ()
        token = (self._authorization or "").partition(" ")[2]
        if any(secret and secret in said for secret in (*secrets, token)):
            return ""
        return "".join(letter if letter.isprintable() else " " for letter in said)[:_LONGEST_SAYING]

    def _same_digest(self, answer: Any, digest: Digest) -> None:
        said = answer.headers.get("Docker-Content-Digest")
        if said is not None and said != digest:
            raise IntegrityError(f"{self._where} calls {digest} by another digest: {said[:80]!r}")


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: Any
    data: bytes


class _Source:
    """A file from `offset` to its end, as the body of a request; `advance` hears of what was not sent before."""

    def __init__(self, path: Path, size: int, advance: Advance, stop: threading.Event, offset: int = 0) -> None:
        self._path = path
        self._advance = advance
        self._stop = stop
        self._file: BinaryIO | None = None
        self._most = [0]
        self.size = size
        self.offset = offset
        self._position = offset

    @property
    def left(self) -> int:
        """How many bytes are to be sent."""
        return self.size - self.offset

    def starting_at(self, offset: int) -> "_Source":
        """The same file from another place."""
        source = _Source(self._path, self.size, self._advance, self._stop, offset)
        source._most = self._most
        return source

    def read(self, size: int = -1) -> bytes:
        """The next bytes: what `http.client` sends as a body."""
        if self._stop.is_set():
            raise Stopped
        if self._file is None:
            self._file = self._path.open("rb")
            self._file.seek(self.offset)
        data = self._file.read(min(_CHUNK if size < 0 else max(size, _CHUNK), self.size - self._position))
        self._position += len(data)
        if self._position > self._most[0]:
            self._advance(self._position - self._most[0])
            self._most[0] = self._position
        if not data:
            self._file.close()
            self._file = None
        return data


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
        raise UsageError(f"Certificates cannot be read from {named}: {error.strerror or error}") from error
    return context


def _challenge(text: str) -> tuple[str, dict[str, str]]:
    """A `WWW-Authenticate` header: its scheme in lower case, and its parameters."""
    scheme, _, rest = text.strip().partition(" ")
    pairs = [pair for pair in urllib.request.parse_http_list(rest) if "=" in pair]
    return scheme.lower(), {key.lower(): value for key, value in urllib.request.parse_keqv_list(pairs).items()}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _bearing(authorization: str | None) -> dict[str, str]:
    return {"Authorization": authorization} if authorization else {}


def _proxy(scheme: str) -> str:
    return urllib.request.getproxies().get(scheme, "")


def _proxy_headers(proxy: str) -> Any:
    user = urlsplit(proxy).netloc.rpartition("@")[0]
    return urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None


_USE_TLS = "Plain HTTP is for registries on this machine, or with --plain-http."
_MEANINGS = {
    429: "it has had too many requests (HTTP 429)",
    500: "it failed (HTTP 500)",
    503: "it is not available (HTTP 503)",
}
