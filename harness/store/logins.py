"""Who the user is to an index: what pip and uv would find out, kept in memory alone, and never shown or recorded.

In this order: the address itself, the variables of a named index (`UV_INDEX_NAME_USERNAME`, `…_PASSWORD`), the keyring
where uv or pip is told to ask it, the netrc file. https://docs.astral.sh/uv/concepts/authentication/http/
"""

import netrc
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from harness.errors import HarnessError
from harness.store.http import AddressError, origin
from harness.store.process import run
from harness.store.sources import index_addresses

_SECONDS = 60


class Logins:
    """`user:password` by origin (scheme, host and port)."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._known: dict[str, str] = {}
        for entry in index_addresses(environment):
            name, address = _split(entry)
            try:
                server = origin(address)
            except AddressError:
                continue  # uv says what is wrong with it
            if login := self._login(name, address):
                self._known.setdefault(server, login)

    def __repr__(self) -> str:
        """Nothing that is secret: this may land in a traceback."""
        return f"Logins({len(self._known)})"

    def get(self, server: str, default: str = "") -> str:
        """The login for an origin; `default` where none is known."""
        if server not in self._known:
            self._known[server] = self._from_netrc(urlsplit(server).hostname or "")
        return self._known[server] or default

    def _login(self, name: str, address: str) -> str:
        """The login that an index has; empty for none."""
        user, _, _ = urlsplit(address).netloc.rpartition("@")
        if name:
            stem = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
            own = self._environment.get(f"{stem}_USERNAME", ""), self._environment.get(f"{stem}_PASSWORD", "")
            if any(own):
                return ":".join(own)
        if not user:
            return ""
        user, colon, password = user.partition(":")
        if not colon:
            password = self._from_keyring(address, unquote(user))
        return f"{unquote(user)}:{unquote(password)}" if colon or password else ""

    def _from_keyring(self, address: str, user: str) -> str:
        """The password that the command `keyring` has; asked as uv and pip do, by address and then by host."""
        asked = {self._environment.get(f"{tool}_KEYRING_PROVIDER") for tool in ("UV", "PIP")}
        if "subprocess" not in asked:
            return ""
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        for service in (urlunsplit((parts.scheme, host, parts.path, "", "")), host):
            try:
                done = run(["keyring", "get", service, user], environment=self._environment, timeout=_SECONDS)
            except HarnessError:
                continue
            if found := done.stdout.decode(errors="replace").strip("\r\n"):
                return found
        return ""

    def _from_netrc(self, host: str) -> str:
        chosen = self._environment.get("NETRC")
        home = Path(self._environment.get("HOME") or "/nonexistent")
        for path in [Path(chosen)] if chosen else [home / ".netrc", home / "_netrc"]:
            try:
                found = netrc.netrc(str(path)).authenticators(host)
            except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
                continue
            if found is not None and found[2]:
                return f"{found[0]}:{found[2]}"
        return ""


def _split(entry: str) -> tuple[str, str]:
    """The name, empty for none, and the address of an index as uv writes the two: `NAME=ADDRESS`."""
    named = re.match(r"([\w.-]+)=(.*)", entry)
    return (named[1], named[2]) if named else ("", entry)
