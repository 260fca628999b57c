"""Texts out of a report, made fit to be shown: they may hold anything that a package, driver or file calls itself."""

import re
import unicodedata

LONGEST = 300

# What moves the cursor, ends a line, turns the direction of writing or shows nothing, and what XML cannot hold.
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_DIGEST = re.compile(r"sha256:([0-9a-f]{12})[0-9a-f]{52}")


def visible(text: str) -> str:
    r"""`text` on one line, each character that cannot be seen written as its escape (`\n`, `\x1b`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(
        _escape(character) if unicodedata.category(character) in _UNSEEN else character for character in text
    )


def shown(text: str) -> str:
    """`text` for people: visible, digests by their first 12 digits, and no longer than `LONGEST`."""
    line = visible(_DIGEST.sub(r"\1", text))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def number(value: float | None) -> str:
    """A figure for people: six digits, or `-` for none."""
    return "-" if value is None else f"{value:.6g}"


def count(amount: int, noun: str) -> str:
    """`1 change`, `3 changes`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def listed(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _escape(character: str) -> str:
    if ord(character) > 0xFFFF:
        return f"\\U{ord(character):08x}"
    escaped = repr(character)[1:-1]
    return escaped if escaped.startswith("\\") else f"\\u{ord(character):04x}"
