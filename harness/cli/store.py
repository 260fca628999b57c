"""`harness store`: what lies in the store, and removing what nothing needs any more."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from harness.cli.console import ConsoleProgress, stderr, stdout
from harness.cli.options import open_store, parse_age
from harness.errors import ExitCode
from harness.runs.needed import Needed, find_needed
from harness.store.gc import Findings, Item, Kind, find_garbage, remove_garbage
from harness.store.roots import PROTECTED, Checkout, forget_checkouts

_LABELS = {
    Kind.OBJECT: "artifacts, layers", Kind.TREE: "inputs of runs", Kind.RECIPE: "recipes of layers",
    Kind.READING: "readings of artifacts", Kind.OUTCOME: "outcomes of builds",
}  # fmt: skip

app = typer.Typer(help="Tidy up the store of artifacts, layers and inputs.", no_args_is_help=True)


class Vanished(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout that is not there. It needs what it last named `until` then (Unix time); `host` is who saw it last."""

    checkout: str
    host: str | None
    used: float
    until: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints: sizes are bytes, times Unix time. `removed` is what went, or in a dry run would go."""

    deleted: bool
    store: str
    freed: int
    removed: tuple[Item, ...]
    needed: int
    waiting: int
    foreign: tuple[str, ...]
    checkouts: tuple[str, ...]
    vanished: tuple[Vanished, ...]
    kept: tuple[str, ...]


@app.callback()
def _group() -> None:
    """One command so far, and still a group."""


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; left out, nothing is.")] = False,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Only what was last used so long ago: 12h, 90d, 2w, or 0.")
    ] = "1d",
    forget: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A checkout that is not there needs nothing any more. Can be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Show, and with --delete remove, what no lock, no baseline and nothing that is kept needs.

    Counted are the checkouts from which the store was used, with the locks and baselines that lie in them now, and what
    `harness keep` was told to keep. A checkout that is not there counts for 30 days after its last use, or until
    --forget. What a running command uses stays.

    Examples:

      harness store gc                          what could go, with sizes

      harness store gc --delete

      harness store gc --older-than 30d --delete

      harness store gc --forget /home/me/old-checkout --delete

      harness store gc --json | jq '.freed / 1e9'
    """
    age = parse_age(older_than, "--older-than")
    store = open_store()
    forget_checkouts(store, forget or ())
    with ConsoleProgress() as progress:
        needed = find_needed(store)
        found = find_garbage(store, needed.digests, older_than=age, progress=progress)
        removed = remove_garbage(store, found, progress=progress) if delete else found.garbage
        if delete:
            for each in needed.vanished:
                if not each.protected:
                    each.note.unlink(missing_ok=True)
    answer = Answer(
        deleted=delete,
        store=str(store.home),
        freed=_total(removed),
        removed=removed,
        needed=_total(found.needed),
        waiting=_total(found.waiting),
        foreign=found.foreign,
        checkouts=tuple(map(str, needed.checkouts)),
        vanished=tuple(
            Vanished(checkout=str(each.root), host=each.host, used=each.used, until=each.used + PROTECTED)
            for each in needed.vanished
        ),
        kept=needed.kept,
    )
    if as_json:
        stdout.file.write(msgspec.json.encode(answer).decode() + "\n")
    else:
        _show(answer, found, needed)
    return ExitCode.OK


def _show(answer: Answer, found: Findings, needed: Needed) -> None:
    table = Table(title=f"Store {answer.store}", title_justify="left")
    for column in ("Kind", "Needed", "Used lately", "Removed" if answer.deleted else "Could go"):
        table.add_column(column, justify="left" if column == "Kind" else "right")
    columns = (found.needed, found.waiting, answer.removed)
    for kind in Kind:
        parts = [[item for item in column if item.kind is kind] for column in columns]
        if any(parts):
            table.add_row(
                _LABELS.get(kind, kind.value),
                *(f"{_size(_total(part))} ({len(part)})" if part else "-" for part in parts),
            )
    table.add_section()
    table.add_row("all", *(_size(_total(column)) for column in columns))
    stdout.print(table)
    for what, names in (("checkout", answer.checkouts), ("kept", answer.kept)):
        for name in names:
            stdout.print(f"needed by {what} {name}" if what == "checkout" else f"kept: {name}", markup=False)
    for each in {each.root: each for each in sorted(needed.vanished, key=lambda each: each.used)}.values():
        stdout.print(_gone(each), markup=False, highlight=False)
    for path in found.foreign:
        stderr.print(f"Left alone, not the harness's: {path}", markup=False, highlight=False, style="yellow")
    if not answer.deleted and answer.removed:
        stdout.print("Nothing was removed: --delete does it.")


def _gone(checkout: Checkout) -> str:
    if not checkout.protected:
        return f"gone: checkout {str(checkout.root)!a} needs nothing any more"
    until = datetime.fromtimestamp(checkout.used + PROTECTED, UTC).date()
    host = f" (seen on {checkout.host})" if checkout.host else ""
    return f"not here: checkout {str(checkout.root)!a}{host} needs what it needed until {until}, or until --forget"


def _total(items: tuple[Item, ...] | list[Item]) -> int:
    return sum(item.size for item in items)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"
