"""Tidying up as people call it: nothing goes without --delete, and errors are one sentence."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import Checkout

from harness.cli import main as command
from harness.images.build import build
from harness.record.hashing import digest_of
from harness.store.roots import note_checkout
from harness.store.store import Store

Harness = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def checkout(tmp_path: Path, store: Store) -> Checkout:
    checkout = Checkout(tmp_path / "checkout", store).write()
    build("tiny", root=checkout.root, store=store, update=True)
    return checkout


@pytest.fixture
def harness(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], checkout: Checkout, store: Store
) -> Harness:
    """Call the command in this process, in the checkout: exit code, stdout, stderr."""
    monkeypatch.chdir(checkout.root)
    monkeypatch.setenv("HARNESS_HOME", str(store.home))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as stop:
            command.main()
        out, error = capfd.readouterr()
        return int(stop.value.code or 0), out, error

    return call


@pytest.fixture
def orphan(store: Store) -> Path:
    """An object of 3 MB that nobody needs and nobody has used for a month."""
    path = store.path(store.put_bytes(bytes(3_000_000)))
    then = time.time() - 30 * 86400
    os.utime(path, (then, then))
    return path


def test_the_store_is_looked_through_and_nothing_goes(harness: Harness, orphan: Path, checkout: Checkout) -> None:
    code, out, _ = harness("store", "gc")
    assert code == 0
    assert "3.0 MB (1)" in out
    assert f"needed by checkout {checkout.root}" in out
    assert "Nothing was removed: --delete does it." in out
    assert orphan.exists()


def test_delete_removes_the_orphan_and_leaves_what_the_lock_needs(
    harness: Harness, orphan: Path, checkout: Checkout, store: Store
) -> None:
    code, out, _ = harness("store", "gc", "--delete")
    assert (code, orphan.exists()) == (0, False)
    assert "Removed" in out
    assert "Nothing was removed" not in out
    assert all(store.has(digest_of(data)) for data in checkout.wheels.values())


def test_machines_are_told_the_same(harness: Harness, orphan: Path) -> None:
    told = json.loads(harness("store", "gc", "--json")[1])
    assert (told["deleted"], told["freed"]) == (False, 3_000_000)
    assert [(item["kind"], item["size"]) for item in told["removed"]] == [("objects", 3_000_000)]
    assert json.loads(harness("store", "gc", "--delete", "--json")[1])["freed"] == 3_000_000
    assert json.loads(harness("store", "gc", "--json")[1])["freed"] == 0


def test_what_is_younger_than_asked_stays(harness: Harness, orphan: Path) -> None:
    harness("store", "gc", "--older-than", "31d", "--delete")
    assert orphan.exists()
    harness("store", "gc", "--older-than", "29d", "--delete")
    assert not orphan.exists()


@pytest.fixture
def vanished(tmp_path: Path, checkout: Checkout, store: Store) -> Path:
    """A checkout that used the store and is not there any more."""
    root = tmp_path / "gone"
    shutil.copytree(checkout.root, root)
    note_checkout(store, root)
    shutil.rmtree(root)
    return root


def test_a_vanished_checkout_is_named_by_its_path_until_it_is_forgotten(harness: Harness, vanished: Path) -> None:
    code, out, _ = harness("store", "gc", "--delete")
    assert code == 0
    assert str(vanished) in out.replace("\n", "")
    assert "or until --forget" in out.replace("\n", " ")
    told = json.loads(harness("store", "gc", "--json")[1])["vanished"]
    assert [each["checkout"] for each in told] == [str(vanished)]
    assert told[0]["until"] - told[0]["used"] == 30 * 86400
    assert json.loads(harness("store", "gc", "--forget", str(vanished), "--json")[1])["vanished"] == []
    assert harness("store", "gc", "--forget", str(vanished))[0] == 2


def test_a_checkout_that_vanished_long_ago_is_named_once(harness: Harness, vanished: Path, store: Store) -> None:
    then = time.time() - 31 * 86400
    for note in (store.home / "roots").iterdir():
        os.utime(note, (then, then))
    for options in ((), ("--delete",)):
        assert f"gone: checkout '{vanished}'" in harness("store", "gc", *options)[1].replace("\n", "")
    assert "gone" not in harness("store", "gc")[1]


@pytest.mark.parametrize("age", ["", "90", "d", "-1d", "1.5d", "9999999d", "1y", "٣d"])
@pytest.mark.parametrize("words", [("store", "gc"), ("runs", "prune")])
def test_what_is_no_age_is_refused(harness: Harness, orphan: Path, age: str, words: tuple[str, ...]) -> None:
    Path("RESULTS").mkdir()
    code, _, error = harness(*words, f"--older-than={age}", "--delete")
    assert code == 2
    assert "which is no age" in error
    assert orphan.exists()


def test_an_image_is_kept_listed_and_let_go(harness: Harness) -> None:
    assert "Nothing is kept" in harness("keep", "--list")[1]
    assert harness("keep", "tiny", "--note", "rollback")[:2] == (0, "kept: image tiny\n")
    assert "rollback" in harness("keep", "--list")[1]
    listed = json.loads(harness("keep", "--list", "--json")[1])
    assert [(pin["what"], pin["name"], pin["note"]) for pin in listed["pins"]] == [("image", "tiny", "rollback")]
    assert "kept: image tiny" in harness("store", "gc")[1]
    assert harness("keep", "--remove", "tiny")[:2] == (0, "no longer kept: image tiny\n")
    assert harness("keep", "--remove", "tiny")[0] == 2


@pytest.mark.parametrize(
    "words",
    [("keep",), ("keep", "--remove"), ("keep", "nothing"), ("keep", "tiny", "--list"),
     ("keep", "tiny", "--remove", "--note", "x"), ("runs", "prune"), ("runs", "prune", "--keep-last", "3"),
     ("runs", "prune", "--keep-last", "-1"), ("image", "sbom", "nothing"), ("image", "sbom", "tiny", "--output", "."),
     ("image", "sbom", "tiny", "--output", "no/such/folder/x.json")],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(harness: Harness, words: tuple[str, ...]) -> None:
    code, out, error = harness(*words)
    assert (code, out) == (2, "")
    assert "harness: " in error
    assert "Traceback" not in error


def test_a_bill_of_materials_is_printed_or_written_alike(harness: Harness) -> None:
    code, out, _ = harness("image", "sbom", "tiny")
    assert code == 0
    assert harness("image", "sbom", "tiny", "--output", "tiny.cdx.json")[0] == 0
    assert Path("tiny.cdx.json").read_text() == out
    assert json.loads(out)["specVersion"] == "1.6"
