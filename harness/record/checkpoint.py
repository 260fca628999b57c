"""A checkpoint's file from outside: its first line holds the digest and the length of all that follows it.

Standard library only.
"""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from harness.errors import IntegrityError, PrerequisiteError, UsageError

SCHEMA = "harness.checkpoint/1"
HEAD_LENGTH = len(SCHEMA) + 1 + len("sha256:") + 64 + 1 + 20 + 1

_HEAD = re.compile(rb"(harness\.checkpoint/\d{1,9}) sha256:([0-9a-f]{64}) (\d{20})\n")
_PIECE = 2**20


def verify_checkpoint(path: Path) -> None:
    """Hold a checkpoint's length and digest against its first line, a piece at a time.

    Raises:
        IntegrityError: it is truncated, damaged or no checkpoint.
        UsageError: another version of harness wrote it.
        PrerequisiteError: it cannot be read.
    """
    with _opened(path) as (file, size):
        digest, _ = _stated(path, file, size)
        hasher = hashlib.sha256()
        while piece := file.read(_PIECE):
            hasher.update(piece)
    _compare(path, hasher.hexdigest(), digest)


def read_body(path: Path) -> memoryview:
    """All that follows the first line, once length and digest are those that it states.

    Raises:
        HarnessError: as `verify_checkpoint`.
    """
    with _opened(path) as (file, size):
        digest, length = _stated(path, file, size)
        try:
            body = bytearray(length)
        except MemoryError as error:
            raise PrerequisiteError(f"{path} does not fit into memory", hint="Give the run more.") from error
        if file.readinto(body) != length:
            raise IntegrityError(f"{path} became shorter while it was read")
    _compare(path, hashlib.sha256(body).hexdigest(), digest)
    return memoryview(body)


def unreadable(path: Path, error: OSError) -> PrerequisiteError:
    """What is said of a file or folder that the system does not let be read."""
    return PrerequisiteError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}")


def _stated(path: Path, file: BufferedReader, size: int) -> tuple[str, int]:
    """Digest and length as the first line states them, once the file is that long."""
    line = file.read(HEAD_LENGTH)
    match = _HEAD.fullmatch(line)
    if match is None:
        short = len(line) < HEAD_LENGTH and SCHEMA.encode().startswith(line[: len(SCHEMA)])
        what = f"is truncated: {size} bytes are there" if short else "is not a checkpoint, or damaged"
        raise IntegrityError(f"{path} {what}")
    if match[1].decode() != SCHEMA:
        hint = "Go on with the version of harness that wrote it."
        raise UsageError(f"{path} is written as {match[1].decode()}, this version reads {SCHEMA}", hint=hint)
    stated, there = int(match[3]), size - HEAD_LENGTH
    if there != stated:
        what = f"truncated: {there} of its {stated} bytes are there" if there < stated else "longer than written"
        raise IntegrityError(f"{path} is {what}")
    return match[2].decode(), stated


def _compare(path: Path, found: str, stated: str) -> None:
    if found != stated:
        raise IntegrityError(f"{path} is damaged: its digest is not that of its content")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """A plain file, open to read, and its size: no link is followed, no pipe waited for."""
    if path.is_symlink():
        raise IntegrityError(f"{path} is not a plain file: it is a link")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(path, error) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise IntegrityError(f"{path} is not a plain file")
    try:
        with os.fdopen(descriptor, "rb") as file:
            yield file, found.st_size
    except OSError as error:
        raise unreadable(path, error) from error
