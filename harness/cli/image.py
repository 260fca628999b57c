"""`harness image`: which images there are, what is in one, and writing one to files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from harness.cli import sbom
from harness.cli.console import ConsoleProgress, stderr, stdout
from harness.cli.options import open_store
from harness.cli.tables import short
from harness.errors import ExitCode
from harness.images.build import open_image
from harness.images.export import export_archive, export_layout, list_images, show_image
from harness.runs.project import find_root

app = typer.Typer(help="List, show and export images.", no_args_is_help=True)
app.command("sbom")(sbom.sbom)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class Format(StrEnum):
    """How an image is written: a folder, or one file that `docker load` takes."""

    LAYOUT = "layout"
    ARCHIVE = "archive"


@app.command("ls")
def list_(as_json: Json = False) -> int:
    """List the images that have a spec, with the digests that their locks name.

    Examples:

      harness image ls

      harness image ls --json | jq -r '.[].manifest'
    """
    images = list_images(find_root(Path.cwd()), open_store())
    if as_json:
        stdout.file.write(msgspec.json.encode(images).decode() + "\n")
        return ExitCode.OK
    table = Table()
    for column in ("Image", "Manifest", "Size", "Layers built", "Lock"):
        table.add_column(column)
    for image in images:
        table.add_row(
            image.name,
            "not locked" if image.manifest is None else short(image.manifest),
            _megabytes(image.size),
            f"{sum(layer.stored for layer in image.layers)} of {len(image.layers)}",
            f"older than {', '.join(image.stale)}" if image.stale else "current",
        )
    stdout.print(table)
    return ExitCode.OK


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The image: a name under docker/.")] = "cpu",
    size: Annotated[
        bool, typer.Option("--size", help="Where the bytes are: layers, packages, files, and what is there twice.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show one image: digests, layers with their sizes, and the inputs that it is made from; or where its bytes are.

    Examples:

      harness image show cpu

      harness image show cuda --size            after `harness build cuda`: it reads the layers

      harness image show cuda --size --json | jq '.packages[0]'
    """
    if size:
        return _show_sizes(name, as_json=as_json)
    image = show_image(name, find_root(Path.cwd()), open_store())
    if as_json:
        stdout.file.write(msgspec.json.encode(image).decode() + "\n")
        return ExitCode.OK
    for what, value in (("manifest", image.manifest), ("config", image.config), ("size", _megabytes(image.size))):
        stdout.print(f"{what:9} {value or 'not locked'}", markup=False, highlight=False)
    table = Table()
    for column in ("Layer", "Digest", "Size", "Built"):
        table.add_column(column)
    for layer in image.layers:
        table.add_row(layer.name, layer.digest, _megabytes(layer.size), "yes" if layer.stored else "no")
    stdout.print(table)
    for what, digest in sorted(image.inputs.items()):
        changed = "  changed since" if what in image.stale else ""
        stdout.print(f"{what:20} {digest}{changed}", markup=False, highlight=False)
    return ExitCode.OK


def _show_sizes(name: str, *, as_json: bool) -> int:
    from harness.images.sizes import image_sizes  # Debian's parsers, which no other command here needs

    with ConsoleProgress(quiet=as_json) as progress:
        sizes = image_sizes(name, find_root(Path.cwd()), open_store(), progress=progress)
    if as_json:
        stdout.file.write(msgspec.json.encode(sizes).decode() + "\n")
    else:
        from harness.cli.image_tables import image_sizes_report

        image_sizes_report(sizes)
    return ExitCode.OK


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="The file to write, in place of one that is there; or a new folder.")],
    name: Annotated[str, typer.Option("--image", help="The image: a name under docker/.")] = "cpu",
    layout: Annotated[Format, typer.Option("--format", help="layout: OCI folder; archive: one file.")] = Format.ARCHIVE,
) -> int:
    """Write an image as an archive for `docker load`, skopeo or podman, or as an OCI layout.

    Examples:

      harness image export cpu.tar

      harness image export cpu-layout --format layout

      skopeo inspect oci:cpu-layout
    """
    with (
        ConsoleProgress() as progress,
        open_image(name, root=find_root(Path.cwd()), store=open_store(), progress=progress) as image,
    ):
        if layout is Format.ARCHIVE:
            export_archive(image, output)
        else:
            export_layout(image, output)
    stdout.print(f"Wrote {output}", markup=False, highlight=False)
    return ExitCode.OK


@app.command()
def runnable(name: Annotated[str, typer.Argument(help="The image: a name under docker/.")] = "cpu") -> int:
    """Say nothing if this machine can run an image, and else why not: its architecture, or for CUDA its GPU and driver.

    Nothing is fetched or built, and no engine is asked.

    Examples:

      harness image runnable cuda && make deterministic-run IMAGE=cuda

    Exit codes: 0 it can, 2 it cannot.
    """
    from harness.runs.environment import require_machine

    require_machine(name, find_root(Path.cwd()))
    return ExitCode.OK


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="The image: a name under docker/.")] = "cpu",
    every_condition: Annotated[
        bool, typer.Option("--every-condition", help="Answer 3 where a condition was the same in both builds.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Build an image twice under conditions that should not count, and compare both with its lock.

    The builds differ in umask, time zone, locale, folders, order of files, cores, clock, inflater, hash seed and user,
    as far as this machine can; the table says which of these really differed. It takes the time of two builds, and
    room for two images.

    Examples:

      harness image verify cpu

      harness image verify cpu --every-condition         as root, with libfaketime, on more than one core

      harness image verify cpu --json | jq .finding

    Exit codes: 0 both builds came to the locked image, 2 trouble, 3 with --every-condition: they did, but not every
    condition could be tried here, 4 one did not: layer, member and field are named.
    """
    from harness.images.verify import verify as verify_image

    with ConsoleProgress() as progress:
        proof = verify_image(name, root=find_root(Path.cwd()), store=open_store(), progress=progress)
    untried = proof.untried if every_condition else ()
    code = ExitCode.INTEGRITY if not proof.holds else ExitCode.INCOMPARABLE if untried else ExitCode.OK
    for condition in untried:
        stderr.print(f"Not tried: {condition.name}: {condition.why}", markup=False, highlight=False, style="yellow")
    if as_json:
        stdout.file.write(msgspec.json.encode(proof).decode() + "\n")
        return code
    table = Table()
    for column in ("Condition", "First build", "Second build", "Differed"):
        table.add_column(column)
    for condition in proof.conditions:
        differed = "yes" if condition.in_effect else f"no: {condition.why}"
        table.add_row(condition.name, condition.first, condition.second, differed)
    stdout.print(table)
    for what, digest in (("lock", proof.expected), ("first", proof.first), ("second", proof.second)):
        stdout.print(f"{what:7} {proof.image}@{digest}", markup=False, highlight=False)
    if proof.finding is not None:
        said = f"Between {proof.finding.between}: {proof.finding.problem}"
        stdout.print(said, markup=False, highlight=False, soft_wrap=True)
    return code


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f} MB"
