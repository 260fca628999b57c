"""The architectures that images are made for: what Debian, OCI and wheels call each, and which wheels fit one."""

import platform
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from packaging.tags import Tag, compatible_tags, cpython_tags

from harness.errors import PrerequisiteError


class Architecture(msgspec.Struct, frozen=True):
    """`name` is Debian's and OCI's word, `machine` the kernel's and wheels'; `variant` is OCI's, null where none is.

    Words: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md#platform-variants
    """

    name: str
    machine: str
    variant: str | None = None


ARCHITECTURES = {
    "amd64": Architecture("amd64", "x86_64"),
    "arm64": Architecture("arm64", "aarch64", "v8"),
}

# What kernels call a processor that goes by another name in wheels.
_OTHER_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


def machine_of(target: str) -> str:
    """The machine of a platform in uv's words: `aarch64` of `aarch64-manylinux_2_36`."""
    return target.partition("-")[0]


def not_here(architecture: str, *, machine: str | None = None) -> str | None:
    """Why an image of that architecture does not run on this machine (or on `machine`), in half a sentence."""
    here = machine or platform.machine()
    here = _OTHER_NAMES.get(here.lower(), here)
    known = ARCHITECTURES.get(architecture)
    if known is not None and known.machine == here:
        return None
    return f"it is for {architecture}, and this machine is {here}"


def require_architecture(image: str, architecture: str) -> None:
    """Refuse to run an image of another architecture; building, exporting and pushing one is possible anywhere.

    Raises:
        PrerequisiteError: it is not this machine's. Under emulation it might start, but its numbers would be the
            emulator's.
    """
    if reason := not_here(architecture):
        raise PrerequisiteError(
            f"The image {image} does not run here: {reason}",
            hint="Run it on such a machine, or name another image (--image).",
        )


@lru_cache
def target_tags(python: str, target: str) -> tuple[Tag, ...]:
    """The tags that a platform in uv's words (`x86_64-manylinux_2_36`) and a version of CPython accept, best first."""
    machine, _, newest = target.partition("-manylinux_2_")
    platforms = []
    for minor in range(int(newest), 4, -1):
        platforms.append(f"manylinux_2_{minor}_{machine}")
        if older := {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}.get(minor):
            platforms.append(f"{older}_{machine}")
    platforms.append(f"linux_{machine}")
    version = [int(part) for part in python.split(".")]
    interpreter = f"cp{''.join(map(str, version))}"
    return (*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms))


@lru_cache
def _accepted(python: str, target: str) -> frozenset[Tag]:
    return frozenset(target_tags(python, target))


def fits(tags: Iterable[Tag], python: str, target: str) -> bool:
    """Whether a wheel with these tags can be installed there."""
    return not _accepted(python, target).isdisjoint(tags)
