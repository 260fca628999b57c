"""Requests about one repository of a registry: authorized, redirected, and tried again where that may help."""

import http.client
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from harness.errors import IntegrityError, ToolError
from harness.images.distribution.authorization import Authorization
from harness.images.distribution.connection import ATTEMPTS, LONGEST_WAIT, Answer, Connection, Request, origin_of
from harness.images.distribution.errors import TRANSIENT, Transient, failed_with
from harness.images.distribution.source import Source
from harness.spec.digest import Digest
from harness.store.http import whole_number

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

    def ask(self, request: Request, limit: int = 0) -> Answer:
        """One request with its whole answer, of at most `limit` bytes; tried again where that may help.

        Raises:
            HarnessError: there is no answer.
        """
        for failures in range(1, ATTEMPTS + 1):
            try:
                return self.once(request, limit)
            except Transient as error:
                last = error
                if failures < ATTEMPTS:
                    self._connection.wait(failures, error.wait)
        raise self._connection.gave_up(last)

    def once(self, request: Request, limit: int = 0) -> Answer:
        """One request with its whole answer, of at most `limit` bytes.

        Raises:
            Transient: it may work in a moment.
        """
        response = self.follow(request)
        return self._connection.read(response, limit if response.status < 300 else 0)

    def follow(self, request: Request) -> Any:
        """The answer to a request, its body unread, where redirects end and with the credentials that it takes.

        Raises:
            Transient: it may come in a moment.
        """
        self._connection.check_scheme(request.url)
        for _ in range(_REDIRECTS + 1):
            response = self._authorized(request)
            if response.status not in _MOVED or request.method not in ("GET", "HEAD"):
                if response.status in TRANSIENT:
                    asked = whole_number(response.headers.get("Retry-After", ""))
                    response.close()
                    raise failed_with(response.status, None if asked is None else min(float(asked), LONGEST_WAIT))
                return response
            place = response.headers.get("Location")
            response.close()
            if not place:
                raise ToolError(f"{self._connection.where} redirects to nowhere")
            request = replace(request, url=self._connection.led(request.url, place))
        raise ToolError(f"{self._connection.where} redirects in a circle")

    def forget(self, url: str) -> None:
        """Have the registry forget an upload, if it will: it would keep what was sent for a week."""
        own = origin_of(url) == self._connection.origin()
        with suppress(Exception):  # whatever ended the upload matters more
            self._connection.farewell(Request("DELETE", url).bearing(self._authorization.header if own else None))

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

    def _authorized(self, request: Request) -> Any:
        used = self._authorization.header
        own = origin_of(request.url) == self._connection.origin()
        response = self._connection.exchange(request.bearing(used if own else None))
        if response.status != 401 or not own:
            return response
        challenges = response.headers.getlist("WWW-Authenticate")
        response.close()
        renewed = self._authorization.renewed(used, challenges)
        if isinstance(request.body, Source):
            request = replace(request, body=request.body.starting_at(request.body.offset))
        return self._connection.exchange(request.bearing(renewed))
