"""Maintainer scripts read once more, to hold against what a lock says that they do."""

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import msgspec

from harness.locking.debian import DebianLock
from harness.locking.scripts import read_scripts
from harness.spec.digest import Digest
from harness.store.store import CorruptObjectError, MissingObjectError, Store


def read_again(lock: DebianLock, file_of: Callable[[Digest], Path | None]) -> DebianLock:
    """The lock with the scripts of each package as they are read now, where `file_of` has its file.

    Raises:
        IntegrityError: a file is no Debian package, or damaged.
    """
    packages = []
    for package in lock.packages:
        path = file_of(package.digest)
        scripts = read_scripts(path, package.name, lock.architecture) if path else package.scripts
        packages.append(msgspec.structs.replace(package, scripts=scripts))
    return msgspec.structs.replace(lock, packages=tuple(packages))


def other_scripts(before: DebianLock, after: DebianLock) -> list[str]:
    """Which scripts of the same packages two locks describe differently: `the postinst of libc6`."""
    return [
        f"the {(one or other).name} of {old.name}"
        for old, new in zip(before.packages, after.packages, strict=True)
        for one, other in zip_longest(old.scripts, new.scripts)
        if one != other
    ]


def stored(store: Store) -> Callable[[Digest], Path | None]:
    """A function to an object's path, checked; null where the store does not hold it whole."""

    def path(digest: Digest) -> Path | None:
        try:
            return store.verified_path(digest)
        except (MissingObjectError, CorruptObjectError):
            return None

    return path
