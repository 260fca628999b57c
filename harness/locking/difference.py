"""What is different between two locks, package by package: pure, and quick for locks of many hundred packages."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

import msgspec
from debian.debian_support import Version as DebianVersion
from packaging.version import Version

from harness.locking.debian import DebianLock
from harness.locking.python import PythonLock
from harness.locking.requirements import LockedRequirement
from harness.spec.digest import Digest


class ChangeKind(StrEnum):
    """What happened to a package. `rebuilt`: the same version, from other files."""

    ADDED = "added"
    REMOVED = "removed"
    UPGRADED = "upgraded"
    DOWNGRADED = "downgraded"
    REBUILT = "rebuilt"


class LockChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One package that a lock holds otherwise than before. `lock` is the lock's path below the checkout.

    Versions and digests are null on the side where the package is not. The digest is its file's; in a lock that holds
    the files of every platform (`host.txt`), the digest of all their hashes.
    """

    lock: str
    package: str
    kind: ChangeKind
    before: str | None
    after: str | None
    digest_before: Digest | None
    digest_after: Digest | None


class Held(msgspec.Struct, frozen=True):
    """What a lock says of one package."""

    version: str
    digest: Digest


Compare = Callable[[str, str], bool]


def python_difference(lock: str, before: PythonLock | None, after: PythonLock | None) -> tuple[LockChange, ...]:
    """The wheels that are not as they were, sorted by name; null stands for a lock that is not there."""
    return difference(lock, _wheels(before), _wheels(after), newer=_newer_python)


def debian_difference(lock: str, before: DebianLock | None, after: DebianLock | None) -> tuple[LockChange, ...]:
    """The Debian packages that are not as they were, sorted by name; null stands for a lock that is not there."""
    return difference(lock, _packages(before), _packages(after), newer=_newer_debian)


def requirements_difference(
    lock: str, before: Iterable[LockedRequirement], after: Iterable[LockedRequirement]
) -> tuple[LockChange, ...]:
    """The requirements of the harness's own locks that are not as they were, sorted by name."""

    def held(entries: Iterable[LockedRequirement]) -> dict[str, Held]:
        return {entry.key: Held(entry.version, entry.digest) for entry in entries}

    return difference(lock, held(before), held(after), newer=_newer_python)


def difference(
    lock: str, before: Mapping[str, Held], after: Mapping[str, Held], *, newer: Compare
) -> tuple[LockChange, ...]:
    """What is different between two mappings of packages; `newer(a, b)` says whether version b is above a."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return tuple(_change(lock, name, before.get(name), after.get(name), newer) for name in names)


def _change(lock: str, name: str, before: Held | None, after: Held | None, newer: Compare) -> LockChange:
    return LockChange(
        lock=lock,
        package=name,
        kind=_kind(before, after, newer),
        before=before.version if before else None,
        after=after.version if after else None,
        digest_before=before.digest if before else None,
        digest_after=after.digest if after else None,
    )


def _kind(before: Held | None, after: Held | None, newer: Compare) -> ChangeKind:
    if before is None:
        return ChangeKind.ADDED
    if after is None:
        return ChangeKind.REMOVED
    if newer(before.version, after.version):
        return ChangeKind.UPGRADED
    return ChangeKind.DOWNGRADED if newer(after.version, before.version) else ChangeKind.REBUILT


def _wheels(lock: PythonLock | None) -> dict[str, Held]:
    return {wheel.name: Held(wheel.version, wheel.digest) for wheel in lock.wheels} if lock else {}


def _packages(lock: DebianLock | None) -> dict[str, Held]:
    return {package.name: Held(package.version, package.digest) for package in lock.packages} if lock else {}


def _newer_python(one: str, other: str) -> bool:
    return Version(one) < Version(other)


def _newer_debian(one: str, other: str) -> bool:
    return bool(DebianVersion(one) < DebianVersion(other))
