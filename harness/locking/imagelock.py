"""`image.lock`: the digests that a build must reach, beside the digests of everything that it was made from."""

import msgspec

from harness.locking.base import BaseImage
from harness.spec.digest import Digest

SCHEMA = "harness.image-lock/1"
BUILDER_FORMAT = 2
"""The version of how an image is assembled (`harness.images`): raised when equal inputs come to give other bytes."""

INPUTS = ("spec", "debian.lock", "python.txt", "variables")
"""The order in which a lock names its inputs; others come after these, by name."""


class LayerLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer. It is stored uncompressed, so `digest` is its blob digest and its diff ID alike; `size` is bytes."""

    name: str
    digest: Digest
    size: int


class ImageLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `harness build` must arrive at. `inputs` holds every input's digest by name (spec, locks, variables).

    Its names have one order, whatever order they come in, so that an equal lock has equal bytes wherever it was kept.
    `base` is what the spec's base was found to be; its layers are the first of `layers`. Without one it is not written.
    """

    schema: str = SCHEMA
    name: str
    builder: int
    inputs: dict[str, Digest]
    manifest: Digest
    config: Digest
    layers: tuple[LayerLock, ...]
    base: BaseImage | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        ordered = {name: self.inputs[name] for name in sorted(self.inputs, key=_place)}
        msgspec.structs.force_setattr(self, "inputs", ordered)


def _place(name: str) -> tuple[int, str]:
    return (INPUTS.index(name) if name in INPUTS else len(INPUTS), name)
