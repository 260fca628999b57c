"""JSON files for people: pretty, the same bytes for the same values; and reading them back without surprises."""

import json
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.errors import IntegrityError, UsageError

Document = TypeVar("Document")


class _Head(msgspec.Struct):
    schema: str


def pretty_json(value: object) -> bytes:
    """`value` with two spaces a level, sorted keys, shortest round-trip floats and a newline at the end.

    Raises:
        ValueError: NaN or infinity, for which JSON has no form, is in `value`.
    """
    plain = msgspec.to_builtins(value, str_keys=True)
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def read_document(path: Path, kind: type[Document], schema: str) -> Document:
    """The file as a `kind`, whose `schema` field must be `schema`.

    Raises:
        UsageError: the file was written in another version of its schema, or cannot be read.
        IntegrityError: it is not what it should be: broken JSON, a field missing, unknown or of another type.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    return decode_document(data, kind, schema, name=str(path))


def decode_document(data: bytes, kind: type[Document], schema: str, *, name: str) -> Document:
    """Like `read_document`, of bytes; `name` says in errors where they come from."""
    try:
        found = msgspec.json.decode(data, type=_Head).schema
        if found == schema:
            return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{name} is damaged: {error}", hint="Restore it, or run again.") from error
    if found.partition("/")[0] == schema.partition("/")[0]:
        hint = "Compare with the version of harness that wrote it."
        raise UsageError(f"{name} is written as {found[:60]}, this version reads {schema}", hint=hint)
    raise IntegrityError(f"{name} says that it is {found[:60]!r}, not {schema}", hint="Restore it, or run again.")
