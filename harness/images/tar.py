"""Normalised tar members: time 0, owner 0, no user names, POSIX (PAX) format.

Written here and not by `tarfile`, because a layer's digest must not depend on the version of Python that made it.
Format: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
"""

import struct
from enum import Enum

BLOCK = 512
END = bytes(2 * BLOCK)

_MAX_NAME = 100
_MAX_SIZE = 8**11 - 1
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")


class Kind(Enum):
    """What a member is, by its type flag."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    DIRECTORY = b"5"
    _EXTENDED = b"x"

    @classmethod
    def extended(cls) -> "Kind":
        """The kind of the member that holds what the header of the next has no room for."""
        return cls._EXTENDED


def header(path: str, kind: Kind, mode: int, *, size: int = 0, target: str = "") -> bytes:
    """The header blocks of a member; its content, padded by `padding`, follows. `target` is what a link points to."""
    name = f"{path}/" if kind is Kind.DIRECTORY else path
    records = b""
    if _needs_record(name):
        records += _record("path", name)
    if _needs_record(target):
        records += _record("linkpath", target)
    if size > _MAX_SIZE:
        records += _record("size", str(size))
        size = 0
    blocks = b""
    if records:
        blocks = _block("././@PaxHeader", Kind.extended(), 0o644, len(records), "") + records + padding(len(records))
    return blocks + _block(name, kind, mode, size, target)


def padding(size: int) -> bytes:
    """What fills a content of `size` bytes to whole blocks."""
    return bytes(-size % BLOCK)


def _needs_record(text: str) -> bool:
    return len(text) > _MAX_NAME or not text.isascii()


def _record(key: str, value: str) -> bytes:
    """One extended record, `LENGTH KEY=VALUE` and a line end, where the length counts itself."""
    rest = b" " + key.encode() + b"=" + value.encode() + b"\n"
    length = len(rest)
    while length != (longer := len(rest) + len(str(length))):
        length = longer
    return str(length).encode() + rest


def _block(name: str, kind: Kind, mode: int, size: int, target: str) -> bytes:
    def octal(number: int, digits: int) -> bytes:
        return b"%0*o\0" % (digits, number)

    fields = [
        name.encode("ascii", "replace")[:_MAX_NAME],
        octal(mode & 0o7777, 7),
        octal(0, 7),
        octal(0, 7),
        octal(size, 11),
        octal(0, 11),
        b" " * 8,
        kind.value,
        target.encode("ascii", "replace")[:_MAX_NAME],
        b"ustar\0",
        b"00",
        b"",
        b"",
        octal(0, 7),
        octal(0, 7),
        b"",
    ]
    fields[6] = b"%06o\0 " % sum(_HEADER.pack(*fields))
    return _HEADER.pack(*fields)
