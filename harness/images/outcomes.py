"""Which `image.lock`s builds came to with this store, so that an unchanged image need not be planned again to know it.

A lock that is consistent in itself may still be one that no build comes to: one layer less, or another image's.
"""

from pathlib import Path

from harness.locking.imagelock import ImageLock
from harness.locking.lockfile import encode_lock
from harness.record.files import write_atomically
from harness.record.hashing import digest_of
from harness.spec.digest import hexadecimal
from harness.store.store import Store

OUTCOMES = "images"
"""The store's folder of notes: each is called by the digest of a whole lock, and names the manifest in it."""


def note_outcome(lock: ImageLock, store: Store) -> None:
    """Say that a build came to a lock, every layer of it compared.

    Raises:
        PrerequisiteError: the disk is full.
    """
    note = _note(lock, store)
    with store.explaining():
        note.parent.mkdir(exist_ok=True)
        write_atomically(note, _text(lock), durable=False)


def is_outcome(lock: ImageLock, store: Store) -> bool:
    """Whether a build came to this very lock before: its inputs, its layers, their sizes and their order."""
    note = _note(lock, store)
    return store.use(note) and note.read_bytes() == _text(lock)


def _note(lock: ImageLock, store: Store) -> Path:
    return store.home / OUTCOMES / hexadecimal(digest_of(encode_lock(lock)))


def _text(lock: ImageLock) -> bytes:
    return f"{lock.manifest}\n".encode()
