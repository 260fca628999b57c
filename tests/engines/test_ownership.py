import os
from pathlib import Path

import pytest

from harness.engines.ownership import check_writable, lent_to
from harness.errors import PrerequisiteError, UsageError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
OTHER = (65532, 65532)


def owner(path: Path) -> tuple[int, int]:
    return (path.lstat().st_uid, path.lstat().st_gid)


@needs_root
def test_a_folder_is_lent_with_all_below_it_and_comes_back(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").touch()
    (folder / "link").symlink_to(outside)
    (folder / "dangling").symlink_to("nowhere")
    everything = [folder, *folder.rglob("*")]
    with lent_to(folder, OTHER):
        assert {owner(path) for path in everything} == {OTHER}
        (folder / "made").touch()
        os.chown(folder / "made", *OTHER)
    assert {owner(path) for path in [*everything, folder / "made"]} == {(os.geteuid(), os.getegid())}
    assert owner(outside) == (os.geteuid(), os.getegid())


@needs_root
def test_links_are_changed_themselves_not_what_they_point_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    os.chown(outside, 7, 7)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    with lent_to(folder, OTHER):
        assert owner(outside) == (7, 7)
    assert owner(outside) == (7, 7)


@needs_root
def test_a_folder_comes_back_after_a_failure_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lent_to(tmp_path, OTHER):
        raise KeyboardInterrupt
    assert owner(tmp_path) == (os.geteuid(), os.getegid())


def test_looking_whether_a_folder_can_be_written_leaves_nothing_in_it(tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_output_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not there"):
        check_writable(tmp_path / "nowhere")


def test_an_output_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        check_writable(Path("/proc/self/fd"))  # not even root can make a file there
