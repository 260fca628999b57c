"""One order for things whose order decides bits: features, targets, symbols, files."""

from collections.abc import Callable, Iterable
from itertools import groupby
from numbers import Real
from typing import Any, TypeVar

from harness.errors import UsageError

T = TypeVar("T")

_KINDS: dict[type, str] = {bool: "1", Real: "2", str: "3", bytes: "4"}


def stable_sort(items: Iterable[T], key: Callable[[T], Any] | None = None) -> list[T]:
    """`items` in one order that depends on their values alone: not on where they came from, nor on the locale.

    Nulls come first, then booleans, numbers, text (by code point) and bytes; sequences by their parts. Items whose keys
    are equal are ordered by the items themselves.

    Raises:
        UsageError: an item has no such order (a NaN, a dictionary, an object of some class).
    """
    ranked = [(_rank(item if key is None else key(item)), item) for item in items]
    ranked.sort(key=lambda pair: pair[0])
    if key is None:
        return [item for _, item in ranked]
    ordered: list[T] = []
    for _, tied in groupby(ranked, key=lambda pair: pair[0]):
        group = [item for _, item in tied]
        ordered += sorted(group, key=_rank) if len(group) > 1 else group
    return ordered


def _rank(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ("0",)
    if isinstance(value, list | tuple):
        return ("5", [_rank(item) for item in value])
    kind = next((rank for type_, rank in _KINDS.items() if isinstance(value, type_)), None)
    if kind is None or value != value:
        raise UsageError(
            f"{value!r} has no stable order", hint="Sort by a key made of text, numbers, or tuples of them."
        )
    # 1, 1.0 and a NumPy 1 are equal to Python: the type's name decides between them.
    return (kind, value, type(value).__name__)
