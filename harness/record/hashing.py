"""The one place where bytes become digests."""

import hashlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Protocol

from harness.record.canonical import canonical_json
from harness.spec.digest import Digest, digest_from_hex

_EXACT_KINDS = "biufcmMSU"
_PADDED = ("f12", "f16", "c24", "c32")


def digest_of(data: bytes) -> Digest:
    """The digest of some bytes."""
    return digest_from_hex(hashlib.sha256(data).hexdigest())


def digest_of_file(path: Path) -> Digest:
    """The digest of a file's content, from its first byte to its last.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return digest_of_stream(file)


def digest_of_stream(stream: BufferedIOBase) -> Digest:
    """The digest of everything left in a binary file object."""
    return digest_from_hex(hashlib.file_digest(stream, "sha256").hexdigest())


def signature(value: object) -> Digest:
    """The digest of a value's canonical JSON: what signatures and fingerprints are made of."""
    return digest_of(canonical_json(value))


class Array(Protocol):
    """What this room needs of a NumPy array, so that the outside needs no NumPy."""

    @property
    def dtype(self) -> Any:
        """The element type; `.str` is its name with byte order, `.kind` its class."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths by axis."""

    def tobytes(self) -> bytes:
        """The elements in C order."""


def digest_of_array(array: Array) -> Digest:
    """The digest of an array of numbers: element type with byte order, shape, and raw bytes in C order; exact.

    Raises:
        TypeError: the elements' bytes are not their value: Python objects (addresses), records (the type's name hides
            the fields), extended precision (undefined padding).
    """
    name: str = array.dtype.str
    if array.dtype.kind not in _EXACT_KINDS or name.endswith(_PADDED):
        raise TypeError(f"an array of {array.dtype} has no exact digest")
    header = canonical_json({"dtype": name, "shape": array.shape})
    return digest_of(header + b"\n" + array.tobytes())
