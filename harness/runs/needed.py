"""What the store is needed for: the checkouts that use it, with their locks and baselines, and what was kept.

A document needs every sha256 that stands in it. So nothing has to be known of a lock's form, another version's and
another tool's locks count too, and what cannot be understood keeps too much rather than too little.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.record.hashing import digest_of
from harness.runs.bytecode import kept_bytecode
from harness.runs.keeping import pins
from harness.spec.digest import digest_from_hex, hexadecimal
from harness.store.gc import digests_named
from harness.store.roots import LOCKS, noted_checkouts
from harness.store.store import Store

SPECS = "docker"
MAX_BYTES = 64 << 20


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed, as digests in hexadecimal, and by whom: checkouts and the names of what was kept.

    `vanished` are the notes of checkouts that are gone.
    """

    digests: frozenset[str]
    checkouts: tuple[Path, ...]
    kept: tuple[str, ...]
    vanished: tuple[Path, ...]


def find_needed(store: Store) -> Needed:
    """What the store's users need.

    Raises:
        UsageError: a checkout's document cannot be read, so that what it needs is not known.
        HarnessError: likewise, with what was kept.
    """
    notes = noted_checkouts(store)
    checkouts = tuple(sorted(root for root in notes.values() if root is not None))
    digests: set[str] = set()
    for root in checkouts:
        for path in documents(root):
            data = read_bounded(path)
            digests |= digests_named(data)
            digests.add(hexadecimal(digest_of(data)))  # an environment is known by the digest of its lock
    kept = pins(store)
    digests |= {hexadecimal(digest) for pin in kept for digest in pin.digests}
    digests |= {hexadecimal(tree) for tree in kept_bytecode(store, map(digest_from_hex, sorted(digests)))}
    return Needed(
        digests=frozenset(digests),
        checkouts=checkouts,
        kept=tuple(pin.title for pin in kept),
        vanished=tuple(sorted(note for note, root in notes.items() if root is None)),
    )


def documents(root: Path) -> Iterator[Path]:
    """The files of a checkout that say what it needs: specs, locks, baselines.

    Raises:
        UsageError: a folder of them cannot be read.
    """
    for name in (SPECS, LOCKS):
        if (root / name).is_dir():
            yield from _files(root / name)


def read_bounded(path: Path) -> bytes:
    """The bytes of such a file.

    Raises:
        UsageError: it cannot be read, or is larger than any.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unknown(path, error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise _unknown(path, f"it is larger than {MAX_BYTES} bytes")
    return data


def _files(folder: Path) -> Iterator[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise _unknown(folder, error.strerror or str(error)) from error
    for path in found:
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        elif path.is_file():
            yield path


def _unknown(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"What {path} needs of the store cannot be told: {reason}", hint="Nothing was removed. Make it readable."
    )
