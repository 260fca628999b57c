"""`harness drift`: what changed in the environments since a release, and whether numbers changed with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import ConsoleProgress, stderr, stdout
from harness.cli.options import open_store
from harness.errors import UsageError
from harness.runs.project import find_root


def drift(
    baseline: Annotated[
        str | None, typer.Option(help="A release under lockfiles/baselines/, or a file; the latest if left out.")
    ] = None,
    candidate: Annotated[
        list[str] | None, typer.Option(help="An environment to check, several times if need be; all if left out.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option(help="The baseline's environment to hold candidates of other names against.")
    ] = None,
    golden: Annotated[
        bool, typer.Option("--golden", help="Run the golden runs again; else the probe decides.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run each environment anew, though nothing changed.")] = False,
    rules: Annotated[
        Path | None, typer.Option(help="Rules instead of the project's lockfiles/baselines/rules.yaml.")
    ] = None,
    waivers: Annotated[
        Path | None, typer.Option(help="Waivers instead of lockfiles/baselines/RELEASE.waivers.yaml.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="NAME[=FILE]", help="table, json, markdown, junit, sarif or html; several times."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    draft_waivers: Annotated[
        Path | None, typer.Option(help="Write waivers to fill in, one entry a change that fails, to a new file.")
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("RESULTS"),
) -> int:
    """Say what changed in the environment since a release, layer by layer, and whether numbers changed with it.

    Examples:
      harness drift                      every environment of the latest baseline

      harness drift --baseline v1.2 --candidate cpu --golden

      harness drift --candidate cpu-prev --environment cpu

      harness drift --format table --format sarif=drift.sarif

      harness drift --draft-waivers waivers.yaml

    Files that a report goes to are removed before the check starts: where it comes to no answer, there is none.

    Exit codes: 0 no drift; 1 drift, or a waiver that does not hold; 2 trouble; 3 not all was tested, or the baseline
    is of another architecture; 4 a baseline, lock or run was altered.
    """
    from harness.release.drift import DriftRequest, check_drift
    from harness.release.formats.registry import clear_places, parse_outputs, write_outputs
    from harness.release.outputs import guarded_places
    from harness.release.site import Site

    outputs = parse_outputs([*(formats or ()), *(["json"] if as_json else [])])
    if draft_waivers is not None:
        _refuse_twice(draft_waivers, [output.path for output in outputs if output.path is not None])
    root = find_root(Path.cwd())
    named = [path for path in (rules, waivers, None if baseline is None else Path(baseline)) if path is not None]
    clear_places(outputs, guarded_places(root, output_dir, named))
    if draft_waivers is not None:
        _check_draft(draft_waivers)
    request = DriftRequest(
        baseline=baseline,
        candidates=tuple(candidate or ()),
        environment=environment,
        golden=golden,
        fresh=fresh,
        rules=rules,
        waivers=waivers,
    )
    with ConsoleProgress() as progress:
        site = Site(root=root, store=open_store(), progress=progress, results=output_dir)
        report = check_drift(request, site)
    width = stdout.width if stdout.is_terminal else None
    write_outputs(report, outputs, stdout.file.write, terminal_width=width)
    if draft_waivers is not None:
        from harness.release.outputs import write_place
        from harness.release.waivers import draft_waivers as draft
        from harness.release.waivers import unanswered

        write_place(draft_waivers, draft(report))
        said = f"Wrote {draft_waivers}: {len(unanswered(report))} changes that nobody answers for"
        stderr.print(said, markup=False, highlight=False)
    return report.exit_code


def _refuse_twice(path: Path, others: Sequence[Path]) -> None:
    if path.resolve() in [other.resolve() for other in others]:
        raise UsageError(f"{path} is given for a format and for --draft-waivers", hint="Name two files.")


def _check_draft(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} is there already", hint="Give --draft-waivers a new file; then add it to yours.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}", hint="Make it first.")
