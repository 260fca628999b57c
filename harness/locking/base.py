"""What a spec's `base` names: an image under ours, by the digest that is all of it."""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated

import msgspec

from harness.errors import UsageError
from harness.spec.digest import Digest, parse_digest

_FORMS = (
    "Write oci-layout:FOLDER@sha256:…, archive:FILE@sha256:… or REGISTRY/NAME@sha256:…; `skopeo inspect` and "
    "`docker images --digests` tell the digest."
)


class Transport(StrEnum):
    """Where a base is: an OCI layout in a folder, an archive (OCI layout or `docker save`), or a registry."""

    LAYOUT = "oci-layout"
    ARCHIVE = "archive"
    REGISTRY = "registry"


class BaseReference(msgspec.Struct, frozen=True):
    """A base as a spec names it. `place` is a path, relative to the project, or a repository with its registry.

    `digest` is that of a manifest or of an index of several; for an archive of `docker save` that of the config, which
    is the only one that such an archive holds.
    """

    transport: Transport
    place: str
    digest: Digest


class BaseLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer of a base. `digest` is that of the unpacked tar (the diff ID), `blob` that of what its source holds."""

    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=0)]
    blob: Digest


class BaseImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an image takes over from its base: layers from the bottom to the top, and the variables of its config.

    `manifest` is null for a base that has none of its own (`docker save`).
    """

    manifest: Digest | None
    config: Digest
    architecture: str
    variables: dict[str, str]
    layers: tuple[BaseLayer, ...]


def parse_base(text: str) -> BaseReference:
    """What the text of `base` names.

    Raises:
        UsageError: it has no digest but a tag at most, no place, a path that leads out of the project by accident of
            spelling, or no registry.
    """
    place, at, digest = text.rpartition("@")
    if not at or not digest.startswith("sha256:"):
        raise UsageError(
            f"base is {text[:200]!r}, which names no digest: a tag or a path can come to mean another image",
            hint=_FORMS,
        )
    try:
        parsed = parse_digest(digest)
    except UsageError as error:
        raise UsageError(f"base is {text[:300]!r}, and {digest[:100]!r} is not a digest", hint=_FORMS) from error
    transport, colon, path = place.partition(":")
    if colon and transport in (Transport.LAYOUT, Transport.ARCHIVE):
        if not path or not path.isprintable() or str(PurePosixPath(path)) != path:
            raise UsageError(f"base is {text[:300]!r}, and {path!r} is not a plain path", hint=_FORMS)
        return BaseReference(Transport(transport), path, parsed)
    host, slash, name = place.partition("/")
    if not slash or not name or not ("." in host or ":" in host or host == "localhost"):
        raise UsageError(f"base is {text[:300]!r}, which names no registry, folder or archive", hint=_FORMS)
    return BaseReference(Transport.REGISTRY, place, parsed)
