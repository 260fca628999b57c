"""The environment of a run, by layer: what can change a bit and is neither code, data nor configuration."""

import msgspec

from harness.spec.digest import Digest

SCHEMA = "harness.environment/1"


class Library(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An installed distribution; `digest` is over the file hashes of its RECORD, null where it has none."""

    version: str
    digest: Digest | None


class Cpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dispatch` is what each library really selected (`numpy`, `openblas`, `onednn`, `aten`, …)."""

    architecture: str
    vendor: str
    family: str
    model: str
    model_name: str
    dispatch: dict[str, str]


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The GPU and the libraries that drive it."""

    name: str
    compute_capability: str
    multiprocessors: int
    driver: str
    libraries: dict[str, str]


class Captured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run says of itself from inside (`$HARNESS_OUTPUT/environment.json`), written with the standard library.

    `settings` are the numeric variables as found, `probe` the digests by library and kernel, `host` what is recorded
    but never compared (kernel, cores).
    """

    schema: str = SCHEMA
    python: dict[str, str]
    libraries: dict[str, Library]
    native: dict[str, str]
    cpu: Cpu
    gpu: Gpu | None
    settings: dict[str, str]
    probe: dict[str, dict[str, Digest]]
    host: dict[str, str]
