"""`harness lock`: requirements to lockfiles, and whether lockfiles still match them."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode
from harness.locking.check import check
from harness.runs.project import find_root


def lock(
    name: Annotated[str | None, typer.Argument(help="An image under docker/; all locks if left out.")] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a lock is outdated.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Resolve what the specs ask for into exact versions with digests, under lockfiles/.

    Examples:

      harness lock                  everything, the orchestrator's own requirements too

      harness lock cpu              one image; then `harness build cpu --update`, and commit both

      harness lock --check          offline, in a moment: for CI

    Exit codes: 0 done, or every lock matches; 1 a lock is outdated; 2 trouble; 4 a lock was damaged.
    """
    root = find_root(Path.cwd())
    if only_check:
        problems = check(root, None if name is None else [name])
        if as_json:
            stdout.file.write(msgspec.json.encode(problems).decode() + "\n")
        else:
            for problem in problems:
                stdout.print(f"{problem.lock}: {problem.message}\n  {problem.remedy}", markup=False, highlight=False)
            if not problems:
                stdout.print("Every lock matches its spec and inputs.")
        return ExitCode.DIVERGENT if problems else ExitCode.OK
    # Resolving needs Debian's parsers, which no other command should wait for.
    from harness.locking.lock import lock as write_locks

    with ConsoleProgress() as progress:
        written = write_locks(root, name, open_store(), progress=progress)
    if as_json:
        stdout.file.write(msgspec.json.encode([str(path) for path in written]).decode() + "\n")
    elif written:
        for path in written:
            stdout.print(f"wrote {path}", markup=False, highlight=False)
    else:
        stdout.print("Every lock is as it was.")
    return ExitCode.OK
