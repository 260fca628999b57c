"""`harness lock`: requirements to lockfiles, and whether lockfiles still match them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from harness.cli.console import ConsoleProgress, stderr, stdout
from harness.cli.lock_tables import show_changes
from harness.cli.options import open_store
from harness.errors import ExitCode, UsageError
from harness.locking.check import check
from harness.locking.debian import MaintainerChange
from harness.locking.difference import LockChange
from harness.locking.upgrade import Replacement, Upgrades, parse_upgrades
from harness.runs.project import require_own_root

GOLDEN = "determinism_test"
"""What a rehearsal trains if nothing else is asked for."""
RESULTS = Path("RESULTS")
"""Where a rehearsal's runs are kept."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `written` are the locks that changed, or in a dry run would; `replaced` pins of specs.

    `scripts` are the waived maintainer scripts that changed; a real run stops at one whose package is not `--reviewed`.
    """

    dry_run: bool
    written: tuple[str, ...]
    changes: tuple[LockChange, ...]
    replaced: tuple[Replacement, ...]
    scripts: tuple[MaintainerChange, ...]


def lock(
    name: Annotated[str | None, typer.Argument(help="An image under docker/; all locks if left out.")] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a lock is outdated.")] = False,
    upgrade: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE[==VERSION]", help="Let this package move; may be given several times."),
    ] = None,
    upgrade_all: Annotated[bool, typer.Option("--upgrade-all", help="Keep nothing: resolve everything anew.")] = False,
    reviewed: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Its waived maintainer script changed, was read, and may stay waived."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    drift: Annotated[
        bool, typer.Option("--drift", help="With --dry-run: also build and run it, and say what becomes of numbers.")
    ] = False,
    experiment: Annotated[
        str | None,
        typer.Option(help="With --drift: what is trained, with the upgrade and without.", show_default=GOLDEN),
    ] = None,
    probe_only: Annotated[bool, typer.Option("--probe-only", help="With --drift: train nothing.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="With --drift: the experiment in its quick form.")] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="NAME[=FILE]", help="With --drift: as `harness drift` has it; several times."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Resolve what the specs ask for into exact versions with digests, under lockfiles/.

    What is locked stays at its version and file, as long as it fits what the specs ask for. Debian's packages come
    from one release and so move together, also when one of them is to be upgraded. What changes is shown before
    anything is written: from, to, by which requirement, and how large the files are. A dry run may leave a spec's pin
    for the version that it is asked for, and says so; else a pin is changed in the spec. It ends as the real run would,
    also where that would stop at a waived script that changed.

    Examples:

      harness lock                  everything, the orchestrator's own requirements too

      harness lock cpu              one image; then `harness build cpu --update`, and commit both

      harness lock cpu --upgrade numpy --upgrade scipy==1.17.0    these, and what they force to move

      harness lock cpu --upgrade libssl3 --reviewed libc6         Debian's newest; libc6's changed script was read

      harness lock cpu --upgrade-all --dry-run                    what is new

      harness lock cpu --upgrade numpy==2.4.5 --dry-run --drift   a rehearsal: would numbers change with it?

      harness lock --check          offline, in a moment: for CI

    Exit codes: 0 done, or every lock matches; 1 a lock is outdated; 2 trouble; 4 a lock was damaged. With --drift:
    0 the environment alone would change; 1 numbers would; 3 that could not be tested. Files of --format are removed
    before the rehearsal starts.
    """
    root = require_own_root(Path.cwd(), "`harness lock`")
    upgrades = parse_upgrades(upgrade or (), everything=upgrade_all)
    if drift:
        if only_check or not dry_run:
            raise UsageError("--drift is for what would be: it goes with --dry-run", hint="Add --dry-run.")
        if probe_only and (experiment or quick):
            raise UsageError("--probe-only trains nothing", hint="Leave --experiment and --quick out.")
        wanted = None if probe_only else experiment or GOLDEN
        return _rehearse(root, name, upgrades, wanted, quick=quick, formats=formats or (), as_json=as_json)
    if formats or quick or experiment or probe_only:
        raise UsageError(
            "--experiment, --quick, --probe-only and --format are about --drift", hint="Add --dry-run --drift."
        )
    if only_check:
        if dry_run or reviewed or upgrades != Upgrades():
            raise UsageError("--check changes nothing that could be tried or upgraded", hint="Leave the others out.")
        return _check(root, name, as_json=as_json)
    answer = _lock(root, name, upgrades, reviewed or (), dry_run=dry_run, as_json=as_json)
    _show(answer, as_json=as_json)
    if dry_run:
        _foretell(answer.scripts, reviewed or ())
    return ExitCode.OK


def _foretell(scripts: Sequence[MaintainerChange], reviewed: Sequence[str]) -> None:
    """End a dry run as the real one would."""
    from harness.locking.lock import check_reviewed

    try:
        check_reviewed(scripts, reviewed)
    except UsageError as error:
        raise UsageError(f"Without --dry-run this would stop: {error.message}", hint=error.hint) from error


def _check(root: Path, name: str | None, *, as_json: bool) -> int:
    problems = check(root, None if name is None else [name], store=open_store())
    if as_json:
        stdout.file.write(msgspec.json.encode(problems).decode() + "\n")
    else:
        for problem in problems:
            stdout.print(f"{problem.lock}: {problem.message}\n  {problem.remedy}", markup=False, highlight=False)
        if not problems:
            stdout.print("Every lock matches its spec and inputs.")
    return ExitCode.DIVERGENT if problems else ExitCode.OK


def _lock(
    root: Path, name: str | None, upgrades: Upgrades, reviewed: Sequence[str], *, dry_run: bool, as_json: bool
) -> Answer:
    # Resolving needs Debian's parsers, which no other command should wait for.
    from harness.locking.lock import lock as write_locks
    from harness.locking.trial import trial

    def announce(changes: tuple[LockChange, ...]) -> None:
        if not as_json:
            show_changes(changes, stdout)

    with ConsoleProgress() as progress:
        if not dry_run:
            done = write_locks(
                root,
                name,
                open_store(),
                progress=progress,
                upgrades=upgrades,
                reviewed=reviewed,
                announce=announce,
            )
            written = tuple(map(str, done.written))
            return Answer(dry_run=False, written=written, changes=done.changes, replaced=(), scripts=done.scripts)
        with trial(root, name, open_store(), progress=progress, upgrades=upgrades) as tried:
            written = tuple(str(root / path.relative_to(tried.root)) for path in tried.locking.written)
            if not as_json:
                _show_pins(tried.replaced, stdout)
            announce(tried.locking.changes)
            done = tried.locking
            return Answer(
                dry_run=True, written=written, changes=done.changes, replaced=tried.replaced, scripts=done.scripts
            )


def _rehearse(
    root: Path,
    name: str | None,
    upgrades: Upgrades,
    experiment: str | None,
    *,
    quick: bool,
    formats: Sequence[str],
    as_json: bool,
) -> int:
    from harness.release.formats.registry import clear_places, parse_outputs, write_outputs
    from harness.release.outputs import guarded_places
    from harness.release.rehearsal import RehearsalRequest, rehearse
    from harness.release.site import Site

    outputs = parse_outputs([*formats, *(["json"] if as_json else [])])
    clear_places(outputs, guarded_places(root, RESULTS, [Path(experiment)] if experiment else []))
    request = RehearsalRequest(image=name, upgrades=upgrades, experiment=experiment, quick=quick)
    with ConsoleProgress() as progress:
        rehearsed = rehearse(request, Site(root=root, store=open_store(), progress=progress, results=RESULTS))
    _show_pins(rehearsed.replaced, stderr)
    show_changes(rehearsed.changes, stderr)
    width = stdout.width if stdout.is_terminal else None
    write_outputs(rehearsed.report, outputs, stdout.file.write, terminal_width=width)
    said = "A rehearsal: nothing was written in the checkout."
    if not rehearsed.report.environments:
        said = "No lock of an image would change: there was nothing to rehearse."
    stderr.print(said, markup=False, highlight=False)
    return rehearsed.report.exit_code


def _show(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        stdout.file.write(msgspec.json.encode(answer).decode() + "\n")
        return
    for path in answer.written:
        stdout.print(f"{'would write' if answer.dry_run else 'wrote'} {path}", markup=False, highlight=False)
    if not answer.written:
        stdout.print("Every lock would stay as it is." if answer.dry_run else "Every lock is as it was.")


def _show_pins(replaced: Sequence[Replacement], console: Console) -> None:
    for pin in replaced:
        said = f"docker/{pin.image}.yaml asks for {pin.before}: tried with {pin.after}"
        console.print(said, markup=False, highlight=False)
