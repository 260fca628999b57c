"""`harness push` and `harness pull`: images to a registry and back, by digest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import open_store
from harness.errors import ExitCode, UsageError
from harness.images.compression import Compression
from harness.runs.project import find_root
from harness.spec.digest import Digest

if TYPE_CHECKING:
    from harness.images.distribution.repository import Repository

Ca = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="Certificates to trust beside the system's, as PEM.")
]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Speak without TLS to a registry that is not on this machine.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What `harness pull --json` prints: `manifest` is the image's own digest, `committed` the images that it is here.

    `transport` is the digest in the registry: another one where layers travelled compressed. `engine` is its
    name in the engine, null where it was left in the store.
    """

    name: str
    manifest: Digest
    config: Digest
    transport: Digest
    committed: tuple[str, ...]
    engine: str | None


def push(
    name: Annotated[str, typer.Argument(metavar="IMAGE", help="The image: a name under docker/.")],
    target: Annotated[str, typer.Argument(metavar="REGISTRY/NAME[:TAG]", help="Where to.")],
    compress: Annotated[Compression, typer.Option(help="How layers travel.")] = Compression.NONE,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="The self-contained image, as `harness build --with-code` makes it.")
    ] = False,
    project: Annotated[
        Path | None, typer.Option(help="With --with-code: the project's folder.", show_default=".")
    ] = None,
    ca: Ca = None,
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> int:
    """Bring an image into a registry, with the credentials of `docker login` or `podman login`.

    Uncompressed, it has the committed digest there too. Compressed layers make another manifest, whose digest depends
    on the compressor's version: both digests are printed, and `harness pull` gives the committed one back.

    Examples:

      harness push cpu registry.example.com/team/cpu

      harness push cpu registry.example.com/team/cpu:v1.3 --compress zstd

      harness push cpu registry.example.com/team/train --with-code        what remote nodes pull

      harness push cpu 127.0.0.1:5000/cpu --json | jq -r .reference

    Credentials are looked for in REGISTRY_AUTH_FILE, podman's auth.json, DOCKER_CONFIG/config.json, helpers included.

    Exit codes: 0 it is there, checked; 2 trouble; 4 the registry has something else than it was given.
    """
    from harness.images.transport import push_image  # urllib3, which other commands need not wait for
    from harness.runs.selfcontained import open_chosen

    if project is not None and not with_code:
        raise UsageError("--project is about --with-code", hint="Add --with-code.")
    project = (project or Path()) if with_code else None
    repository = _repository(target, ca, plain_http=plain_http, push=True)
    store, root = open_store(), find_root(Path.cwd())
    with (
        ConsoleProgress() as progress,
        open_chosen(name, project, root=root, store=store, progress=progress) as image,
    ):
        pushed = push_image(image, repository, store=store, compression=compress, progress=progress)
    if as_json:
        stdout.file.write(msgspec.json.encode(pushed).decode() + "\n")
        return ExitCode.OK
    stdout.print(pushed.reference, markup=False, highlight=False)
    if pushed.manifest != pushed.image:
        said = f"  the digest of the compressed copy there; pulled and unpacked it is {name}@{pushed.image} again"
        stdout.print(said, markup=False, highlight=False)
    return ExitCode.OK


def pull(
    source: Annotated[str, typer.Argument(metavar="REGISTRY/NAME@DIGEST", help="The image, by digest.")],
    store_only: Annotated[bool, typer.Option("--store-only", help="Into the store, and not into the engine.")] = False,
    ca: Ca = None,
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> int:
    """Bring an image from a registry into the store and the engine, every layer held against its digest.

    An image of this checkout need then not be built: `harness build`, `run` and `exec` find its layers in the store.

    Examples:

      harness pull registry.example.com/team/cpu@sha256:2dd1f08adc4b15c76b4f1d6b4a4e7aa6e9bb0d3a1b1c8a1a55a0a1c6a4f4a5d1

      harness pull --store-only [::1]:5000/cpu@sha256:2dd1f08adc4b15c76b4f1d6b4a4e7aa6e9bb0d3a1b1c8a1a55a0a1c6a4f4a5d1

    Exit codes: 0 it is here, and its digests are right; 2 trouble; 4 the registry served something else.
    """
    from harness.images.export import list_images
    from harness.images.transport import pull_image

    repository = _repository(source, ca, plain_http=plain_http, push=False)
    store = open_store()
    with ConsoleProgress() as progress:
        image = pull_image(repository, store=store, progress=progress)
        engine = None
        if not store_only:
            from harness.engines.docker import DockerEngine

            engine = DockerEngine(progress=progress).load(image)
    known = tuple(one.name for one in list_images(find_root(Path.cwd()), store) if one.manifest == image.lock.manifest)
    pulled = Pulled(
        name=image.lock.name,
        manifest=image.lock.manifest,
        config=image.lock.config,
        transport=repository.reference.digest or image.lock.manifest,
        committed=known,
        engine=engine,
    )
    if as_json:
        stdout.file.write(msgspec.json.encode(pulled).decode() + "\n")
        return ExitCode.OK
    stdout.print(f"{pulled.name}@{pulled.manifest}", markup=False, highlight=False)
    if pulled.engine:
        stdout.print(f"  in the engine as {pulled.engine}", markup=False, highlight=False)
    if known:
        stdout.print(f"  the committed image {', '.join(known)} of this checkout", markup=False, highlight=False)
    return ExitCode.OK


def _repository(text: str, ca: Path | None, *, plain_http: bool, push: bool) -> "Repository":
    from harness.images.credentials import find_credentials
    from harness.images.distribution.repository import Repository
    from harness.images.remote import parse_remote

    reference = parse_remote(text)
    if push and reference.digest is not None:
        raise UsageError("A push names no digest: it prints the one that comes out", hint="Leave @sha256:… out.")
    credentials = find_credentials(reference.host, reference.name)
    return Repository(reference, credentials=credentials, push=push, ca=ca, plain_http=plain_http)
