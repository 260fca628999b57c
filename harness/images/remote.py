"""The name of an image in a registry: `HOST[:PORT]/NAME[:TAG][@sha256:…]`.

Grammar: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
"""

import ipaddress
import re

import msgspec

from harness.errors import UsageError
from harness.spec.digest import Digest, parse_digest

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?\Z")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_LONGEST_NAME = 255
_FORM = "Write it as HOST[:PORT]/NAME, such as registry.example.com/team/cpu."


class RemoteReference(msgspec.Struct, frozen=True):
    """An image in a registry; `tag` and `digest` are null where the text has none."""

    host: str
    name: str
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine, so that nobody else can listen to plain HTTP."""
        return is_loopback(self.host)


def parse_remote(text: str) -> RemoteReference:
    """`text` as the name of an image in a registry. The host is never guessed.

    Raises:
        UsageError: it is none: no host, a scheme, upper case, a bad tag or digest.
    """
    if "://" in text or "@" in text.partition("/")[0]:
        raise UsageError("The image's place is a name, without https:// and without a user", hint=_FORM)
    rest, _, digest = text.partition("@")
    host, slash, path = rest.partition("/")
    port = _HOST.match(host)
    if not slash or port is None or not ("." in host or ":" in host or host == "localhost"):
        raise UsageError(f"{text!r} names no registry", hint=_FORM)
    if port["port"] and not 0 < int(port["port"]) < 1 << 16:
        raise UsageError(f"{host!r} has a port that no machine has", hint=_FORM)
    name, colon, tag = path.partition(":")
    if not _NAME.match(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"{name!r} is not a name that a registry takes: lower case letters, digits, . _ - and /", hint=_FORM
        )
    if colon and not _TAG.match(tag):
        raise UsageError(f"{tag!r} is not a tag: up to 128 letters, digits, . _ and -", hint=_FORM)
    return RemoteReference(host, name, tag or None, parse_digest(digest) if "@" in text else None)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    bare = re.sub(r":[0-9]*\Z", "", host) if host.count(":") == 1 or host.startswith("[") else host
    bare = bare.strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
