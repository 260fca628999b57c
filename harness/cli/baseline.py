"""`harness baseline`: keep what a release was, list and show what is kept, and get an environment back from it."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from harness.cli.console import ConsoleProgress, stderr, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode, UsageError
from harness.release.site import Site
from harness.runs.project import find_root
from harness.store.progress import SILENT, Progress

app = typer.Typer(help="Keep what a release was, and look it up.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Name = Annotated[str | None, typer.Argument(help="A release, or a baseline's file; the latest release if left out.")]


@app.command()
def create(
    release: Annotated[str, typer.Option(help="The release's name, such as v1.2: the file is called after it.")],
    environments: Annotated[
        list[str] | None,
        typer.Option("--environment", help="`host` or an image's name; may be repeated. Left out: cpu."),
    ] = None,
    golden: Annotated[
        list[str] | None,
        typer.Option(help="An experiment to run in each environment; may be repeated. Left out: determinism_test."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="The golden experiments' quick variants, or all of them.")
    ] = False,
    no_golden: Annotated[
        bool, typer.Option("--no-golden", help="Keep no golden runs: surveys and locks alone.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of another of that name.")] = False,
    output_dir: Annotated[Path, typer.Option(help="Where the golden runs are kept.")] = Path("RESULTS"),
    as_json: Json = False,
) -> int:
    """Survey each environment, run the golden runs, and write lockfiles/baselines/RELEASE.json, to be committed.

    Examples:

      harness baseline create --release v1.2

      harness baseline create --release v1.2 --environment cpu --environment cpu-prev --quick

      harness baseline create --release v1.2 --golden experiments/ours.yaml

    Exit codes: 0 written, or there already with the same bytes; 2 trouble, or the release has another baseline;
    4 integrity failure.
    """
    # Late, here and below: Debian's parsers come with it, which no other command should wait for.
    from harness.cli.baseline_tables import print_baseline
    from harness.release.create import GoldenRequest, create_baseline

    if no_golden and golden:
        raise UsageError("--golden and --no-golden contradict each other", hint="Leave one of them out.")
    wanted = () if no_golden else tuple(GoldenRequest(name, quick) for name in golden or ["determinism_test"])
    with ConsoleProgress() as progress:
        baseline, path = create_baseline(
            release,
            _site(progress, output_dir),
            environments=environments or ["cpu"],
            golden=wanted,
            replace=replace,
        )
    if as_json:
        _write_json(baseline)
        return ExitCode.OK
    print_baseline(baseline)
    stdout.print(f"\nBaseline {path}", markup=False, highlight=False)
    if baseline.dirty:
        stderr.print("The tree is not clean: this baseline is of no commit.", style="yellow", highlight=False)
    return ExitCode.OK


@app.command("list")
def list_(as_json: Json = False) -> int:
    """List the releases that have a baseline, oldest first, each of them verified.

    Examples:

      harness baseline list

      harness baseline list --json | jq -r '.[-1].release'
    """
    from harness.cli.baseline_tables import commit, summary
    from harness.cli.tables import short
    from harness.release.baseline import baseline_names, find_baseline

    site = _site(SILENT)
    baselines = [find_baseline(site, name) for name in baseline_names(site)]
    if as_json:
        _write_json([summary(baseline) for baseline in baselines])
        return ExitCode.OK
    if not baselines:
        stdout.print("There is none yet: `harness baseline create --release v1.0` makes one.", highlight=False)
        return ExitCode.OK
    table = Table()
    for column in ("Release", "Commit", "Environments", "Golden runs", "Digest"):
        table.add_column(column, overflow="fold")
    for baseline in baselines:
        table.add_row(
            baseline.release,
            commit(baseline),
            ", ".join(baseline.environments),
            str(len(baseline.golden)),
            short(baseline.digest),
        )
    stdout.print(table)
    return ExitCode.OK


@app.command()
def show(name: Name = None, as_json: Json = False) -> int:
    """Show one baseline, verified: environments with their images and libraries, golden runs with their metrics.

    Examples:

      harness baseline show v1.2

      harness baseline show lockfiles/baselines/v1.2.json --json | jq .environments.cpu.survey.captured.cpu
    """
    from harness.cli.baseline_tables import print_baseline
    from harness.release.baseline import find_baseline

    baseline = find_baseline(_site(SILENT), name)
    if as_json:
        _write_json(baseline)
    else:
        print_baseline(baseline)
    return ExitCode.OK


@app.command()
def restore(
    out: Annotated[Path, typer.Option(help="The folder to write to: empty, or not there yet.")],
    name: Name = None,
    environment: Annotated[str, typer.Option(help="An environment of the baseline.")] = "cpu",
    as_json: Json = False,
) -> int:
    """Write docker/ and lockfiles/ of an environment as they were, so that its image can be made again.

    Examples:

      harness baseline restore v1.2 --environment cpu --out then

      cd then && harness build cpu && harness exec -- python train.py
    """
    from harness.release.baseline import find_baseline
    from harness.release.restore import restore as restore_files
    from harness.release.restore import why_not_now

    baseline = find_baseline(_site(SILENT), name)
    written = restore_files(baseline, environment, out)
    if as_json:
        _write_json([str(path) for path in written])
    else:
        for path in written:
            stdout.print(f"wrote {path}", markup=False, highlight=False)
    if (reason := why_not_now(baseline.environments[environment].sources)) is not None:
        where = f"commit {baseline.commit}" if baseline.commit else "the version that the release was made with"
        message = f"This version of harness makes another image of it: {reason}. Build it with {where}."
        stderr.print(message, style="yellow", markup=False, highlight=False)
    return ExitCode.OK


def _site(progress: Progress, results: Path = Path("RESULTS")) -> Site:
    return Site(root=find_root(Path.cwd()), store=open_store(), progress=progress, results=results)


def _write_json(value: object) -> None:
    stdout.file.write(msgspec.json.encode(value).decode() + "\n")
