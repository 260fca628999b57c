"""Splits by the hash of a stable key: a row's part depends on its key alone, never on the rows around it."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from harness.errors import UsageError
from harness.strict.keys import encode_key, listed

DEFAULT = {"train": 0.8, "valid": 0.1, "test": 0.1}
Number = int | float | str | Decimal | Fraction

_DOMAIN = b"harness.split/1\0"


def stable_split(key: Any, fractions: Mapping[str, Number] = DEFAULT, *, salt: str = "", groups: Any = None) -> Any:
    r"""The part that each key belongs to: text for a single key, an array of text for a column of keys.

    The first 8 bytes of sha256 over `harness.split/1\0`, the salt and the key (`keys.encode_key`), as a number from 0
    to 2**64 - 1, are compared with thresholds: the sums of the fractions, in the order of the parts' names, times
    2**64. So adding, removing or reordering rows moves no other row. Another `salt` is another, independent split.

    `groups`, one for each key, keep rows together: the group decides in the place of the key. A float counts as the
    decimal that it is written as (0.1 is one tenth); thirds are `"1/3"`. Fractions must add up to exactly 1.

    Raises:
        UsageError: a key cannot be a key, fractions are not above 0 or do not add up to 1, or a key is in two groups.
    """
    if not isinstance(salt, str):
        raise UsageError(f"The salt is {salt!r:.60}", hint="A salt is text.")
    thresholds = _thresholds(fractions)
    start = hashlib.sha256(_DOMAIN + encode_key(salt))
    keys = listed(key)
    if keys is None:
        return _part(start, encode_key(key if groups is None else groups), thresholds)
    encoded = _encoded(keys, "key")
    if groups is not None:
        encoded = _grouped(encoded, groups)
    parts = {data: _part(start, data, thresholds) for data in set(encoded)}
    return np.array([parts[data] for data in encoded], dtype=f"<U{max(map(len, fractions))}")


def _thresholds(fractions: Mapping[str, Number]) -> list[tuple[int, str]]:
    """The first number that no longer belongs to each part, with the part's name, rising."""
    if not fractions or not all(isinstance(name, str) and name for name in fractions):
        raise UsageError("A split needs parts with names", hint='Write {"train": 0.8, "test": 0.2}.')
    shares = {name: _share(name, fractions[name]) for name in sorted(fractions)}
    total = sum(shares.values(), Fraction(0))
    if total != 1:
        raise UsageError(
            f"The fractions {dict(fractions)} add up to {total}, not to 1",
            hint='Thirds are written "1/3"; floats count as the decimals that they are written as.',
        )
    below, rising = Fraction(0), []
    for name, share in shares.items():
        below += share
        rising.append((ceil(below * 2**64), name))
    return rising


def _share(name: str, value: Number) -> Fraction:
    try:
        plain = value.item() if isinstance(value, np.generic) else value
        share = Fraction(repr(plain) if isinstance(plain, float) else plain)
    except (ValueError, TypeError, ArithmeticError):
        share = Fraction(0)
    if share <= 0 or isinstance(value, bool | np.bool_):
        raise UsageError(f"The fraction of {name} is {value!r}", hint="Every part needs a fraction above 0.")
    return share


def _part(start: Any, encoded: bytes, thresholds: list[tuple[int, str]]) -> str:
    hashed = start.copy()
    hashed.update(encoded)
    number = int.from_bytes(hashed.digest()[:8], "big")
    return next(name for end, name in thresholds if number < end)


def _encoded(values: list[Any], what: str) -> list[bytes]:
    encoded = []
    for row, value in enumerate(values):
        try:
            encoded.append(encode_key(value))
        except UsageError as error:
            raise UsageError(f"The {what} in row {row + 1}: {error.message}", hint=error.hint) from error
    return encoded


def _grouped(keys: list[bytes], groups: Any) -> list[bytes]:
    """The encoded group of each key, if every key has one, and always the same."""
    values = listed(groups)
    if values is None or len(values) != len(keys):
        found = "one" if values is None else len(values)
        raise UsageError(f"There are {len(keys)} keys and {found} groups", hint="Give one group a key.")
    encoded = _encoded(values, "group")
    group_of: dict[bytes, bytes] = {}
    for row, (key, group) in enumerate(zip(keys, encoded, strict=True)):
        if group_of.setdefault(key, group) != group:
            raise UsageError(
                f"The key in row {row + 1} was in another group before: its rows could be in two parts",
                hint="Split by what both rows share, or correct the groups.",
            )
    return encoded
