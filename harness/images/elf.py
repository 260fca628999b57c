"""What the linker's cache asks of a shared library: whether it is one for this processor, and what it calls itself.

Format: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html (64 bits, little-endian: all that Debian has for
the architectures that images are made for). Read here and not with a library, because a build reads a hundred of these
and needs two numbers and a name of each; every read is bounded, whatever the file says.
"""

import struct
from typing import BinaryIO

_IDENTIFICATION = b"\x7fELF\x02\x01\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_TAG = struct.Struct("<qQ")
_SHARED_OBJECT = 3
_LOAD, _DYNAMIC = 1, 2
_END, _STRINGS, _SONAME = 0, 5, 14
_MAX_SEGMENTS = 256
_MAX_DYNAMIC = 1 << 16
_MAX_NAME = 1024


def library_name(file: BinaryIO, machine: int) -> str | None:
    """The `DT_SONAME` of a shared library for the processor `machine` (`e_machine`), or "" where it has none.

    None for what is no such library: another format or processor, a program, a damaged file.
    """
    header = _read(file, 0, _HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(_IDENTIFICATION):
        return None
    _, kind, processor, _, _, table, _, _, _, size, count, _, _, _ = _HEADER.unpack(header)
    if kind != _SHARED_OBJECT or processor != machine or size != _SEGMENT.size or count > _MAX_SEGMENTS:
        return None
    segments = list(_SEGMENT.iter_unpack(_whole(_read(file, table, size * count), size)))
    dynamic = next((segment for segment in segments if segment[0] == _DYNAMIC), None)
    if dynamic is None:
        return None
    tags: dict[int, int] = {}
    data = _read(file, dynamic[2], min(dynamic[5], _MAX_DYNAMIC))
    for tag, value in _TAG.iter_unpack(_whole(data, _TAG.size)):
        if tag == _END:
            break
        tags.setdefault(tag, value)
    else:
        return None
    if _SONAME not in tags:
        return ""
    for kind, _, offset, address, _, stored, _, _ in segments:
        strings = tags.get(_STRINGS, -1) - address
        if kind == _LOAD and 0 <= strings < stored:
            name, end, _ = _read(file, offset + strings + tags[_SONAME], _MAX_NAME).partition(b"\0")
            return name.decode("ascii", "replace") if end and name else None
    return None


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    try:
        file.seek(offset)
        return file.read(size)
    except (OverflowError, ValueError, OSError):
        return b""


def _whole(data: bytes, size: int) -> bytes:
    return data[: len(data) // size * size]
