"""Bytes that nothing else can read: the texts in them, else the first byte that differs."""

import re
from collections.abc import Iterator

from harness.record.explain.cause import Finding, Kind, Pair
from harness.record.explain.tokens import compare_line

_TEXT = re.compile(rb"[\x20-\x7e]{6,400}")
_MOST_TEXTS = 20_000
_BLOCK = 1 << 16


def compare_bytes(before: bytes, after: bytes, facts: Pair) -> Iterator[Finding]:
    """The texts that differ where all else is the same; else the first byte that does."""
    if _without_texts(before) == _without_texts(after):
        old, new = _TEXT.findall(before), _TEXT.findall(after)
        if len(old) == len(new) <= _MOST_TEXTS:
            for found, one, other in zip(_TEXT.finditer(before), old, new, strict=True):
                if one != other:
                    where = f"offset {found.start():,}"
                    yield from compare_line(one.decode("ascii"), other.decode("ascii"), where, facts)
            return
    yield first_difference(before, after)


def first_difference(before: bytes, after: bytes) -> Finding:
    """The first byte that differs, and both sizes where they do."""
    sizes = f"{len(before):,} bytes became {len(after):,}" if len(before) != len(after) else f"of {len(before):,} bytes"
    at = _first(before, after)
    return Finding(f"offset {at:,}", Kind.BYTES, before[at : at + 8].hex(" "), after[at : at + 8].hex(" "), sizes)


def _without_texts(data: bytes) -> bytes:
    return _TEXT.sub(b"\0", data)


def _first(before: bytes, after: bytes) -> int:
    for begin in range(0, max(len(before), len(after)), _BLOCK):
        one, other = before[begin : begin + _BLOCK], after[begin : begin + _BLOCK]
        if one != other:
            pairs = enumerate(zip(one, other, strict=False))
            return begin + next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return min(len(before), len(after))
