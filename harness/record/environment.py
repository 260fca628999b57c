"""The environment of a run, by layer: what can change a bit and is neither code, data nor configuration."""

from collections.abc import Mapping
from typing import Any

import msgspec

from harness.record.hashing import signature
from harness.spec.digest import Digest
from harness.spec.run import ImageReference, Profile
from harness.spec.variables import thread_counts

SCHEMA = "harness.environment/1"
PROBED = ("python", "numpy", "scipy", "sklearn", "lightgbm", "xgboost", "torch")
"""What the probe has kernels of, by the names that libraries are imported by; `python` is the C library's functions."""


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

    `settings` are the numeric variables as found and, of a strict run, the edition of the kernels that it puts into
    torch (`strict_kernels`); `probe` the digests by library and kernel, `host` what is recorded but never compared
    (kernel, cores). Entries of `native`, `cpu.dispatch` and `settings` that are named `owner/what` belong to a library
    that only some programs load.
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


def environment_signature(captured: Captured, image: ImageReference | None, profile: Profile) -> Digest:
    """The digest over everything in an environment that can change a bit whatever a program loads.

    Image manifest, Python, libraries, native builds, selected dispatch, GPU and numeric settings; under `native` also
    the CPU's vendor, family, model and instruction sets, under `x86-64-v3` that level instead.

    Left out are `host` and the probe (a cell's probe signature holds it); `owner/what` entries, so that a run of fewer
    families stays comparable (libraries, CPU and settings decide them, and the probe measures what they do); and pinned
    thread counts, because `threads_per_fit` enters the group of the families whose bits depend on it. Where threads are
    free, `settings` holds how many there were.
    """
    return signature(covered_parts(captured, None if image is None else image.manifest, profile))


def covered_parts(captured: Captured, manifest: Digest | None, profile: Profile) -> dict[str, Any]:
    """What the signature is over, by part; `manifest` is the image's, null for a plain process."""
    cpu = captured.cpu
    native = profile is Profile.NATIVE
    return {
        "image": manifest,
        "python": captured.python,
        "libraries": captured.libraries,
        "native": covered(captured.native, profile),
        "cpu": [cpu.architecture, *([cpu.vendor, cpu.family, cpu.model] if native else [profile.value])],
        "dispatch": covered(cpu.dispatch, profile),
        "gpu": captured.gpu,
        "settings": covered(captured.settings, profile),
    }


def covered(entries: Mapping[str, str], profile: Profile) -> dict[str, str]:
    """Those entries of `native`, `cpu.dispatch` or `settings` that the signature covers."""
    left_out = thread_counts() if profile is Profile.NATIVE else {*thread_counts(), "isa"}
    return {name: value for name, value in entries.items() if "/" not in name and name not in left_out}
