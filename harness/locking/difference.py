"""What is different between two locks, package by package: pure, and quick for locks of many hundred packages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    the files of every platform (`host.txt`), the digest of all their hashes. `required_by` is what asks for it now: the
    way to it from what the spec asks for (Debian), or the packages and requirements that need it (Python). Sizes are
    those of the files in bytes, null where nobody here knows them.
    """

    lock: str
    package: str
    kind: ChangeKind
    before: str | None
    after: str | None
    digest_before: Digest | None
    digest_after: Digest | None
    required_by: tuple[str, ...] = ()
    size_before: int | None = None
    size_after: int | None = None


class Held(msgspec.Struct, frozen=True):
    """What a lock says of one package; `size` is of its file, in bytes."""

    version: str
    digest: Digest
    size: int | None = None


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


def explained(
    changes: Iterable[LockChange],
    required_by: Mapping[str, Sequence[str]],
    size: Callable[[Digest], int | None] | None = None,
) -> tuple[LockChange, ...]:
    """The changes with what asks for each package, and with sizes by digest where none is known yet."""

    def known(before: int | None, digest: Digest | None) -> int | None:
        return before if before is not None or digest is None or size is None else size(digest)

    return tuple(
        msgspec.structs.replace(
            change,
            required_by=tuple(required_by.get(change.package, ())) if change.after is not None else (),
            size_before=known(change.size_before, change.digest_before),
            size_after=known(change.size_after, change.digest_after),
        )
        for change in changes
    )


def difference(
    lock: str, before: Mapping[str, Held], after: Mapping[str, Held], *, newer: Compare
) -> tuple[LockChange, ...]:
    """What is different between two mappings of packages; `newer(a, b)` says whether version b is above a."""
    names = sorted(name for name in before.keys() | after.keys() if _file(before, name) != _file(after, name))
    return tuple(_change(lock, name, before.get(name), after.get(name), newer) for name in names)


def _file(held: Mapping[str, Held], name: str) -> tuple[str, Digest] | None:
    return (held[name].version, held[name].digest) if name in held else None


def _change(lock: str, name: str, before: Held | None, after: Held | None, newer: Compare) -> LockChange:
    return LockChange(
        lock=lock,
        package=name,
        kind=_kind(before, after, newer),
        before=before.version if before else None,
        after=after.version if after else None,
        digest_before=before.digest if before else None,
        digest_after=after.digest if after else None,
        size_before=before.size if before else None,
        size_after=after.size if after else None,
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
    if lock is None:
        return {}
    return {package.name: Held(package.version, package.digest, package.size) for package in lock.packages}


def _newer_python(one: str, other: str) -> bool:
    return Version(one) < Version(other)


def _newer_debian(one: str, other: str) -> bool:
    return bool(DebianVersion(one) < DebianVersion(other))
