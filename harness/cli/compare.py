"""`harness compare`: two runs, cell by cell."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.console import stdout
from harness.cli.tables import comparison_table
from harness.record.compare import compare_runs
from harness.record.results import locate_run


def compare(
    run_a: Annotated[str, typer.Argument(help="The earlier run: its folder, or its name under RESULTS/runs.")],
    run_b: Annotated[str, typer.Argument(help="The later run.")],
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("RESULTS"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Compare two runs. Every file of both is checked against its digest first.

    Examples:
      harness compare RESULTS/runs/A RESULTS/runs/B

      harness compare A B --json | jq .cells

    Exit codes: 0 every cell identical, 1 divergent, 2 trouble, 3 incomparable or unverified, 4 altered files.
    """
    comparison = compare_runs(locate_run(run_a, output_dir), locate_run(run_b, output_dir))
    if as_json:
        stdout.file.write(msgspec.json.encode(comparison).decode() + "\n")
    else:
        comparison_table(comparison)
    return comparison.exit_code
