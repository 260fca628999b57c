"""`harness image sbom`: what is in an image, for scanners and auditors."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import ConsoleProgress, stderr, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode, UsageError
from harness.record.files import write_atomically
from harness.runs.project import find_root


def sbom(
    name: Annotated[str, typer.Argument(help="The image: a name under docker/.")] = "cpu",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; stdout if left out.")
    ] = None,
) -> int:
    """Write an image's bill of materials: CycloneDX 1.6, as JSON; the same bytes for the same image.

    It lists the Debian packages and the Python wheels with their digests, licences and dependencies, and the image's
    digest as what they are in. Licences are what the packages declare in a form that can be read, else NOASSERTION.

    Examples:

      harness image sbom cpu --output cpu.cdx.json

      harness image sbom cpu | jq -r '.components[].purl'
    """
    from harness.images.sbom import image_sbom  # late: the library takes a third of a second to load

    if output is not None and output.is_dir():
        raise UsageError(f"{output} is a folder", hint="Give the name of the file to write, such as cpu.cdx.json.")
    with ConsoleProgress() as progress:
        data = image_sbom(name, root=find_root(Path.cwd()), store=open_store(), progress=progress)
    if output is None:
        stdout.file.write(data.decode())
        return ExitCode.OK
    try:
        write_atomically(output, data)
    except OSError as error:
        raise UsageError(f"{output} can't be written: {error.strerror}") from error
    stderr.print(f"Wrote {output}", markup=False, highlight=False)
    return ExitCode.OK
