import hashlib
import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import UsageError
from harness.store import trees
from harness.store.store import CorruptObjectError, MissingObjectError, Store
from harness.store.trees import checkout_tree, put_tree, put_tree_from_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "package" / "inner").mkdir(parents=True)
    (folder / "package" / "a.py").write_text("a = 1\n")
    (folder / "package" / "inner" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "package" / "inner" / "run.sh").chmod(0o755)
    (folder / "package" / "link").symlink_to("inner/run.sh")
    (folder / "empty").mkdir()
    return folder


def test_a_checked_out_folder_has_the_same_files_links_and_executable_bits_and_cannot_be_written(store, source):
    folder = checkout_tree(store, put_tree(store, source))
    assert (folder / "package" / "a.py").read_text() == "a = 1\n"
    assert (folder / "package" / "link").readlink() == Path("inner/run.sh")
    assert (folder / "empty").is_dir()
    modes = [
        oct(path.lstat().st_mode & 0o777) for path in (folder, folder / "package" / "a.py", folder / "package" / "link")
    ]
    assert modes == ["0o555", "0o444", "0o777"]
    assert (folder / "package" / "inner" / "run.sh").stat().st_mode & 0o777 == 0o555


def test_the_digest_is_that_of_the_content_alone(store, source, tmp_path):
    digest = put_tree(store, source)
    os.utime(source / "package" / "a.py", (0, 0))
    (source / "package" / "a.py").chmod(0o600)
    moved = source.rename(tmp_path / "elsewhere")
    assert put_tree(store, moved) == digest
    assert put_tree(Store(tmp_path / "other"), moved) == digest


def change_content(folder: Path) -> None:
    (folder / "package" / "a.py").write_text("a = 2\n")


def change_name(folder: Path) -> None:
    (folder / "package" / "a.py").rename(folder / "package" / "b.py")


def change_bit(folder: Path) -> None:
    (folder / "package" / "a.py").chmod(0o755)


def change_link(folder: Path) -> None:
    (folder / "package" / "link").unlink()
    (folder / "package" / "link").symlink_to("a.py")


def change_kind(folder: Path) -> None:
    (folder / "package" / "link").unlink()
    (folder / "package" / "link").write_text("inner/run.sh")


def add_folder(folder: Path) -> None:
    (folder / "package" / "new").mkdir()


CHANGES = [change_content, change_name, change_bit, change_link, change_kind, add_folder]


@pytest.mark.parametrize("change", CHANGES)
def test_every_kind_of_change_changes_the_digest(store, source, change):
    before = put_tree(store, source)
    change(source)
    assert put_tree(store, source) != before


@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_folder_is_named_set_aside_and_made_again(store, source, change):
    digest = put_tree(store, source)
    folder = checkout_tree(store, digest)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() or path.name == "a.py":
            path.chmod(0o755 if path.is_dir() else 0o644)
    change(folder)
    with pytest.raises(CorruptObjectError, match=f"{digest}.*package/"):
        checkout_tree(store, digest)
    assert len(list((store.home / "quarantine").iterdir())) == 1
    with pytest.raises(MissingObjectError):
        checkout_tree(store, digest)
    assert put_tree(store, source) == digest
    checkout_tree(store, digest)


def test_an_altered_folder_is_replaced_when_it_is_put_again(store, source):
    digest = put_tree(store, source)
    path = checkout_tree(store, digest) / "package" / "a.py"
    path.chmod(0o644)
    path.write_text("a = 3\n")
    assert put_tree(store, source) == digest
    assert (checkout_tree(store, digest) / "package" / "a.py").read_text() == "a = 1\n"


def test_what_is_refused_by_the_caller_is_left_out_and_not_looked_into(store, source):
    asked = []

    def include(path: str) -> bool:
        asked.append(path)
        return path != "package/inner"

    folder = checkout_tree(store, put_tree(store, source, include=include))
    assert sorted(path.name for path in (folder / "package").iterdir()) == ["a.py", "link"]
    assert not [path for path in asked if path.startswith("package/inner/")]


def test_the_store_itself_is_left_out(source):
    store = Store(source / "store")
    folder = checkout_tree(store, put_tree(store, source))
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "package"]


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../outside", "..", "../package/../..", "inner/../../..", "../.."]
)
def test_a_link_that_leads_out_is_refused(store, source, target):
    (source / "package" / "bad").symlink_to(target)
    if target == "..":
        put_tree(store, source)  # the root itself is still inside
        return
    with pytest.raises(UsageError, match="package/bad leads out"):
        put_tree(store, source)


def test_a_link_cannot_climb_out_through_another_link(store, source):
    (source / "here").symlink_to(".")
    (source / "bad").symlink_to("here/here/../..")
    with pytest.raises(UsageError, match="bad leads out"):
        put_tree(store, source)


def test_a_pipe_or_socket_is_refused_and_not_read(store, source):
    os.mkfifo(source / "pipe")
    with pytest.raises(UsageError, match="pipe is neither"):
        put_tree(store, source)
    (source / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(source / "socket"))
        with pytest.raises(UsageError, match="socket is neither"):
            put_tree(store, source)


def test_a_name_that_is_not_unicode_is_refused(store, source):
    (Path(os.fsdecode(os.fsencode(source) + b"/bad\xff"))).write_text("")
    with pytest.raises(UsageError, match=r"not UTF-8: b'bad\\xff'"):
        put_tree(store, source)


def test_a_file_that_changes_while_it_is_copied_is_refused(store, source, monkeypatch):
    class Slow:
        def __init__(self):
            self._hash = hashlib.sha256()

        def update(self, data):
            (source / "package" / "a.py").write_text("a = 1 and more\n")
            self._hash.update(data)

        def hexdigest(self):
            return self._hash.hexdigest()

    monkeypatch.setattr(trees, "hashlib", SimpleNamespace(sha256=Slow))
    with pytest.raises(UsageError, match=r"a\.py changed while it was copied"):
        put_tree(store, source)
    assert list((store.home / "trees").iterdir()) == []


def test_a_missing_folder_is_refused(store, tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        put_tree(store, tmp_path / "nowhere")


def test_a_folder_is_made_from_files_alone(store):
    digest = put_tree_from_files(store, {"task.json": b"{}", "deeper/file": b"x"})
    folder = checkout_tree(store, digest)
    assert (folder / "task.json").read_bytes() == b"{}"
    assert (folder / "deeper" / "file").read_bytes() == b"x"
    assert put_tree_from_files(store, {"deeper/file": b"x", "task.json": b"{}"}) == digest


@pytest.mark.parametrize("name", ["/absolute", "../up", "a/../b", "", ".", "a//b", "./a"])
def test_a_file_has_a_plain_relative_path(store, name):
    with pytest.raises(UsageError, match="not a plain relative path"):
        put_tree_from_files(store, {name: b""})


def test_a_path_cannot_be_file_and_folder(store):
    with pytest.raises(UsageError, match="both a file and a folder"):
        put_tree_from_files(store, {"a": b"", "a/b": b""})


def test_threads_may_put_the_same_folder_at_once(store, source):
    digests = []
    threads = [threading.Thread(target=lambda: digests.append(put_tree(store, source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 4
    assert len(set(digests)) == 1
    checkout_tree(store, digests[0])
