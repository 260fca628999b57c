import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.record.hashing import digest_of
from harness.store.store import MARKER, CorruptObjectError, MissingObjectError, Store
from harness.store.writer import ObjectWriter


def objects(store: Store) -> list[Path]:
    return [path for path in (store.home / "objects").rglob("*") if path.is_file()]


def alter(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_an_object_is_found_by_the_digest_of_its_bytes_and_is_read_only(store):
    digest = store.put_bytes(b"bytes")
    assert digest == digest_of(b"bytes")
    assert store.has(digest)
    assert store.read_bytes(digest) == b"bytes"
    assert store.path(digest).stat().st_mode & 0o777 == 0o444
    assert not store.has(digest_of(b"other"))


def test_a_file_is_copied_whole(store, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    digest = store.put_file(source)
    assert store.verified_path(digest).read_bytes() == source.read_bytes()


def test_bytes_other_than_expected_are_refused_and_leave_nothing(store):
    with pytest.raises(IntegrityError, match="not sha256"), store.writer(digest_of(b"right")) as writer:
        writer.write(b"wrong")
    assert objects(store) == []
    assert list(store.temporary.iterdir()) == []


def test_an_exception_while_writing_leaves_nothing(store):
    def give_up(writer: ObjectWriter) -> None:
        writer.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError), store.writer() as writer:
        give_up(writer)
    assert objects(store) == []
    assert list(store.temporary.iterdir()) == []


@pytest.mark.parametrize("altered", [b"byteS", b"byte", b"", b"bytes and more"])
def test_an_altered_object_is_named_and_set_aside_and_can_be_stored_again(store, altered):
    digest = store.put_bytes(b"bytes")
    alter(store.path(digest), altered)
    with pytest.raises(CorruptObjectError, match=digest):
        store.read_bytes(digest)
    assert not store.has(digest)
    assert [path.read_bytes() for path in (store.home / "quarantine").iterdir()] == [altered]
    store.put_bytes(b"bytes")
    assert store.read_bytes(digest) == b"bytes"


def test_an_object_that_is_not_there_is_no_integrity_failure(store):
    with pytest.raises(MissingObjectError):
        store.verified_path(digest_of(b"nowhere"))


def test_threads_may_write_the_same_object_at_once(store):
    threads = [threading.Thread(target=store.put_bytes, args=(b"same" * 100_000,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(objects(store)) == 1
    assert store.read_bytes(digest_of(b"same" * 100_000)) == b"same" * 100_000


def test_a_full_disk_is_named_and_leaves_nothing(store, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrerequisiteError, match=f"disk of the store {store.home} is full"):
        store.put_bytes(b"bytes")
    assert objects(store) == []
    assert list(store.temporary.iterdir()) == []


def test_a_really_full_disk_is_named_and_leaves_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        store = Store(disk / "home")
        with pytest.raises(PrerequisiteError, match="is full"):
            store.put_bytes(os.urandom(4 << 20))
        assert objects(store) == []
        assert list(store.temporary.iterdir()) == []
        store.put_bytes(b"small")
    finally:
        store.close()
        subprocess.run(["umount", disk], check=True)


WRITE_FOR_EVER = """
import os, sys
from pathlib import Path
from harness.store.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    store.put_bytes(os.urandom(1 << 20))
"""

HOLD = """
import sys, time
from pathlib import Path
from harness.store.store import Store
store = Store(Path(sys.argv[1]))
with store.temporary_folder() as folder, store.lock("name"):
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def start(script: str, home: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", script, home], stdout=subprocess.PIPE, text=True, cwd=root)


def test_a_killed_writer_leaves_no_half_object_under_its_name(tmp_path):
    home = tmp_path / "home"
    for delay in (0.01, 0.05, 0.11):
        process = start(WRITE_FOR_EVER, home)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    store = Store(home)
    assert list(store.temporary.iterdir()) == []
    for path in objects(store):
        assert digest_of(path.read_bytes()) == f"sha256:{path.name}"


def test_a_living_process_keeps_its_folder_and_lock_and_a_killed_one_loses_both(tmp_path):
    home = tmp_path / "home"
    process = start(HOLD, home)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    try:
        store = Store(home)
        assert (folder / "file").exists()
        waited = threading.Event()
        entered = threading.Event()

        def enter() -> None:
            with store.lock("name", waiting=waited.set):
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert waited.wait(5)
        assert not entered.wait(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert entered.wait(5)
    thread.join()
    Store(home)
    assert not folder.exists()


def test_a_temporary_folder_goes_with_read_only_folders_in_it(store):
    with store.temporary_folder() as folder:
        (folder / "a").mkdir()
        (folder / "a" / "b").write_text("x")
        (folder / "a").chmod(0o555)
    assert not folder.exists()


def test_the_default_is_the_variable_then_the_cache_folder(tmp_path):
    moved = Store.default({"HARNESS_HOME": str(tmp_path / "moved"), "HOME": str(tmp_path)})
    assert moved.home == tmp_path / "moved"
    assert Store.default({"XDG_CACHE_HOME": str(tmp_path / "xdg")}).home == tmp_path / "xdg" / "hermetic-harness"
    for cache in ({}, {"XDG_CACHE_HOME": "relative"}, {"XDG_CACHE_HOME": "", "HARNESS_HOME": ""}):
        found = Store.default({"HOME": str(tmp_path), **cache}).home
        assert found == tmp_path / ".cache" / "hermetic-harness"


def test_a_home_that_cannot_be_used_is_refused_with_a_way_out(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for home, reason in (
        (str(file), "cannot be used"),
        ("relative/path", "absolute"),
        ("/proc/nowhere", "cannot be used"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            Store.default({"HARNESS_HOME": home})
        assert "HARNESS_HOME" in str(caught.value)


def test_a_home_without_permission_is_refused(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    with pytest.raises(UsageError, match="cannot be used"):
        Store(folder / "home")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "A"])
def test_a_lock_has_a_plain_name(store, name):
    with pytest.raises(ValueError, match="not a name"), store.lock(name):
        pass


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "file",
    ["temporary/thesis/a.tex", "leases/2026/flat.pdf", "thesis.tex", "objects.tex",
     "temporary/0123456789abcdef", ".config/x"],
)  # fmt: skip
def test_a_folder_of_something_else_is_refused_and_nothing_in_it_is_touched(tmp_path, file):
    folder = tmp_path / "mine"
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text("precious")
    before = everything(folder)
    with pytest.raises(UsageError, match="is no store") as caught:
        Store(folder)
    assert "HARNESS_HOME" in str(caught.value.hint)
    assert everything(folder) == before


def test_a_store_leaves_what_it_did_not_claim_itself(tmp_path):
    store = Store(tmp_path / "home")
    leftover = store.temporary / "0123456789abcdef"
    leftover.mkdir()
    own = [store.temporary / "thesis", store.temporary / "0123456789ABCDEF", store.home / "leases" / "flat.pdf"]
    for path in own:
        path.write_text("precious")
    Store(tmp_path / "home")
    assert not leftover.exists()
    assert [path.read_text() for path in own] == ["precious"] * 3


def test_a_store_from_before_there_were_marks_is_adopted(tmp_path):
    digest = Store(tmp_path / "home").put_bytes(b"old")
    (tmp_path / "home" / MARKER).unlink()
    (tmp_path / "home" / "roots").mkdir()
    assert Store(tmp_path / "home").read_bytes(digest) == b"old"
    assert (tmp_path / "home" / MARKER).is_file()


def test_an_empty_folder_and_an_empty_disk_become_stores(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    for name in ("empty", "disk"):
        assert (Store(tmp_path / name).home / MARKER).is_file()


def test_a_marked_store_may_hold_files_of_others(tmp_path):
    store = Store(tmp_path / "home")
    (store.home / "README").write_text("ours, do not touch")
    Store(store.home)
    assert (store.home / "README").read_text() == "ours, do not touch"


def test_another_users_store_is_refused_and_not_touched(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: home.stat().st_uid + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        Store(home)
    assert everything(home) == {}
    for user in (home.stat().st_uid, 0):  # its owner, and root
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        Store(home)


def test_an_object_that_cannot_be_marked_as_used_is_not_used(store, monkeypatch):
    digest = store.put_bytes(b"root's")

    def denied(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "utime", denied)
    for use in (store.has, store.read_bytes):
        with pytest.raises(PrerequisiteError, match="another user's") as caught:
            use(digest)
        assert "chown -R" in str(caught.value.hint)
    monkeypatch.undo()
    assert store.read_bytes(digest) == b"root's"
