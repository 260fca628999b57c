"""JSON patches (RFC 6902, https://www.rfc-editor.org/rfc/rfc6902) between two documents."""

from collections.abc import Iterator
from typing import Any


def json_patch(before: Any, after: Any) -> list[dict[str, Any]]:
    """The operations that turn `before` into `after`, both of dictionaries, lists, text, numbers, booleans and nulls.

    Dictionaries are followed key by key, lists of equal length item by item; any other change replaces the value. Types
    count: 1, 1.0 and true are three values.
    """
    return list(_operations("", before, after))


def _operations(path: str, before: Any, after: Any) -> Iterator[dict[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() - after.keys()):
            yield {"op": "remove", "path": f"{path}/{_escape(key)}"}
        for key in sorted(after.keys() - before.keys()):
            yield {"op": "add", "path": f"{path}/{_escape(key)}", "value": after[key]}
        for key in sorted(before.keys() & after.keys()):
            yield from _operations(f"{path}/{_escape(key)}", before[key], after[key])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _operations(f"{path}/{index}", old, new)
    elif type(before) is not type(after) or before != after:
        yield {"op": "replace", "path": path, "value": after}


def _escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901, section 3)."""
    return key.replace("~", "~0").replace("/", "~1")
