"""`harness runs`: tidying up a results folder."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from harness.cli.console import stderr, stdout
from harness.cli.options import open_store, parse_age
from harness.errors import ExitCode, UsageError
from harness.runs.project import find_root
from harness.runs.retention import Fate, Plan, Rule, plan
from harness.runs.retention import prune as prune_runs

app = typer.Typer(help="Tidy up complete runs.", no_args_is_help=True)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A run in what `--json` prints; `size` in bytes, `stays` why it is not removed."""

    run: str
    experiment: str | None
    created_at: str
    size: int
    stays: str | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints: the runs that the rule names. `others` it does not name, `unreadable` are no runs."""

    deleted: bool
    freed: int
    runs: tuple[Line, ...]
    others: int
    unreadable: tuple[str, ...]


@app.callback()
def _group() -> None:
    """One command so far, and still a group."""


@app.command()
def prune(
    keep_last: Annotated[
        int | None, typer.Option(min=0, help="Leave the latest so many runs of each experiment.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Leave runs that are younger: 90d, 12h, 2w.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; left out, nothing is.")] = False,
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("RESULTS"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Show, and with --delete remove, complete runs by age, by number, or by both (then both must hold).

    Never removed: the latest run of a comparison group, what a baseline, a release's page or an ensemble rests on,
    what `harness keep` keeps, and what cannot be read. Checkpoints of interrupted runs: `harness clean --checkpoints`.

    Examples:

      harness runs prune --older-than 90d                 what could go, and what stays, why

      harness runs prune --keep-last 20 --older-than 90d --delete
    """
    if keep_last is None and older_than is None:
        raise UsageError("Which runs to remove is not said", hint="Give --keep-last N, --older-than AGE, or both.")
    if not output_dir.is_dir():
        raise UsageError(f"There is no folder {output_dir}", hint="Say with --output-dir where runs are kept.")
    rule = Rule(older_than=None if older_than is None else parse_age(older_than, "--older-than"), keep_last=keep_last)
    store = open_store()
    planned = plan(output_dir, rule, root=find_root(Path.cwd()), store=store)
    going = tuple(fate for fate in planned.fates if fate.reason is None)
    if delete:
        going = prune_runs(output_dir, planned, store=store)
    if as_json:
        _json(planned, going, deleted=delete)
    else:
        _show(planned, going, deleted=delete)
    for note in planned.notes:
        stderr.print(note, markup=False, highlight=False, style="yellow")
    return ExitCode.OK


def _show(planned: Plan, going: tuple[Fate, ...], *, deleted: bool) -> None:
    table = Table()
    for column in ("Run", "Made", "Size", "What becomes of it"):
        table.add_column(column, overflow="fold")
    removed = "removed" if deleted else "would be removed"
    for fate in planned.fates:
        fallback = "stays: it is kept since a moment ago, or gone already"
        becomes = removed if fate in going else f"stays: {fate.reason}" if fate.reason else fallback
        table.add_row(fate.run.folder.name, fate.run.label.created_at[:10], f"{fate.size / 1e6:.1f} MB", becomes)
    if planned.fates:
        stdout.print(table)
    size = sum(fate.size for fate in going) / 1e6
    stdout.print(f"{len(going)} runs, {size:.1f} MB {removed}; {planned.others} others stay.", highlight=False)
    if going and not deleted:
        stdout.print("Nothing was removed: --delete does it.")


def _json(planned: Plan, going: tuple[Fate, ...], *, deleted: bool) -> None:
    lines = tuple(
        Line(
            run=fate.run.folder.name,
            experiment=fate.run.experiment,
            created_at=fate.run.label.created_at,
            size=fate.size,
            stays=None if fate in going else fate.reason or "it was kept or removed meanwhile",
        )
        for fate in planned.fates
    )
    freed = sum(fate.size for fate in going)
    answer = Answer(deleted=deleted, freed=freed, runs=lines, others=planned.others, unreadable=planned.notes)
    stdout.file.write(msgspec.json.encode(answer).decode() + "\n")
