"""Names that become parts of paths: runs, symbols, targets, experiments, families.

Windows' reserved names: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""

import re
import unicodedata
from collections.abc import Iterable

from harness.errors import UsageError

MAX_LENGTH = 100

_ALLOWED = re.compile(r"[A-Za-z0-9._=^-]")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_HINT = "Use ASCII letters, digits and . _ - = ^ alone."


def check_name(text: str, what: str) -> str:
    """`text` itself, if it is safe as one part of a path on every file system; `what` says in errors what it names.

    Letters, digits and `._-=^` are what real tickers need (`BRK.B`, `^GSPC`, `BF-B`, `EURUSD=X`).

    Raises:
        UsageError: `text` is empty, longer than 100, holds any other character, starts with a dot or dash, ends with a
            dot, has two dots in a row, or is a device's name on Windows.
    """
    shown = ascii(text if len(text) <= 40 else text[:40] + "...")
    if not text:
        raise UsageError(f"A {what} is empty", hint="Give it a name.")
    if len(text) > MAX_LENGTH:
        raise UsageError(f"The {what} {shown} has {len(text)} characters", hint=f"At most {MAX_LENGTH} are allowed.")
    for position, character in enumerate(text):
        if not _ALLOWED.fullmatch(character):
            where = f"character {position + 1}"
            raise UsageError(f"The {what} {shown} holds {_describe(character)} ({where})", hint=_HINT)
    if text[0] in ".-":
        raise UsageError(f"The {what} {shown} starts with {text[0]!r}", hint="Start it with a letter or digit.")
    if ".." in text or text[-1] == ".":
        raise UsageError(f"The {what} {shown} has '..' in it or ends with a dot", hint="Leave the dots out.")
    if text.split(".")[0].lower() in _RESERVED:
        raise UsageError(f"The {what} {shown} is a device's name on Windows", hint="Choose another name.")
    return text


def check_names(names: Iterable[str], what: str) -> tuple[str, ...]:
    """The names in their order, if each is safe and no two would meet in a file system that ignores case.

    Raises:
        UsageError: a name is not safe (`check_name`), or given twice, or differs from another in case alone.
    """
    checked = tuple(check_name(name, what) for name in names)
    seen: dict[str, str] = {}
    for name in checked:
        other = seen.get(name.lower())
        if other == name:
            raise UsageError(f"The {what} {name} is given twice", hint="Keep one of the two.")
        if other is not None:
            raise UsageError(
                f"The {what}s {other} and {name} differ in case alone",
                hint="Some file systems cannot tell them apart: rename one.",
            )
        seen[name.lower()] = name
    return checked


def _describe(character: str) -> str:
    """A character by its code point and name, because it may not be visible: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    name = unicodedata.name(character, {"Cc": "a control character"}.get(unicodedata.category(character), "unnamed"))
    return f"U+{ord(character):04X} {name}"
