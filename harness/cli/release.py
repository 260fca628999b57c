"""`harness release-check`: everything that a release must pass, and the page that its manager signs."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import ConsoleProgress, stderr, stdout
from harness.cli.options import open_store
from harness.runs.project import find_root


def release_check(
    release: Annotated[str, typer.Option(help="The release's name, such as v1.3; its baseline is called after it.")],
    baseline: Annotated[
        str | None,
        typer.Option(help="The release, or baseline's file, to measure drift against; the latest if left out."),
    ] = None,
    first: Annotated[
        bool, typer.Option("--first", help="This is the first release: there is no baseline to drift from.")
    ] = False,
    environments: Annotated[
        list[str] | None,
        typer.Option(
            "--environment",
            help="`host` or an image's name; may be repeated. Left out: all images with a lock, and the baseline's.",
        ),
    ] = None,
    golden: Annotated[
        list[str] | None,
        typer.Option(help="An experiment to repeat in each environment; may be repeated. Left out: the baseline's."),
    ] = None,
    quick: Annotated[
        bool | None,
        typer.Option(
            "--quick/--full", help="The golden experiments' quick variants, or all. Left out: as the baseline."
        ),
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Where runs and the page are kept.")] = Path("RESULTS"),
    as_json: Annotated[bool, typer.Option("--json", help="The page as one JSON document on stdout.")] = False,
) -> int:
    """Check a release: clean tree, locks, images made anew, golden runs repeated, drift, and then its baseline.

    Writes RESULTS/releases/RELEASE/sign-off.md, .html and .json in any case, and lockfiles/baselines/RELEASE.json, to
    be committed with the release, where every step passed. docs/releases.md tells the whole way.

    Examples:
      harness release-check --release v1.0 --first

      harness release-check --release v1.3                      against the latest baseline

      harness release-check --release v1.3 --baseline v1.2 --environment cpu --environment cpu-prev

      harness release-check --release v1.3 --golden experiments/ours.yaml --json | jq .exit_code

    Exit codes: 0 every step passed, 1 drift, a run that did not repeat or an outdated lock, 2 a tree that is not clean,
    a name that is taken, or trouble, 3 not everything was tested, 4 an image or file is not what its digest says.
    """
    from harness.release.check import ReleaseRequest, check_release
    from harness.release.signoff import PAGE
    from harness.release.site import Site

    request = ReleaseRequest(
        release=release,
        baseline=baseline,
        first=first,
        environments=tuple(environments or ()),
        golden=tuple(golden or ()),
        quick=quick,
    )
    with ConsoleProgress() as progress:
        site = Site(root=find_root(Path.cwd()), store=open_store(), progress=progress, results=output_dir)
        page, folder = check_release(request, site)
    stdout.file.write((folder / f"{PAGE}.{'json' if as_json else 'md'}").read_text())
    stderr.print(f"Page     {folder / PAGE}.html", markup=False, highlight=False)
    stderr.print(
        f"Verdict  {page.verdict}", markup=False, highlight=False, style=None if page.exit_code == 0 else "red"
    )
    return page.exit_code
