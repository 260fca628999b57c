"""How locks in JSON are read and written: one canonical form, so that nothing in them can be read in two ways."""

from pathlib import Path
from typing import TypeVar

import msgspec

from harness.errors import IntegrityError, UsageError
from harness.record.files import write_atomically

T = TypeVar("T", bound=msgspec.Struct)
MAX_BYTES = 64 << 20


def encode_lock(lock: msgspec.Struct) -> bytes:
    """The bytes of a lock: JSON in the order of the struct's fields, two spaces, one line a value, a final newline."""
    return msgspec.json.format(msgspec.json.encode(lock), indent=2) + b"\n"


def write_lock(path: Path, lock: msgspec.Struct) -> None:
    """Write a lock, whole or not at all; its folder is made where it is missing.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encode_lock(lock))


def read_lock(path: Path, kind: type[T], *, schema: str) -> T:
    """The lock in the file `path`.

    Raises:
        UsageError: the file is not there or cannot be read.
        IntegrityError: it is not a lock of this schema, or not in its canonical form (a key twice, a changed order).
    """
    data = read_lock_bytes(path)
    try:
        found = msgspec.json.decode(data, type=dict[str, object]).get("schema")
        if found != schema:
            raise IntegrityError(f"{path} has the schema {found!r}, not {schema!r}", hint=_AGAIN)
        lock = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} is not a valid lock: {error}", hint=_AGAIN) from error
    if encode_lock(lock) != data:
        raise IntegrityError(f"{path} is not in the form that the harness writes: it was edited by hand", hint=_AGAIN)
    return lock


def read_lock_bytes(path: Path) -> bytes:
    """The bytes of a lock.

    Raises:
        UsageError: the file is not there, cannot be read or is larger than any lock.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_AGAIN) from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than any lock ({MAX_BYTES} bytes)", hint=_AGAIN)
    return data


_AGAIN = "Restore it from version control, or delete it: `harness lock` (`harness build --update`) writes it anew."
