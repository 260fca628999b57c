"""Who we are to a registry: what it asks for, and the token that its token server gives for our credentials.

Tokens: https://distribution.github.io/distribution/spec/auth/token/

Credentials go to the registry itself and to the token server that it names, and no word that holds one is repeated.
"""

import threading
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from harness.errors import PrerequisiteError, ToolError
from harness.images.credentials import Credentials
from harness.images.distribution.connection import Connection, Request
from harness.images.distribution.errors import TRANSIENT, failed_with

_TOKEN_LIMIT = 1 << 20
_LONGEST_SAYING = 200


class Authorization:
    """Our right to a repository, for `actions`, such as `pull,push`. Safe to use from several threads.

    `header` is what was last sent as `Authorization`; null until the registry has asked.
    """

    def __init__(self, connection: Connection, credentials: Credentials | None, actions: str) -> None:
        self.header: str | None = None
        self._connection = connection
        self._credentials = credentials
        self._actions = actions
        self._mutex = threading.Lock()

    def renewed(self, used: str | None, challenges: list[str]) -> str:
        """What to send after the registry has refused `used` and said what it asks for.

        Raises:
            PrerequisiteError: the credentials are not accepted, or there are none.
            ToolError: the registry asks for nothing that can be given.
        """
        with self._mutex:
            if self.header is None or self.header == used:  # else another thread has renewed it
                self.header = self._authenticate(challenges)
            return self.header

    def refused(self, status: int, said: str) -> PrerequisiteError:
        """What an answer 401 or 403 means, with what the registry `said`."""
        host = self._connection.reference.host
        login = f"Log in: docker login {host} (or podman login; REGISTRY_AUTH_FILE names another file)."
        if status == 401:
            what = (
                "does not accept your credentials" if self._credentials else "asks for credentials, and there are none"
            )
            return PrerequisiteError(f"{self._connection.where} {what}", hint=login)
        may = "push to" if "push" in self._actions else "pull from"
        reason = f": {said}" if said else ""
        return PrerequisiteError(
            f"You may not {may} {self._connection.where}{reason}", hint="Ask for the right to, or see who you are."
        )

    def said(self, data: bytes) -> str:
        """The registry's own words, short and on one line; nothing where they hold what we sent as a secret."""
        try:
            errors = msgspec.json.decode(data, type=dict[str, Any]).get("errors")
            said = "; ".join(str(one.get("message") or one.get("code") or "") for one in errors or ())
        except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError, TypeError):
            return ""
        known = self._credentials
        secrets = (known.password, known.identity_token, known.basic) if known else ()
        token = (self.header or "").partition(" ")[2]
        if any(secret and secret in said for secret in (*secrets, token)):
            return ""
        return "".join(letter if letter.isprintable() else " " for letter in said)[:_LONGEST_SAYING]

    def _authenticate(self, challenges: list[str]) -> str:
        """What to send as `Authorization`, as the registry asks for it."""
        found = dict(_challenge(text) for text in challenges)
        if "bearer" in found:
            return f"Bearer {self._token(found['bearer'])}"
        if "basic" in found and self._credentials and not self._credentials.identity_token:
            return f"Basic {self._credentials.basic}"
        raise self.refused(401, "")

    def _token(self, challenge: Mapping[str, str]) -> str:
        realm = challenge.get("realm", "")
        if not realm.lower().startswith(("http://", "https://")):
            raise ToolError(f"{self._connection.where} asks for a token and does not say where to get it")
        self._connection.check_scheme(realm)
        wanted = {"scope": f"repository:{self._connection.reference.name}:{self._actions}"}
        if service := challenge.get("service"):
            wanted["service"] = service
        known = self._credentials
        if known and known.identity_token:
            form = {**wanted, "grant_type": "refresh_token", "client_id": "hermetic-harness"}
            body = urlencode({**form, "refresh_token": known.identity_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            request = Request("POST", realm, headers, body)
        else:
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(wanted)}"
            request = Request("GET", url).bearing(f"Basic {known.basic}" if known else None)
        answer = self._connection.read(self._connection.exchange(request), _TOKEN_LIMIT)
        if answer.status in TRANSIENT:
            raise failed_with(answer.status)
        if answer.status != 200:
            raise self.refused(401, "")
        try:
            document = msgspec.json.decode(answer.data, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            document = {}
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ToolError(f"The token server of {self._connection.where} gave no token") from None
        return token


def _challenge(text: str) -> tuple[str, dict[str, str]]:
    """A `WWW-Authenticate` header: its scheme in lower case, and its parameters."""
    scheme, _, rest = text.strip().partition(" ")
    pairs = [pair for pair in urllib.request.parse_http_list(rest) if "=" in pair]
    return scheme.lower(), {key.lower(): value for key, value in urllib.request.parse_keqv_list(pairs).items()}
