"""`harness build`: lockfiles to image, with the digest that is committed beside them."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode, UsageError
from harness.images.build import build as build_image
from harness.runs.project import find_own_root, find_root, require_own_root


def build(
    name: Annotated[
        str | None, typer.Argument(help="The image: a name under docker/.", show_default="cpu, or the bundle's")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Write the digests that came out into image.lock.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Make every layer again, whatever the store has.")] = False,
    bundle: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Build from a bundle of `harness vendor`, offline.")
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="With --from: write the bundle's spec and locks into this checkout.")
    ] = False,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="Make the self-contained image: a project as the last layer.")
    ] = False,
    project: Annotated[
        Path | None, typer.Option(help="With --with-code: the project's folder.", show_default=".")
    ] = None,
    load: Annotated[bool, typer.Option("--load", help="With --with-code: hand it to the Docker engine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The lock as one JSON document on stdout.")] = False,
) -> int:
    """Build an image from its lockfiles, into the store. With nothing changed it does nothing.

    Examples:
      harness build cpu

      harness build cpu --anew          every layer again from its artifacts: still the committed digest?

      harness build --from cpu.bundle   without a network: `harness vendor cpu --out cpu.bundle` made the file

      harness build cpu --with-code --load    this project in it, for `docker run` and `harness push --with-code`

      harness build cpu --update        after `harness lock cpu`: commit the new image.lock

    Exit codes: 0 the image has the committed digest; 1 a lock, or a bundle, is outdated; 2 trouble; 4 it has another
    digest, or a bundle is damaged.
    """
    if bundle is not None:
        if update or with_code or project is not None or load:
            raise UsageError("--from builds what the bundle names", hint="Leave all but --anew and --adopt out.")
        return _from_bundle(bundle, name, anew=anew, adopt=adopt, as_json=as_json)
    if adopt:
        raise UsageError("--adopt is about --from", hint="Add --from FILE.")
    name = name or "cpu"
    if with_code:
        if update or anew:
            raise UsageError("--with-code builds on the committed image", hint="Leave --update and --anew out.")
        return _with_code(name, project or Path(), load=load, as_json=as_json)
    if load or project is not None:
        raise UsageError("--project and --load are about --with-code", hint="Add --with-code.")
    root = require_own_root(Path.cwd(), "`harness build --update`") if update else find_root(Path.cwd())
    with ConsoleProgress() as progress:
        if find_own_root(Path.cwd()) is None:
            progress.note(f"This folder is in no project with specs: building the image {name} of {root}")
        lock = build_image(name, root=root, store=open_store(), progress=progress, update=update, anew=anew)
    if as_json:
        stdout.file.write(msgspec.json.encode(lock).decode() + "\n")
    else:
        stdout.print(f"{lock.name}@{lock.manifest}", markup=False, highlight=False)
    return ExitCode.OK


def _from_bundle(path: Path, name: str | None, *, anew: bool, adopt: bool, as_json: bool) -> int:
    from harness.images.unbundle import build_from

    # Another project, or the harness's own checkout, may have an image of that name: it has no say in what this one is.
    root = require_own_root(Path.cwd(), "`harness build --adopt`") if adopt else find_own_root(Path.cwd())
    with ConsoleProgress() as progress:
        built = build_from(path, name=name, root=root, store=open_store(), progress=progress, anew=anew, adopt=adopt)
        for written in built.written:
            progress.note(f"Wrote {written}")
        if not built.known and not adopt:
            place = f"{root} has no image {built.lock.name}" if root else "This folder is in no project with specs"
            progress.note(f"{place}: to run the image in a project, write its spec and locks there (--adopt)")
    if as_json:
        stdout.file.write(msgspec.json.encode(built.lock).decode() + "\n")
    else:
        stdout.print(f"{built.lock.name}@{built.lock.manifest}", markup=False, highlight=False)
    return ExitCode.OK


def _with_code(name: str, project: Path, *, load: bool, as_json: bool) -> int:
    from harness.runs.selfcontained import open_chosen

    store = open_store()
    with (
        ConsoleProgress() as progress,
        open_chosen(name, project, root=find_root(Path.cwd()), store=store, progress=progress) as image,
    ):
        image.fetch()
        for layer in image.lock.layers:
            image.blob(layer.digest)
        loaded = None
        if load:
            from harness.engines.docker import DockerEngine

            loaded = DockerEngine(progress=progress).load(image)
        lock = image.lock
    if as_json:
        stdout.file.write(msgspec.json.encode(lock).decode() + "\n")
        return ExitCode.OK
    stdout.print(f"{lock.name}@{lock.manifest}", markup=False, highlight=False)
    if loaded:
        stdout.print(f"  in the engine as {loaded}", markup=False, highlight=False)
    return ExitCode.OK
