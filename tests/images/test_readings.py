"""What was found in wheels is kept and used again, and nothing that is kept can change an image unnoticed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from image_packages import Checkout

from harness.errors import IntegrityError
from harness.images import readings
from harness.images.build import build
from harness.images.readings import READINGS, Readings
from harness.images.tree import Entry, File
from harness.locking.debfile import DebFile, Target
from harness.locking.debian import read_debian_lock
from harness.locking.python import LockedWheel, read_python_lock
from harness.record.hashing import digest_of
from harness.spec.digest import Digest
from harness.store.store import CorruptObjectError, Store

PLATFORM = "x86_64-manylinux_2_36"


@pytest.fixture
def locked(checkout: Checkout) -> LockedWheel:
    return next(wheel for wheel in read_python_lock(checkout.folder / "python.txt").wheels if wheel.name == "large")


def read(
    store: Store, locked: LockedWheel, *exclude: str, python: str = "3.11", anew: bool = False
) -> list[tuple[str, Entry]]:
    made = Readings(store, store.verified_path, python=python, platform=PLATFORM, exclude=exclude, anew=anew)
    return made.wheel(locked).entries


def contents(entries: list[tuple[str, Entry]]) -> dict[str, tuple[int, str, bytes]]:
    return {
        path: (entry.mode, entry.content.source, b"".join(entry.content.chunks()))
        for path, entry in entries
        if isinstance(entry, File)
    }


def notes(store: Store) -> list[Path]:
    return sorted((store.home / READINGS).iterdir())


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The wheels that were really looked into."""
    names: list[str] = []
    real = readings.wheel.read_wheel

    def watched(locked: LockedWheel, *arguments: object, **options: object) -> object:
        names.append(locked.name)
        return real(locked, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(readings.wheel, "read_wheel", watched)
    return names


def test_a_wheel_is_looked_into_once(checkout: Checkout, locked: LockedWheel, looked: list[str]) -> None:
    first = read(checkout.store, locked)
    assert first
    assert contents(read(checkout.store, locked)) == contents(first)
    assert looked == ["large"]


def test_what_decides_how_it_is_read_makes_another_reading(
    checkout: Checkout, locked: LockedWheel, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(read(checkout.store, locked))
    assert len(contents(read(checkout.store, locked, "*.py"))) < len(whole)
    assert contents(read(checkout.store, locked)) == whole
    read(checkout.store, locked, python="3.12")
    monkeypatch.setattr(readings, "_READER", "another")
    read(checkout.store, locked)
    assert len(looked) == len(notes(checkout.store)) == 4


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", None])
def test_a_reading_that_is_not_whole_is_made_again(
    damage: bytes | None, checkout: Checkout, locked: LockedWheel, looked: list[str]
) -> None:
    first = contents(read(checkout.store, locked))
    (note,) = notes(checkout.store)
    whole = note.read_bytes()
    note.write_bytes(whole.replace(b"0", b"1", 1) if damage is None else damage)
    assert contents(read(checkout.store, locked)) == first
    assert looked == ["large", "large"]
    assert note.read_bytes() == whole


def test_a_file_is_held_against_record_whatever_was_kept(checkout: Checkout, locked: LockedWheel) -> None:
    read(checkout.store, locked)
    path = checkout.store.path(locked.digest)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data.replace(b"PK\x03\x04", b"PK\x03\x05"))
    made = Readings(checkout.store, checkout.store.path, python="3.11", platform=PLATFORM, exclude=(), anew=False)
    with pytest.raises(IntegrityError, match="cannot be unpacked"):
        contents(made.wheel(locked).entries)
    with pytest.raises(CorruptObjectError):
        contents(read(checkout.store, locked))


def test_an_image_made_anew_uses_no_reading(checkout: Checkout, looked: list[str]) -> None:
    lock = build("tiny", root=checkout.root, store=checkout.store, update=True)
    wheels = len(looked)
    assert wheels > 1
    for note in notes(checkout.store):  # each says that its files can be executed, in a whole note
        _, _, text = note.read_bytes().partition(b"\n")
        text = text.replace(b",420,", b",493,")
        note.write_bytes(f"{digest_of(text)}\n".encode() + text)
    assert build("tiny", root=checkout.root, store=checkout.store, update=True) != lock
    assert len(looked) == wheels
    assert build("tiny", root=checkout.root, store=checkout.store, update=True, anew=True) == lock
    assert len(looked) == 2 * wheels


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A word for each package whose data was really unpacked."""
    words: list[object] = []
    real = DebFile.write_data

    def watched(self: DebFile, target: Target) -> None:
        words.append(self)
        real(self, target)

    monkeypatch.setattr(DebFile, "write_data", watched)
    return words


def test_a_package_is_unpacked_once_and_again_when_what_was_kept_is_gone_or_damaged(
    checkout: Checkout, unpacked: list[object], alter: Callable[[Store, Digest], None]
) -> None:
    package = read_debian_lock(checkout.folder / "debian.lock").packages[0]
    made = Readings(
        checkout.store, checkout.store.verified_path, python="3.11", platform=PLATFORM, exclude=(), anew=False
    )
    first = contents(made.package(package))
    assert contents(made.package(package)) == first
    assert len(unpacked) == 1
    (note,) = notes(checkout.store)
    kept = Digest(json.loads(note.read_bytes().partition(b"\n")[2])["data"])
    alter(checkout.store, kept)
    assert contents(made.package(package)) == first
    assert len(unpacked) == 2
    checkout.store.path(kept).unlink()
    assert contents(made.package(package)) == first
    assert len(unpacked) == 3
