"""`harness clean`: take what is ours out of the engine."""

from typing import Annotated

import typer

from harness.cli.console import stdout
from harness.errors import ExitCode


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> int:
    """Remove the containers and images that carry the harness's labels from the engine, and nothing else.

    Examples:
      harness clean --dry-run

      harness clean
    """
    from harness.engines.docker import clean as clean_engine  # as in `open_engine`: late, for the other commands' sake

    removed = clean_engine(dry_run=dry_run)
    for thing in removed:
        stdout.print(f"{'would remove' if dry_run else 'removed'} {thing}", markup=False, highlight=False)
    if not removed:
        stdout.print("Nothing of ours is in the engine.")
    return ExitCode.OK
