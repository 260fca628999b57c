"""`harness vendor`: all that an image is made from in one file, for a machine without a network."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode
from harness.images.bundle import vendor as write_bundle
from harness.runs.project import find_root


def vendor(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The file to write; one that is there is replaced.")
    ],
    name: Annotated[str, typer.Argument(help="The image: a name under docker/.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Write one file with every artifact of an image, its spec and its locks: `harness build --from` needs no more.

    Whoever makes it from the same locks writes the same bytes, so its digest can be told by telephone.

    Examples:

      harness vendor cpu --out cpu.bundle

      harness build --from cpu.bundle     on the other machine

      harness vendor cpu --out cpu.bundle --json | jq -r .digest

    Exit codes: 0 written; 1 a lock is outdated; 2 trouble; 4 an artifact is not what its lock says.
    """
    with ConsoleProgress() as progress:
        made = write_bundle(name, out, root=find_root(Path.cwd()), store=open_store(), progress=progress)
    if as_json:
        stdout.file.write(msgspec.json.encode(made).decode() + "\n")
    else:
        said = f"Wrote {made.file}: {made.image}@{made.manifest}, {made.artifacts} artifacts, {made.size / 1e6:.1f} MB"
        stdout.print(f"{said}\n  {made.digest}", markup=False, highlight=False)
    return ExitCode.OK
