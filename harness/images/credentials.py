"""Who the user is to a registry: what `docker login` or `podman login` left, by file or by a credential helper.

Read where it is needed and kept in memory alone: nothing here is printed, logged or recorded.
Formats: https://docs.docker.com/reference/cli/docker/login/#configure-the-credential-store and
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import ToolError, UsageError
from harness.store.process import run

_DOCKER_HUB = "docker.io"
_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_HELPER_SECONDS = 60
_TOKEN_USER = "<token>"  # noqa: S105 - how a helper says that its secret is an identity token
_LARGEST_FILE = 1 << 20
_AGAIN = "Log in to the registry again."
_NOT_FOUND = b"credentials not found"


class Credentials(msgspec.Struct, frozen=True):
    """A user and password, or an identity token in place of both."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        """Nothing that is secret: this may land in a traceback."""
        return "Credentials(…)"

    __str__ = __repr__

    @property
    def basic(self) -> str:
        """User and password as HTTP's basic authentication writes them."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def find_credentials(host: str, name: str, environ: Mapping[str, str] = os.environ) -> Credentials | None:
    """The user's credentials for the repository `name` of a registry; null where there are none.

    The first file that knows the registry decides: `REGISTRY_AUTH_FILE` alone where it is set, else podman's
    `auth.json`, then Docker's `config.json` (`DOCKER_CONFIG`).

    Raises:
        UsageError: such a file cannot be read.
        ToolError: a credential helper failed.
    """
    for path in _files(environ):
        if (found := _in_file(path, host, name)) is not None:
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("REGISTRY_AUTH_FILE"):
        if not Path(named).is_file():
            raise UsageError("The file that REGISTRY_AUTH_FILE names does not exist", hint="Unset it, or log in again.")
        yield Path(named)
        return
    home = Path(environ.get("HOME") or "/nonexistent")
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    elif os.name == "posix":
        yield Path(f"/run/containers/{os.geteuid()}/auth.json")
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json")
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker", "config.json")


def _in_file(path: Path, host: str, name: str) -> Credentials | None:
    document = _read(path)
    hosts = _DOCKER_HUB_KEYS if host == _DOCKER_HUB else (host, f"https://{host}", f"https://{host}/")
    helpers = _mapping(document.get("credHelpers"))
    for key in hosts:
        if helper := helpers.get(key):
            return _ask_helper(str(helper), key, path)
    auths = _mapping(document.get("auths"))
    parts = name.split("/")
    narrower = ["/".join([host, *parts[:length]]) for length in range(len(parts), 0, -1)]
    for key in (*narrower, *hosts, f"https://{host}/v1/", f"https://{host}/v2/"):
        if (entry := auths.get(key)) is not None and (found := _entry(entry, path)) is not None:
            return found
    if store := document.get("credsStore"):
        for key in hosts:
            if found := _ask_helper(str(store), key, path):
                return found
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise UsageError(f"{path} is too large to be a file of credentials", hint=_AGAIN)
        return _mapping(msgspec.json.decode(data)) if data.strip() else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_AGAIN) from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Without the decoder's own words and traceback, which may quote the file.
        raise UsageError(f"{path} is not valid JSON", hint=_AGAIN) from None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _entry(value: object, path: Path) -> Credentials | None:
    entry = _mapping(value)
    if token := entry.get("identitytoken"):
        return Credentials(identity_token=str(token))
    if encoded := entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(str(encoded), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise UsageError(f"{path} holds credentials that cannot be read", hint=_AGAIN)
        return Credentials(user, password.rstrip("\0"))
    if entry.get("username") and entry.get("password"):
        return Credentials(str(entry["username"]), str(entry["password"]))
    return None


def _ask_helper(helper: str, key: str, path: Path) -> Credentials | None:
    """What the program `docker-credential-HELPER` says; its output is never quoted, because it may hold the secret."""
    if not _HELPER.match(helper):
        raise UsageError(f"{path} names a credential helper that is no program's name", hint=_AGAIN)
    program = f"docker-credential-{helper}"
    done = run([program, "get"], stdin=key.encode(), timeout=_HELPER_SECONDS, check=False)
    if done.returncode != 0:
        if _NOT_FOUND in done.stdout.lower() or _NOT_FOUND in done.stderr.lower():
            return None
        raise ToolError(f"{program} gave no credentials (exit code {done.returncode})", hint=_AGAIN)
    try:
        answer = _mapping(msgspec.json.decode(done.stdout))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ToolError(f"{program} answered something that cannot be read", hint=_AGAIN) from None
    user, secret = str(answer.get("Username") or ""), str(answer.get("Secret") or "")
    if not secret:
        return None
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)
