"""`harness clean`: take what is ours out of the engine, or the checkpoints of interrupted runs out of the results."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import stdout
from harness.errors import ExitCode
from harness.record.attempts import interrupted_runs, remove_interrupted
from harness.record.layout import runs_folder
from harness.record.results import remove_leftovers


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Remove the checkpoints of interrupted runs instead.")
    ] = False,
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept, for --checkpoints.")] = Path("RESULTS"),
) -> int:
    """Remove the containers and images that carry the harness's labels from the engine, and nothing else.

    Complete runs are removed by `harness runs prune`, artifacts and layers by `harness store gc`.

    Examples:
      harness clean --dry-run

      harness clean

      harness clean --checkpoints                      those that --resume would go on from
    """
    if checkpoints:
        return _clean_checkpoints(output_dir, dry_run=dry_run)
    from harness.engines.docker import clean as clean_engine  # as in `open_engine`: late, for the other commands' sake

    removed = clean_engine(dry_run=dry_run)
    for thing in removed:
        stdout.print(f"{'would remove' if dry_run else 'removed'} {thing}", markup=False, highlight=False)
    if not removed:
        stdout.print("Nothing of ours is in the engine.")
    return ExitCode.OK


def _clean_checkpoints(results: Path, *, dry_run: bool) -> int:
    runs = runs_folder(results)
    if dry_run:
        found = [(one.path, one.size) for one in interrupted_runs(runs)]
    else:
        remove_leftovers(results)
        found = remove_interrupted(runs)
    for path, size in found:
        what = "would remove" if dry_run else "removed"
        stdout.print(f"{what} {path} ({size / 1e6:.1f} MB)", markup=False, highlight=False)
    if not found:
        stdout.print(f"No checkpoints of interrupted runs are in {results}.")
    return ExitCode.OK
