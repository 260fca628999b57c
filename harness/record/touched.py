"""`touched.json`: what a user's program asked the system for. It is no part of any fingerprint: it names causes."""

import re

import msgspec

from harness.spec.digest import Digest

SCHEMA = "harness.touched/1"
KINDS = ("file", "entropy", "clock", "seed", "socket", "subprocess", "environment", "thread")
"""`entropy`, `seed` and `thread` are noted in every run, the others where it was audited."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Touch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing touched at one place: a file's path, the function that was called, an address, a command.

    `where` is `file:line` of the program's own code, null where none was involved; `count` is at least how often.
    `digest` is a file's content when it was opened first, null for what has none; `note` says more, or why not.
    """

    kind: str
    what: str
    where: str | None = None
    count: int = 1
    digest: Digest | None = None
    note: str | None = None


class Touched(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of a run's processes together, sorted. `notes` say what could not be seen, or was left out."""

    schema: str = SCHEMA
    audited: bool
    notes: tuple[str, ...] = ()
    touched: tuple[Touch, ...] = ()


def audit_lines(found: Touched, *, most: int = 8) -> list[str]:
    """An audited run in lines for people: for each kind how many, and the first of them."""
    lines = []
    for kind in KINDS:
        touches = [touch for touch in found.touched if touch.kind == kind]
        if not touches:
            continue
        touches.sort(key=lambda touch: touch.where is None)
        more = [f"and {len(touches) - most} more"] if len(touches) > most else []
        lines.append(f"Audit    {kind} ({len(touches)})")
        lines += [f"  {line}" for line in [*map(_shown, touches[:most]), *more]]
    return [
        *(lines or ["Audit    nothing beyond the declared inputs"]),
        *(f"  note: {note}" for note in found.notes),
    ]


def plain(text: str) -> str:
    """Text without what could steer a terminal, with escapes in place of control characters."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def _shown(touch: Touch) -> str:
    parts = [touch.what, f"at {touch.where}" if touch.where else "", f"{touch.count} times" if touch.count > 1 else ""]
    parts += [touch.digest[:15] if touch.digest else "", f"({touch.note})" if touch.note else ""]
    return " ".join(part for part in parts if part)
