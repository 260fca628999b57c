"""An image's config and manifest, as canonical JSON.

Format: https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md and `manifest.md`
"""

from collections.abc import Mapping, Sequence

import msgspec
import rfc8785

from harness.locking.architecture import ARCHITECTURES
from harness.locking.imagelock import LayerLock
from harness.record.hashing import digest_of
from harness.spec.digest import Digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Some engines refuse an image without a time, or with an empty one.
_CREATED = "1970-01-01T00:00:00Z"


def oci_json(value: object) -> bytes:
    """A document of the image as RFC 8785 writes it: the same bytes from every version of every JSON library."""
    return rfc8785.dumps(msgspec.to_builtins(value))


class Documents(msgspec.Struct, frozen=True):
    """The bytes of manifest and config."""

    manifest: bytes
    config: bytes

    @property
    def manifest_digest(self) -> Digest:
        """The image's identity."""
        return digest_of(self.manifest)

    @property
    def config_digest(self) -> Digest:
        """What some engines call the image's id."""
        return digest_of(self.config)


def make_documents(
    name: str,
    *,
    architecture: str,
    variables: Mapping[str, str],
    layers: Sequence[LayerLock],
    builder: int,
    inherited: Mapping[str, str] | None = None,
) -> Documents:
    """Manifest and config of the image `name` that is made of `layers`, bottom first; a pure function.

    `inherited` are the variables of a base. Ours win; the folders of its `PATH` that ours lacks come after ours.
    Nothing else of its config is taken over: neither program, user and working folder, nor volumes and ports.
    """
    inherited = inherited or {}
    folders = [*PATH.split(":"), *filter(None, inherited.get("PATH", "").split(":"))]
    environment = {**inherited, "PATH": ":".join(dict.fromkeys(folders)), **variables}
    variant = ARCHITECTURES[architecture].variant
    config = {
        "architecture": architecture,
        "config": {
            "Cmd": ["python3"],
            "Env": [f"{key}={value}" for key, value in sorted(environment.items())],
            "Labels": {
                "harness.builder": str(builder),
                "harness.image": name,
                "org.opencontainers.image.title": name,
            },
            "WorkingDir": "/",
        },
        "created": _CREATED,
        "history": [{"created": _CREATED, "created_by": f"harness: {layer.name}"} for layer in layers],
        "os": "linux",
        "rootfs": {"diff_ids": [layer.digest for layer in layers], "type": "layers"},
        **({"variant": variant} if variant else {}),
    }
    config_bytes = oci_json(config)
    manifest = {
        "config": descriptor(CONFIG_TYPE, digest_of(config_bytes), len(config_bytes)),
        "layers": [descriptor(LAYER_TYPE, layer.digest, layer.size) for layer in layers],
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    }
    return Documents(oci_json(manifest), config_bytes)


def descriptor(media_type: str, digest: Digest, size: int) -> dict[str, str | int]:
    """How a manifest or index names a blob."""
    return {"digest": digest, "mediaType": media_type, "size": size}
