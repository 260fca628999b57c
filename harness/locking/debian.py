"""`debian.lock`: the Debian packages of an image, each with the place and digest of its file. No host names."""

from pathlib import Path
from typing import Annotated

import msgspec

from harness.errors import IntegrityError
from harness.locking.imagespec import ImageSpec
from harness.locking.lockfile import read_lock
from harness.spec.digest import Digest

SCHEMA = "harness.debian-lock/1"

_SEGMENT = r"[A-Za-z0-9+~_%][A-Za-z0-9.+~_%-]*"


class DebianPackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One package. `path` is its file's place below a mirror's base, `size` is bytes.

    `scripts` are the maintainer scripts it would run when installed (`preinst`, `postinst`); the harness runs none.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9+.-]+\Z")]
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9][A-Za-z0-9.+:~-]*\Z")]
    architecture: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+\Z")]
    path: Annotated[str, msgspec.Meta(pattern=rf"^pool/({_SEGMENT}/)+{_SEGMENT}\.deb\Z")]
    size: Annotated[int, msgspec.Meta(ge=1)]
    digest: Digest
    scripts: tuple[str, ...]


class DebianLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The closure of an image's packages, sorted by name.

    `snapshot` is the time (`YYYYMMDDTHHMMSSZ`) at which Debian's snapshot archive holds every file. `inputs` is the
    digest of what the spec asked for.
    """

    schema: str = SCHEMA
    inputs: Digest
    suite: str
    component: str
    architecture: str
    snapshot: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z\Z")]
    packages: tuple[DebianPackage, ...]


def read_debian_lock(path: Path) -> DebianLock:
    """The lock in the file `path`.

    Raises:
        UsageError: the file is not there or cannot be read.
        IntegrityError: it is not a valid lock, or holds a package or file twice.
    """
    lock = read_lock(path, DebianLock, schema=SCHEMA)
    names = [package.name for package in lock.packages]
    if names != sorted(set(names)):
        raise IntegrityError(f"{path}: the packages are not sorted by name, or one is there twice")
    if len({package.path for package in lock.packages}) != len(names):
        raise IntegrityError(f"{path}: two packages have the same file")
    if len({package.digest for package in lock.packages}) != len(names):
        raise IntegrityError(f"{path}: two packages have the same digest")
    for package in lock.packages:
        if package.architecture not in (lock.architecture, "all"):
            raise IntegrityError(f"{path}: {package.name} is for {package.architecture}, not {lock.architecture}")
    return lock


def waiver_problems(spec: ImageSpec, lock: DebianLock) -> list[str]:
    """The packages whose maintainer scripts the spec does not waive, and the waivers for which there is none."""
    scripted = {package.name: package.scripts for package in lock.packages if package.scripts}
    missing = [
        f"the {' and '.join(scripts)} of {name} is not waived"
        for name, scripts in scripted.items()
        if name not in spec.postinst
    ]
    idle = [f"postinst.{name} waives a script that is not there" for name in spec.postinst if name not in scripted]
    return missing + idle
