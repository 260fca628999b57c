import os
import shutil
import types

import pytest

from harness.strict.listings import sort_listings

NAMES = ["b", "a", "ç", "B", "\udcff"]


@pytest.fixture
def sorted_os():
    """The functions of `os` that list, sorted, apart from the ones that the tests themselves use."""
    module = types.ModuleType("os")
    module.listdir, module.scandir, module.supports_fd = os.listdir, os.scandir, set()
    sort_listings(module)
    return module


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def test_names_come_in_order_as_text_as_bytes_and_by_descriptor(sorted_os, folder):
    assert sorted_os.listdir(folder) == sorted_os.listdir(str(folder)) == sorted(NAMES)
    assert sorted_os.listdir(os.fsencode(folder)) == sorted(map(os.fsencode, NAMES))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        assert sorted_os.listdir(descriptor) == sorted(NAMES)
        with sorted_os.scandir(descriptor) as entries:
            assert [entry.name for entry in entries] == sorted(NAMES)
    finally:
        os.close(descriptor)


def test_entries_are_the_originals_and_iterate_once(sorted_os, folder):
    entries = sorted_os.scandir(folder)
    first = next(entries)
    assert isinstance(first, os.DirEntry)
    assert (first.name, first.path, first.is_file()) == ("B", str(folder / "B"), True)
    assert [entry.name for entry in entries] == sorted(NAMES)[1:]
    assert list(entries) == []


def test_a_listing_that_was_closed_has_ended(sorted_os, folder):
    with sorted_os.scandir(folder) as entries:
        next(entries)
    assert list(entries) == []
    closed = sorted_os.scandir(folder)
    closed.close()
    closed.close()
    assert list(closed) == []


@pytest.mark.parametrize("name", ["listdir", "scandir"])
def test_errors_are_the_originals(sorted_os, tmp_path, name):
    for wrong, error in ((tmp_path / "no", FileNotFoundError), (3.5, TypeError), ("\0", ValueError)):
        with pytest.raises(error) as ours:
            getattr(sorted_os, name)(wrong)
        with pytest.raises(error) as theirs:
            getattr(os, name)(wrong)
        assert str(ours.value) == str(theirs.value)


def test_what_asks_for_support_of_descriptors_finds_it(sorted_os):
    assert {sorted_os.listdir, sorted_os.scandir} <= sorted_os.supports_fd
    assert sorted_os.listdir.__name__ == "listdir"


def test_a_strict_script_lists_in_order_and_removes_trees_safely(script):
    code = (
        "import os, glob, pathlib, shutil, tempfile\n"
        "folder = tempfile.mkdtemp(dir='/dev/shm')\n"
        "for name in ('b', 'a', 'c'): pathlib.Path(folder, name).mkdir()\n"
        "pathlib.Path(folder, 'b', 'x').touch()\n"
        "print(os.listdir(folder), [p.name for p in pathlib.Path(folder).iterdir()], next(os.walk(folder))[1])\n"
        "print(shutil.rmtree.avoids_symlink_attacks, len(list(os.fwalk(folder))))\n"
        "shutil.rmtree(folder); print(os.path.exists(folder))\n"
    )
    ended = script(code)
    assert ended.stdout.splitlines() == [
        "['a', 'b', 'c'] ['a', 'b', 'c'] ['a', 'b', 'c']",
        f"{shutil.rmtree.avoids_symlink_attacks} 4",
        "False",
    ], ended.stderr
    assert "['a', 'b', 'c']" not in script(code, mode="best_effort").stdout.splitlines()[0][:20]
