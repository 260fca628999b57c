"""`harness matrix`: one experiment in every environment that this machine can run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import open_store
from harness.runs.project import find_root
from harness.spec.run import Profile

if TYPE_CHECKING:
    from harness.release.matrix import Matrix

_STYLE = {"identical": "green", "skipped": "dim"}


def matrix(
    experiment_config: Annotated[
        str, typer.Option(help="An experiment: a path, or a name looked up in ./experiments and in the package.")
    ] = "determinism_test",
    environments: Annotated[
        list[str] | None,
        typer.Option("--environment", help="`host` or an image's name; may be repeated. Left out: all that run here."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="The experiment's quick variant, or all of it.")
    ] = False,
    runs: Annotated[int, typer.Option(min=2, help="How many times in each environment.")] = 2,
    profile: Annotated[Profile, typer.Option(help="native: fastest on this CPU; x86-64-v3: capped.")] = Profile.NATIVE,
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("RESULTS"),
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Train one experiment in every environment, twice each: identical inside, incomparable across, and how far apart.

    Examples:
      harness matrix                                   all environments that this machine can run

      harness matrix --quick --environment host --environment cpu

      harness matrix --markdown matrix.md --json | jq .pairs

    Exit codes: 0 every environment that ran repeats itself, 1 one does not (or two that must agree do not),
    2 none could be run, or trouble, 3 an environment that was named could not be run, 4 integrity failure.
    """
    # With these come NumPy and the engines, which no other command should wait for.
    from harness.release.matrix import MatrixRequest, run_matrix
    from harness.release.matrixtable import markdown
    from harness.release.outputs import check_place, write_place
    from harness.release.site import Site

    request = MatrixRequest(
        experiment=experiment_config,
        quick=quick,
        environments=tuple(environments) if environments else None,
        runs=runs,
        profile=profile,
    )
    if markdown_file is not None:
        check_place(markdown_file)
    with ConsoleProgress() as progress:
        site = Site(root=find_root(Path.cwd()), store=open_store(), progress=progress, results=output_dir)
        answer = run_matrix(request, site)
    if markdown_file is not None:
        write_place(markdown_file, markdown(answer))
    if as_json:
        stdout.file.write(msgspec.json.encode(answer).decode() + "\n")
    else:
        _print(answer)
    return answer.exit_code


def _print(answer: "Matrix") -> None:
    from harness.release.matrixtable import (
        ENVIRONMENT_COLUMNS,
        PAIR_COLUMNS,
        conclusion,
        environment_rows,
        pair_rows,
    )

    table = Table(title=f"{answer.experiment}, inside each environment", title_justify="left")
    for column in ENVIRONMENT_COLUMNS:
        table.add_column(column, overflow="fold")
    for one, row in zip(answer.environments, environment_rows(answer), strict=True):
        table.add_row(*row, style=_STYLE.get(one.state, "bold red"))
    stdout.print(table, markup=False)
    if answer.pairs:
        table = Table(title="Across environments", title_justify="left", show_lines=True)
        for column in PAIR_COLUMNS:
            table.add_column(column, overflow="fold")
        for row in pair_rows(answer):
            table.add_row(*row)
        stdout.print(table, markup=False)
    stdout.print(conclusion(answer), markup=False, highlight=False)
