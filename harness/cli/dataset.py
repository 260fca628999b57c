"""`harness dataset`: where a locked dataset lies, fetched first if need be."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode
from harness.locking.datasets import fetch_dataset, find_dataset
from harness.runs.project import find_root


def dataset(name: Annotated[str, typer.Argument(help="A name in lockfiles/datasets.lock.")] = "sp500") -> int:
    """Print the path of a dataset that lockfiles/datasets.lock names, with its digest checked.

    Examples:

      zcat $(harness dataset sp500) | head
    """
    with ConsoleProgress() as progress:
        path = fetch_dataset(
            open_store(),
            find_dataset(find_root(Path.cwd()) / "lockfiles" / "datasets.lock", name),
            progress=progress,
        )
    stdout.file.write(f"{path}\n")
    return ExitCode.OK
