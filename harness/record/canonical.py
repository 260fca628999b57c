"""Canonical JSON: RFC 8785 with every number exact, so that equal bytes mean equal values and nothing else.

RFC 8785 (https://www.rfc-editor.org/rfc/rfc8785) writes floats as ECMAScript does: `1.0` like `1`, `-0.0` like `0`, and
NaN not at all. Here a float becomes text, `float:` and what `float.hex()` says, and an integer outside ±(2**53 - 1)
becomes `int:` and its decimal digits. Text that begins with one of these marks gets `text:` put before it, so that no
text can pass for a number.
"""

from enum import Enum
from typing import Any

import msgspec
import rfc8785

from harness.errors import UsageError

_SAFE_INTEGER = 2**53 - 1
_MARKS = ("float:", "int:", "text:")


def canonical_json(value: object) -> bytes:
    """The canonical bytes of a value made of dictionaries, lists, text, numbers, booleans, nulls, enums and structs.

    Two values have the same bytes if and only if they are equal in type and content, to the last bit and the sign of
    zero; only these pairs are one value: a struct and its fields by name (without those that are unset), a tuple and a
    list, an enum's member and its value, all NaNs.

    Raises:
        TypeError: something else is in `value` (a set has no order, bytes no type), or a key is not text.
        UsageError: a text holds half a surrogate pair, which no encoding can write.
    """
    try:
        return rfc8785.dumps(_exact(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise UsageError(
            f"A text cannot be written as UTF-8: {error}", hint="Look for a broken escape such as \\ud800 in the input."
        ) from error


def _exact(value: Any) -> Any:
    match value:
        case Enum():
            return _exact(value.value)
        case bool() | None:
            return value
        case str():
            return f"text:{value}" if value.startswith(_MARKS) else str(value)
        case float():
            return f"float:{float(value).hex()}"
        case int():
            return value if abs(value) <= _SAFE_INTEGER else f"int:{int(value)}"
        case dict():
            return {_key(key): _exact(item) for key, item in value.items()}
        case list() | tuple():
            return [_exact(item) for item in value]
        case msgspec.Struct() if value.__struct_config__.tag is None:
            names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            fields = {encoded: getattr(value, name) for encoded, name in names}
            return {name: _exact(field) for name, field in fields.items() if field is not msgspec.UNSET}
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of type {type(key).__name__} has no canonical form")
    return str(key.value) if isinstance(key, Enum) else key
