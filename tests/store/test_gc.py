"""What may go from a store, and what must stay whoever works with it at the moment."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, hexadecimal
from harness.store.gc import Findings, Kind, find_garbage, remove_garbage
from harness.store.store import LEASES, MissingObjectError, Store
from harness.store.trees import checkout_tree, put_tree_from_files

DAY = 86400.0
ROOT = Path(harness.__file__).parents[1]


def age(path: Path, days: float) -> Path:
    """Let something have been used last so many days ago."""
    then = time.time() - days * DAY
    os.utime(path, (then, then), follow_symlinks=False)
    return path


def old_object(store: Store, data: bytes, days: float = 10) -> Digest:
    digest = store.put_bytes(data)
    age(store.path(digest), days)
    return digest


def old_tree(store: Store, files: dict[str, bytes], days: float = 10) -> Digest:
    digest = put_tree_from_files(store, files)
    age(store.path(digest), days)
    age(store.home / "trees" / hexadecimal(digest), days)
    return digest


def found(store: Store, *needed: Digest, older_than: float = DAY) -> Findings:
    return find_garbage(store, map(hexadecimal, needed), older_than=older_than)


def paths(findings: Findings) -> set[str]:
    return {item.path.rpartition("/")[2] for item in findings.garbage}


def collect(store: Store, *needed: Digest, older_than: float = DAY) -> None:
    remove_garbage(store, found(store, *needed, older_than=older_than))


def test_what_is_needed_stays_and_an_orphan_goes(store):
    needed, orphan = old_object(store, b"needed"), old_object(store, b"orphan")
    findings = found(store, needed)
    assert paths(findings) == {hexadecimal(orphan)}
    assert [(item.kind, item.size) for item in findings.garbage] == [(Kind.OBJECT, len(b"orphan"))]
    assert store.path(orphan).exists()  # looking removes nothing
    assert [item.path for item in remove_garbage(store, findings)] == [item.path for item in findings.garbage]
    assert store.read_bytes(needed) == b"needed"
    with pytest.raises(MissingObjectError):
        store.read_bytes(orphan)
    assert list(store.temporary.iterdir()) == []


def test_a_document_that_is_needed_needs_what_it_names(store):
    layer = old_object(store, b"layer")
    config = old_object(store, b'{"os": "linux"}')
    manifest = old_object(store, f'{{"config": "{config}", "layers": ["{layer}"]}}'.encode())
    opaque = old_object(store, f"no document: {layer}".encode())
    assert paths(found(store, manifest)) == {hexadecimal(opaque)}
    assert paths(found(store, opaque)) == {hexadecimal(one) for one in (manifest, config, layer)}


@pytest.mark.parametrize("before", [0, (4 << 20) - 40, (4 << 20) - 64, (4 << 20) - 63, (8 << 20) - 1])
def test_a_large_document_needs_what_it_names_wherever_that_stands(store, before):
    named, other = old_object(store, b"named"), old_object(store, b"other")
    document = old_object(store, b'{"' + b" " * before + hexadecimal(named).encode() + b" " * (9 << 20) + b'"}')
    assert paths(found(store, document)) == {hexadecimal(other)}


def test_a_tree_goes_with_its_listing_and_stays_with_it(store):
    needed, orphan = old_tree(store, {"a/b.txt": b"1"}), old_tree(store, {"a/b.txt": b"2"})
    collect(store, needed)
    assert (checkout_tree(store, needed) / "a" / "b.txt").read_bytes() == b"1"
    with pytest.raises(MissingObjectError):
        checkout_tree(store, orphan)
    assert not (store.home / "trees" / hexadecimal(orphan)).exists()
    assert not store.path(orphan).exists()


def test_what_was_used_not_long_ago_stays(store):
    digest = old_object(store, b"orphan", days=3)
    assert paths(found(store, older_than=4 * DAY)) == set()
    assert paths(found(store, older_than=2 * DAY)) == {hexadecimal(digest)}


@pytest.mark.parametrize("use", ["has", "read_bytes", "verified_path"])
def test_using_an_object_keeps_it(store, use):
    digest = old_object(store, b"orphan")
    findings = found(store)
    assert paths(findings) == {hexadecimal(digest)}
    getattr(store, use)(digest)
    assert remove_garbage(store, findings) == ()  # although it had been found before
    assert paths(found(store)) == set()


def test_using_a_tree_keeps_it_and_leaves_the_time_that_a_run_sees(store):
    digest = old_tree(store, {"a": b"1"})
    before = (store.home / "trees" / hexadecimal(digest)).stat().st_mtime_ns
    checkout_tree(store, digest)
    assert paths(found(store)) == set()
    assert (store.home / "trees" / hexadecimal(digest)).stat().st_mtime_ns == before


HOLD = """
import sys, time
from pathlib import Path
from harness.store.store import Store
store = Store(Path(sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def user(store: Store) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the store open."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", HOLD, store.home], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_what_was_used_since_a_living_process_opened_the_store_stays(store, user):
    orphan = old_object(store, b"used by it", days=5)
    for lease in (store.home / LEASES).iterdir():
        age(lease, 6)  # it has run for six days
    assert paths(found(store)) == set()
    user.kill()
    user.wait()
    assert paths(found(Store(store.home))) == set()  # this test's own store is as old
    store.close()
    assert paths(found(Store(store.home))) == {hexadecimal(orphan)}


def test_a_killed_process_leaves_no_lease(store, user):
    store.close()
    assert len(list((store.home / LEASES).iterdir())) == 1
    user.kill()
    user.wait()
    assert len(list((Store(store.home).home / LEASES).iterdir())) == 1  # its own


def test_a_forked_child_that_ends_leaves_its_parents_lease(tmp_path):
    code = """
import os, sys
from pathlib import Path
from harness.store.store import Store
store = Store(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
print(len(list((store.home / "leases").iterdir())))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "s"], env=environment, capture_output=True, check=True
    )
    assert said.stdout.split() == [b"1"]
    assert list((tmp_path / "s" / LEASES).iterdir()) == []


def test_partial_downloads_go_unless_they_are_needed_or_under_way(store):
    names = {name: hexadecimal(digest_of(name.encode())) for name in ("needed", "orphan", "under way", "whole")}
    for name in names.values():
        (store.home / "partial" / name).write_bytes(b"half")
        age(store.home / "partial" / name, 10)
    old_object(store, b"whole")
    with (store.home / "partial" / names["under way"]).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        collect(store, digest_of(b"needed"), digest_of(b"whole"))
    left = {path.name for path in (store.home / "partial").iterdir()}
    assert left == {names["needed"], names["under way"]}


def test_what_was_set_aside_goes_once_it_is_old(store):
    digest = store.put_bytes(b"damaged")
    store.corrupt(store.path(digest), digest, "a test")
    assert paths(found(store)) == set()
    findings = found(store, digest, older_than=-1)
    assert findings.garbage == ()  # newer than this test's own lease
    store.close()
    for lease in (store.home / LEASES).iterdir():
        lease.unlink()
    findings = found(store, digest, older_than=-1)
    assert [item.kind for item in findings.garbage] == [Kind.QUARANTINE]
    remove_garbage(store, findings)
    assert list((store.home / "quarantine").iterdir()) == []


def test_an_environment_is_known_by_the_digest_of_its_lock(store):
    for data in (b"lock", b"another lock"):
        folder = store.home / "environments" / f"{hexadecimal(digest_of(data))}-3.11.2-12345678"
        (folder / "bin").mkdir(parents=True)
        age(folder, 10)
    collect(store, digest_of(b"lock"))
    left = [path.name[:64] for path in (store.home / "environments").iterdir()]
    assert left == [hexadecimal(digest_of(b"lock"))]


def test_links_are_neither_followed_nor_removed(store, tmp_path):
    outside = tmp_path / "outside"
    (outside / "aa").mkdir(parents=True)
    victim = outside / "aa" / ("aa" + "0" * 62)
    victim.touch()
    age(victim, 10)
    (store.home / "objects" / "aa").symlink_to(outside / "aa")
    (store.home / "objects" / "bb").mkdir()
    (store.home / "objects" / "bb" / ("bb" + "0" * 62)).symlink_to(victim)
    (store.home / "trees" / ("cc" + "0" * 62)).symlink_to(outside)
    (store.home / "environments").symlink_to(outside)
    findings = found(store)
    assert findings.garbage == ()
    assert findings.foreign == (
        "environments", "objects/aa", "objects/bb/bb" + "0" * 62, "trees/cc" + "0" * 62,
    )  # fmt: skip
    collect(store)
    assert victim.exists()


def test_a_link_inside_a_tree_goes_and_what_it_leads_to_stays(store, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("here")
    tree = store.home / "trees" / hexadecimal(digest_of(b"tree"))
    tree.mkdir()
    (tree / "link").symlink_to(kept)
    (tree / "folder").symlink_to(tmp_path)
    tree.chmod(0o555)
    age(tree, 10)
    collect(store)
    assert not tree.exists()
    assert kept.read_text() == "here"


def test_what_the_harness_did_not_put_there_stays_and_is_named(store):
    (store.home / "objects" / "notes.txt").write_text("mine")
    age(store.home / "objects" / "notes.txt", 10)
    (store.home / "trees" / "photos").mkdir()
    findings = found(store)
    assert findings.foreign == ("objects/notes.txt", "trees/photos")
    remove_garbage(store, findings)
    assert (store.home / "objects" / "notes.txt").read_text() == "mine"


def test_ctrl_c_leaves_each_thing_whole_or_gone(store, monkeypatch):
    trees = [old_tree(store, {f"{number}": b"x" * 100, "deep/file": b"y"}) for number in range(4)]
    calls = []

    def interrupted(path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("harness.store.gc.remove_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(store)
    left = [tree for tree in trees if (store.home / "trees" / hexadecimal(tree)).exists()]
    assert 0 < len(left) <= 4
    assert list(store.temporary.iterdir()) == []
    for tree in left:
        if store.path(tree).exists():
            checkout_tree(store, tree)


def test_a_removal_that_was_killed_is_finished_by_the_next_command(store):
    digest = old_tree(store, {"a": b"1"})
    code = """
import os, sys
from pathlib import Path
import harness.store.gc as gc
from harness.store.store import Store
gc.remove_tree = lambda path: os._exit(9)
store = Store(Path(sys.argv[1]))
gc.remove_garbage(store, gc.find_garbage(store, [], older_than=0))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code, store.home], env=environment, check=False)
    assert ended.returncode == 9
    assert len(list(store.temporary.iterdir())) == 1
    Store(store.home)
    assert list(store.temporary.iterdir()) == []
    assert put_tree_from_files(store, {"a": b"1"}) == digest
    checkout_tree(store, digest)


def test_two_removals_at_once_remove_each_thing_once(store):
    for number in range(20):
        old_object(store, f"{number}".encode())
    first, second = found(store), found(store)
    assert len(remove_garbage(store, first)) == 20
    assert remove_garbage(store, second) == ()


WORK = """
import sys
from pathlib import Path
from harness.store.store import Store
from harness.store.trees import checkout_tree, put_tree_from_files
store = Store(Path(sys.argv[1]))
digests = [store.put_bytes(f"object {number}".encode()) for number in range(20)]
tree = put_tree_from_files(store, {"a/b": b"tree"})
print("ready", flush=True)
for line in sys.stdin:
    for digest in digests:
        store.read_bytes(digest)
    checkout_tree(store, tree)
    print("all there", flush=True)
"""


def test_a_worker_finds_everything_that_it_put_while_others_collect_over_and_over(store):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORK, store.home],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1,
    )  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    store.close()
    for _ in range(10):
        collect(Store(store.home), older_than=0)
        worker.stdin.write("look\n")
        assert worker.stdout.readline() == "all there\n"
    worker.stdin.close()
    worker.wait()
    collector = Store(store.home)
    collector.close()
    assert len(found(collector, older_than=-1).garbage) == 22  # 20 objects, a tree and its listing
    remove_garbage(collector, found(collector, older_than=-1))
    assert found(collector, older_than=-1).garbage == ()
