"""The digest of some bytes, always written `sha256:` and 64 lower-case hexadecimal digits."""

import re
from typing import Annotated, NewType

import msgspec

from harness.errors import UsageError

_PATTERN = r"^sha256:[0-9a-f]{64}\Z"

Digest = NewType("Digest", Annotated[str, msgspec.Meta(pattern=_PATTERN)])


def parse_digest(text: str) -> Digest:
    """`text` as a digest.

    Raises:
        UsageError: `text` is not `sha256:` and 64 lower-case hexadecimal digits.
    """
    if re.fullmatch(_PATTERN, text) is None:
        raise UsageError(f"{text[:100]!r} is not a digest", hint="Write it as sha256: and 64 lower-case hex digits.")
    return Digest(text)


def digest_from_hex(hexadecimal: str) -> Digest:
    """The digest whose 64 hexadecimal digits are given, as hashlib and Debian's indexes write them."""
    return parse_digest(f"sha256:{hexadecimal}")


def hexadecimal(digest: Digest) -> str:
    """The 64 hexadecimal digits of a digest."""
    return digest.removeprefix("sha256:")
