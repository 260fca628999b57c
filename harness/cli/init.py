"""`harness init`: an image for a project of one's own."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.lock_tables import show_changes
from harness.cli.options import open_store
from harness.errors import ExitCode, UsageError
from harness.locking.difference import LockChange


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `files` were written, or in a dry run would be; `changes` are against locks there."""

    name: str
    dry_run: bool
    files: tuple[str, ...]
    requirements: tuple[str, ...]
    wheels: int
    debian_packages: int
    notes: tuple[str, ...]
    changes: tuple[LockChange, ...]


def init(
    name: Annotated[str, typer.Argument(help="What the image is called; `cpu` is what other commands take.")] = "cpu",
    project: Annotated[Path, typer.Option(help="The project's folder.")] = Path(),
    requirements: Annotated[
        Path | None, typer.Option("--requirements", "-r", help="A requirements file, in place of pyproject.toml.")
    ] = None,
    extra: Annotated[list[str] | None, typer.Option(help="An extra of pyproject.toml; several times.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A dependency group; several times.")] = None,
    apt: Annotated[list[str] | None, typer.Option(metavar="PACKAGE", help="A Debian package; several times.")] = None,
    waive: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE=REASON", help="Why a package's maintainer scripts need not run; several times."),
    ] = None,
    reviewed: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Its waived maintainer script changed, was read, and may stay waived."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="PLACE@DIGEST", help="An image whose layers go under these, by digest.")
    ] = None,
    variant: Annotated[str, typer.Option(help="cpu, or cuda: torch with CUDA.")] = "cpu",
    trainer: Annotated[bool, typer.Option("--trainer", help="Add what `harness run` needs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace spec and locks that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve, show the spec, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Write a spec and locks for your project, from its pyproject.toml or requirements.txt.

    The project itself is code: it is mounted when a program runs, not installed. What is set under [tool.harness] in
    pyproject.toml, or in harness.yaml, need not be said again: apt, extras, groups, waive, base. With --force, what is
    locked stays where it still fits, and what changes is shown before anything is written.

    Examples:

      harness init                            then `harness build --update`, and commit docker/ and lockfiles/

      harness init --apt libgl1 --apt libglib2.0-0

      harness init train --extra train --group test --dry-run

      harness init -r requirements/train.txt --trainer

      harness init --base oci-layout:base@sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0

    Exit codes: 0 written; 2 trouble, and nothing is written; 4 a wheel is not what the project's hashes say.
    """
    # Resolving needs Debian's parsers, which no other command should wait for.
    from harness.locking.imagespec import check_image_name
    from harness.locking.initial import Wanted, check_free, prepare
    from harness.locking.place import place
    from harness.locking.project import read_project, read_settings

    if variant not in ("cpu", "cuda"):
        raise UsageError(f"There is no variant {variant!r}", hint="A variant is cpu or cuda.")
    if not project.is_dir():
        raise UsageError(f"{project} is not a folder", hint="Give --project the folder of your program.")
    check_image_name(name)
    settings = read_settings(project)
    if not dry_run:
        check_free(project, name, force=force)
    found = read_project(
        project,
        file=requirements,
        extras=tuple(dict.fromkeys((*settings.extras, *(extra or ())))),
        groups=tuple(dict.fromkeys((*settings.groups, *(group or ())))),
    )
    wanted = Wanted(
        name=name,
        variant=variant,
        apt=tuple(dict.fromkeys((*settings.apt, *(apt or ())))),
        waive={**settings.waive, **_waivers(waive or [])},
        base=base or settings.base,
        trainer=trainer,
    )

    def announce(changes: tuple[LockChange, ...]) -> None:
        if not as_json:
            show_changes(changes, stdout)

    with ConsoleProgress() as progress:
        initial = prepare(found, wanted, open_store(), progress=progress, reviewed=reviewed or (), announce=announce)
        for note in initial.notes:
            progress.note(note)
    if not dry_run:
        place(project, initial.files)
    answer = Answer(
        name=name,
        dry_run=dry_run,
        files=tuple(str(project / path) for path in initial.files),
        requirements=initial.requirements,
        wheels=initial.wheels,
        debian_packages=initial.packages,
        notes=initial.notes,
        changes=initial.changes,
    )
    _show(answer, initial.files[f"docker/{name}.yaml"].decode(), as_json=as_json)
    return ExitCode.OK


def _waivers(items: list[str]) -> dict[str, str]:
    pairs = [item.partition("=")[::2] for item in items]
    for package, reason in pairs:
        if not package or not reason.strip():
            raise UsageError(f"--waive {package!r} gives no reason", hint="Write --waive 'PACKAGE=REASON'.")
    return dict(pairs)


def _show(answer: Answer, spec: str, *, as_json: bool) -> None:
    if as_json:
        stdout.file.write(msgspec.json.encode(answer).decode() + "\n")
        return
    if answer.dry_run:
        stdout.file.write(spec)
    for path in answer.files:
        stdout.print(f"{'would write' if answer.dry_run else 'wrote'} {path}", markup=False, highlight=False)
    said = f"{len(answer.requirements)} requirements, {answer.wheels} wheels, {answer.debian_packages} Debian packages"
    stdout.print(said, markup=False, highlight=False)
    if not answer.dry_run:
        named = "" if answer.name == "cpu" else f" {answer.name}"
        image = "" if answer.name == "cpu" else f" --image {answer.name}"
        stdout.print(
            f"Next: harness build{named} --update, then harness exec{image} -- python YOUR_PROGRAM",
            markup=False,
            highlight=False,
        )
