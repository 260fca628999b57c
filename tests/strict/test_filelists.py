import os
import socket

import pytest

from harness.errors import UsageError
from harness.strict.filelists import Links, sorted_files


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "data"
    for name in ("b.csv", "a.csv", "B.csv", "é.csv", "e\u0301.csv", "sub/a.csv", "sub/deep/c.parquet", "sub.csv",
                 "a-b.csv", ".hidden.csv", ".git/x.csv"):  # fmt: skip
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return top


def names(folder, *arguments, **options):
    return [path.relative_to(folder).as_posix() for path in sorted_files(folder, *arguments, **options)]


def test_files_come_by_the_bytes_of_their_paths(folder):
    found = names(folder)
    assert found == ["B.csv", "a-b.csv", "a.csv", "b.csv", "e\u0301.csv", "sub.csv", "sub/a.csv", "sub/deep/c.parquet",
                     "é.csv"]  # fmt: skip
    assert found == sorted(found, key=lambda name: name.encode())


def test_the_order_in_which_the_system_lists_them_does_not_count(folder, monkeypatch):
    expected = names(folder)
    listed = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: list(listed(path))[::-1])
    assert names(folder) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["B.csv", "a-b.csv", "a.csv", "b.csv", "e\u0301.csv", "sub.csv", "é.csv"]),
        ("sub/*", ["sub/a.csv"]),
        ("sub/**", ["sub/a.csv", "sub/deep/c.parquet"]),
        ("**/a.csv", ["a.csv", "sub/a.csv"]),
        ("**/*.parquet", ["sub/deep/c.parquet"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("?.CSV", []),
    ],
)
def test_a_pattern_means_the_same_everywhere(folder, pattern, expected):
    assert names(folder, pattern) == expected


def test_hidden_files_and_folders_count_where_asked_for(folder):
    assert set(names(folder, hidden=True)) - set(names(folder)) == {".hidden.csv", ".git/x.csv"}


def test_a_link_is_refused_left_out_or_followed_as_told(folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o.csv").touch()
    (folder / "file-link.csv").symlink_to(folder / "a.csv")
    (folder / "folder-link").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="is a link"):
        sorted_files(folder)
    plain = names(folder, links="skip")
    assert not any("link" in name for name in plain)
    assert set(names(folder, links=Links.FOLLOW)) - set(plain) == {"file-link.csv", "folder-link/o.csv"}


def test_a_link_that_leads_nowhere_or_in_a_circle_is_refused(folder):
    (folder / "sub" / "up").symlink_to(folder)
    with pytest.raises(UsageError, match="leads back"):
        sorted_files(folder, links="follow")
    (folder / "sub" / "up").unlink()
    (folder / "gone").symlink_to(folder / "nothing")
    with pytest.raises(UsageError, match="leads nowhere"):
        sorted_files(folder, links="follow")


def test_what_is_no_regular_file_is_not_listed(folder, monkeypatch):
    os.mkfifo(folder / "pipe.csv")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.csv")
        assert not {"pipe.csv", "socket.csv"} & set(names(folder))


def test_a_name_that_is_no_text_is_refused(folder):
    with open(os.fsencode(folder) + b"/\xff.csv", "wb"):  # noqa: PTH123
        pass
    with pytest.raises(UsageError, match="not UTF-8"):
        sorted_files(folder)


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../*", "a/../b", "a//b", "./a"])
def test_a_pattern_that_leads_out_is_refused(folder, pattern):
    with pytest.raises(UsageError, match="no pattern"):
        sorted_files(folder, pattern)


def test_a_missing_folder_and_an_unknown_policy_are_refused(folder):
    with pytest.raises(UsageError, match="There is no folder"):
        sorted_files(folder / "nothing")
    with pytest.raises(UsageError, match="refuse, skip, follow"):
        sorted_files(folder, links="maybe")
