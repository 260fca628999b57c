"""`harness keep`: what an audit or a rollback will ask for stays."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from harness.cli.console import stderr, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode, UsageError
from harness.runs.keeping import Kept, Mark, Pin, keep, let_go, marks, pins
from harness.runs.project import find_root


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What `--list --json` prints: what the store keeps, and the marks of the results folder."""

    pins: tuple[Pin, ...]
    marks: tuple[Mark, ...]


def keep_(
    name: Annotated[
        str | None, typer.Argument(metavar="RUN|IMAGE", help="A run's name or folder, or an image's name.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what is kept.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Keep it no longer.")] = False,
    note: Annotated[str, typer.Option(help="Why, and until when: shown wherever it stops something.")] = "",
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("RESULTS"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Keep a run or an image: `harness runs prune` and `harness store gc` take nothing of it.

    A run is kept with its folder, its inputs (code, data) and its image, or the wheels of its host environment; an
    image with its layers, its packages and its wheels.

    Examples:

      harness keep determinism_test-20261122-135643-dae6 --note "audit 2026, until 2033"

      harness keep cpu                          what lockfiles/cpu/ names now, for a rollback

      harness keep --list

      harness keep --remove cpu
    """
    store = open_store()
    if list_:
        if name is not None or remove or note:
            raise UsageError("--list shows everything that is kept", hint="Leave the others out.")
        found = Listing(pins=pins(store), marks=tuple(marks(output_dir).values()))
        if as_json:
            _json(found)
        else:
            _list(found, output_dir)
        return ExitCode.OK
    if name is None:
        raise UsageError("What should be kept is not said", hint="Name a run or an image, or give --list.")
    if remove:
        if note:
            raise UsageError("--note is for what is kept, and --remove keeps no longer", hint="Leave one of them out.")
        gone = let_go(name, results=output_dir, store=store)
        if as_json:
            _json(gone)
        for title in () if as_json else gone:
            stdout.print(f"no longer kept: {title}", markup=False, highlight=False)
        return ExitCode.OK
    kept = keep(name, root=find_root(Path.cwd()), results=output_dir, store=store, note=note)
    if as_json:
        _json(kept)
    else:
        stdout.print(f"kept: {kept.pin.title}", markup=False, highlight=False)
    _warn(kept)
    return ExitCode.OK


def _warn(kept: Kept) -> None:
    if kept.missing:
        image = (kept.pin.image or "").partition("@")[0]
        remedy = f": `harness build {image}` brings back what belongs to the image" if image else ""
        message = f"{len(kept.missing)} things behind it are not in the store, {kept.missing[0]} first{remedy}"
        stderr.print(message, markup=False, highlight=False, style="yellow")
    if kept.problem:
        stderr.print(f"It is kept in part: {kept.problem}", markup=False, highlight=False, style="yellow")


def _list(found: Listing, results: Path) -> None:
    table = Table()
    for column in ("What", "Name", "Since", "Image", "Note"):
        table.add_column(column, overflow="fold")
    pinned = {pin.run_id for pin in found.pins}
    for pin in found.pins:
        gone = pin.folder is not None and not Path(pin.folder).is_dir()
        name = f"{pin.name} (its folder is gone: {pin.folder})" if gone else pin.name
        image, _, digest = (pin.image or "-").partition("@")
        table.add_row(pin.what, name, pin.kept_at[:10], f"{image} {digest[7:19]}".strip(), pin.note)
    for mark in found.marks:
        if mark.run_id not in pinned:
            where = f"{mark.run_name} (in {results} alone: kept from another store)"
            table.add_row("run", where, mark.kept_at[:10], "-", mark.note)
    if table.row_count:
        stdout.print(table)
    else:
        stdout.print("Nothing is kept: `harness keep RUN` or `harness keep IMAGE` does.", markup=False, highlight=False)


def _json(value: object) -> None:
    stdout.file.write(msgspec.json.encode(value).decode() + "\n")
