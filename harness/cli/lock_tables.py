"""What a change of locks looks like to a person."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.console import stdout
from harness.locking.difference import LockChange
from harness.spec.digest import hexadecimal


def show_changes(changes: Sequence[LockChange], console: Console) -> None:
    """Print what changes, package by package, and by how much files grow; nothing where nothing changes."""
    if changes:
        console.print(_table(changes), width=None if console.is_terminal else stdout.width)
        console.print(_total(changes), markup=False, highlight=False)


def _table(changes: Sequence[LockChange]) -> Table:
    table = Table()
    for heading in ("Lock", "Package", "From", "To", "Change", "By", "Size", "Digest"):
        table.add_column(heading, overflow="fold")
    for change in changes:
        digests = [hexadecimal(one)[:12] if one else "-" for one in (change.digest_before, change.digest_after)]
        sizes = [_bytes(one) for one in (change.size_before, change.size_after)]
        versions = (change.before or "-", change.after or "-")
        reason = ", ".join(change.required_by) or "-"
        row = (change.lock, change.package, *versions, change.kind.value, reason)
        table.add_row(*map(Text, (*row, " → ".join(sizes), " → ".join(digests))))
    return table


def _total(changes: Sequence[LockChange]) -> str:
    """How many packages change, and by how much their files grow, as far as sizes are known."""
    known = [change for change in changes if _is_sized(change)]
    grown = sum((change.size_after or 0) - (change.size_before or 0) for change in known)
    unknown = len(changes) - len(known)
    said = f"Changes: {len(changes)}. Files {'grow' if grown >= 0 else 'shrink'} by {_bytes(abs(grown))}"
    return said + (f", not counting {unknown} of unknown size" if unknown else "")


def _is_sized(change: LockChange) -> bool:
    sides = ((change.before, change.size_before), (change.after, change.size_after))
    return all(size is not None for version, size in sides if version is not None)


def _bytes(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB" if size >= 1e3 else f"{size} B"
