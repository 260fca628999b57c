"""Requests about one repository of a registry: authorized, redirected, and tried again where that may help."""

import http.client
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

import urllib3

from harness.errors import IntegrityError, ToolError
from harness.images.distribution.authorization import Authorization, bearing
from harness.images.distribution.connection import ATTEMPTS, LONGEST_WAIT, Answer, Connection, origin_of
from harness.images.distribution.errors import TRANSIENT, Transient, failed_with
from harness.images.distribution.source import Source
from harness.spec.digest import Digest

_REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)


class Client:
    """What asks a registry. Credentials go to itself alone, never to where it redirects."""

    def __init__(self, connection: Connection, authorization: Authorization) -> None:
        self._connection = connection
        self._authorization = authorization

    def url(self, path: str) -> str:
        """Where something of the repository is."""
        return f"{self._connection.origin()}/v2/{self._connection.reference.name}/{path}"

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 0,
    ) -> Answer:
        """One request with its whole answer; tried again where that may help.

        Raises:
            HarnessError: there is no answer.
        """
        for failures in range(1, ATTEMPTS + 1):
            try:
                return self.once(method, url, headers=headers, body=body, limit=limit)
            except Transient as error:
                last = error
                if failures < ATTEMPTS:
                    self._connection.wait(failures, error.wait)
        raise self._connection.gave_up(last)

    def once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Source | None = None,
        limit: int = 0,
        timeout: urllib3.Timeout | None = None,
    ) -> Answer:
        """One request with its whole answer, of at most `limit` bytes.

        Raises:
            Transient: it may work in a moment.
        """
        response = self.follow(method, url, headers=headers, body=body, timeout=timeout)
        return self._connection.read(response, limit if response.status < 300 else 0)

    def follow(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Source | None = None,
        timeout: urllib3.Timeout | None = None,
    ) -> Any:
        """The answer to a request, its body unread, where redirects end and with the credentials that it takes.

        Raises:
            Transient: it may come in a moment.
        """
        for _ in range(_REDIRECTS + 1):
            self._connection.check_scheme(url)
            response = self._authorized(method, url, headers or {}, body, timeout or self._connection.timeout)
            if response.status not in _MOVED or method not in ("GET", "HEAD"):
                if response.status in TRANSIENT:
                    wait = response.headers.get("Retry-After", "")
                    response.close()
                    seconds = min(float(wait), LONGEST_WAIT) if wait.isascii() and wait.isdigit() else None
                    raise failed_with(response.status, seconds)
                return response
            place = response.headers.get("Location")
            response.close()
            if not place:
                raise ToolError(f"{self._connection.where} redirects to nowhere")
            url = urljoin(url, place)
        raise ToolError(f"{self._connection.where} redirects in a circle")

    def forget(self, url: str) -> None:
        """Have the registry forget an upload, if it will: it would keep what was sent for a week."""
        own = origin_of(url) == self._connection.origin()
        with suppress(Exception):  # whatever ended the upload matters more
            self._connection.farewell("DELETE", url, bearing(self._authorization.header if own else None))

    def expect(self, answer: Answer, wanted: tuple[int, ...], doing: str) -> None:
        """Refuse any answer but the `wanted`, in the words of what the registry was `doing`.

        Raises:
            PrerequisiteError: we may not.
            ToolError: it refused.
        """
        if answer.status in wanted:
            return
        if answer.status in (401, 403):
            raise self._authorization.refused(answer.status, self._authorization.said(answer.data))
        said = self._authorization.said(answer.data) or http.client.responses.get(answer.status, "no reason given")
        raise ToolError(f"{self._connection.where} refused {doing} (HTTP {answer.status}): {said}")

    def same_digest(self, answer: Any, digest: Digest) -> None:
        """Refuse an answer that calls a blob or manifest by another digest.

        Raises:
            IntegrityError: it does.
        """
        said = answer.headers.get("Docker-Content-Digest")
        if said is not None and said != digest:
            raise IntegrityError(f"{self._connection.where} calls {digest} by another digest: {said[:80]!r}")

    def _authorized(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Source | None,
        timeout: urllib3.Timeout,
    ) -> Any:
        used = self._authorization.header
        own = origin_of(url) == self._connection.origin()
        response = self._connection.exchange(method, url, {**headers, **bearing(used if own else None)}, body, timeout)
        if response.status != 401 or not own:
            return response
        challenges = response.headers.getlist("WWW-Authenticate")
        response.close()
        renewed = self._authorization.renewed(used, challenges)
        if isinstance(body, Source):
            body = body.starting_at(body.offset)
        return self._connection.exchange(method, url, {**headers, **bearing(renewed)}, body, timeout)
