"""`harness build`: lockfiles to image, with the digest that is committed beside them."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode
from harness.images.build import build as build_image
from harness.runs.project import find_root


def build(
    name: Annotated[str, typer.Argument(help="The image: a name under docker/.")] = "cpu",
    update: Annotated[bool, typer.Option("--update", help="Write the digests that came out into image.lock.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Make every layer again, whatever the store has.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The lock as one JSON document on stdout.")] = False,
) -> int:
    """Build an image from its lockfiles, into the store. With nothing changed it does nothing.

    Examples:
      harness build cpu

      harness build cpu --anew          every layer again from its artifacts: still the committed digest?

      harness build cpu --update        after `harness lock cpu`: commit the new image.lock

    Exit codes: 0 the image has the committed digest, 2 trouble, 4 it has another one.
    """
    with ConsoleProgress() as progress:
        lock = build_image(
            name, root=find_root(Path.cwd()), store=open_store(), progress=progress, update=update, anew=anew
        )
    if as_json:
        stdout.file.write(msgspec.json.encode(lock).decode() + "\n")
    else:
        stdout.print(f"{lock.name}@{lock.manifest}", markup=False, highlight=False)
    return ExitCode.OK
