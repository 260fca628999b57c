"""Canonical JSON: RFC 8785 with floats written exactly, as `float.hex()` text, so that equal bytes mean equal values."""

from typing import Any

import msgspec
import rfc8785


def canonical_json(value: object) -> bytes:
    """The canonical bytes of a value made of dictionaries, lists, text, numbers, booleans, nulls and structs.

    Floats become `float.hex()` text (`nan`, `inf` and `-inf` included): nothing is rounded before it is hashed. Integers
    outside ±(2**53 - 1) become decimal text, because RFC 8785 has no form for them.
    """
    return rfc8785.dumps(_exact(msgspec.to_builtins(value)))


def _exact(value: Any) -> Any:
    match value:
        case bool() | None | str():
            return value
        case float():
            return value.hex()
        case int():
            return value if abs(value) < 2**53 else str(value)
        case dict():
            return {str(key): _exact(item) for key, item in value.items()}
        case list() | tuple():
            return [_exact(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")
