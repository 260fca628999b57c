import subprocess
from pathlib import Path

import pytest

from harness.errors import ToolError, UsageError
from harness.record.hashing import digest_of
from harness.record.results import RunFolder
from harness.runs import uncommitted
from harness.runs.git import GitState, git_state
from harness.runs.uncommitted import PATCH, Checkout, Uncommitted, keep_checkout, uncommitted_diff
from harness.store.progress import SILENT


def made_again(repository, patch: bytes, commit: str | None) -> dict[bytes, tuple[str, bytes]]:
    """The files of a clone at `commit` once the patch is applied."""
    clone = type(repository)(repository.path.parent / "again")
    repository.git("clone", "-q", "--no-checkout", str(repository.path), str(clone.path))
    if commit is not None:
        clone.git("checkout", "-q", commit)
        clone.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    if patch:
        subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=clone.path, input=patch, check=True)
    return {name: entry for name, entry in clone.files().items() if name != b"ignored"}


def patch_of(repository, **options: object) -> bytes:
    found = uncommitted_diff(repository.path, **options)
    assert found is not None
    assert found.left_out == ()
    return found.patch


def test_commit_and_patch_give_the_files_to_the_byte(repository) -> None:
    head = repository.head()
    path = repository.path
    (path / "tracked.py").write_bytes(b"changed\r\nno newline at the end  ")
    (path / "second.bin").write_bytes(bytes(range(255, -1, -1)) * 3)
    (path / "folder" / "deep").mkdir(parents=True)
    (path / "folder" / "deep" / "new.bin").write_bytes(b"\0\xff" * 1000)
    (path / "empty").touch()
    (path / "program.sh").write_text("#!/bin/sh\n")
    (path / "program.sh").chmod(0o755)
    (path / "link").symlink_to("tracked.py")
    (path / "broken link").symlink_to("nowhere\nat all")
    for name in ("a\nb", "tab\there", "ö", '"q"', "\udcff", " ", "trailing "):
        (path / name).write_text(f"{name!a}\n")
    assert made_again(repository, patch_of(repository), head) == repository.files()


def test_removed_moved_staged_and_replaced_files_are_made_again(repository) -> None:
    for name in ("dir/a", "dir/b", "file", "mode.sh", "kept"):
        (repository.path / name).parent.mkdir(exist_ok=True)
        (repository.path / name).write_text(f"{name}\n")
    head = repository.commit()
    (repository.path / "second.bin").unlink()
    repository.git("mv", "tracked.py", "moved.py")
    for name in ("a", "b"):
        (repository.path / "dir" / name).unlink()
    (repository.path / "dir").rmdir()
    (repository.path / "dir").symlink_to(".")
    (repository.path / "file").unlink()
    (repository.path / "file").mkdir()
    (repository.path / "file" / "inner").write_text("now a folder\n")
    (repository.path / "mode.sh").chmod(0o755)
    (repository.path / "kept").write_text("staged\n")
    repository.git("add", "kept")
    (repository.path / "kept").write_text("and changed again\n")
    (repository.path / "later").write_text("only announced\n")
    repository.git("add", "--intent-to-add", "later")
    before = repository.files()
    assert b"file/inner" in before
    assert b"moved.py" in before
    assert made_again(repository, patch_of(repository), head) == before


def test_a_merge_that_was_left_in_the_middle_is_kept_as_it_lies(repository) -> None:
    repository.git("checkout", "-q", "-b", "other")
    (repository.path / "tracked.py").write_text("theirs\n")
    repository.commit()
    repository.git("checkout", "-q", "main")
    (repository.path / "tracked.py").write_text("ours\n")
    head = repository.commit()
    with pytest.raises(subprocess.CalledProcessError):
        repository.git("merge", "other")
    assert git_state(repository.path).files == ("tracked.py",)
    assert made_again(repository, patch_of(repository), head) == repository.files()
    assert b"<<<<<<<" in repository.files()[b"tracked.py"][1]


def test_before_the_first_commit_the_patch_is_everything(repository, tmp_path: Path) -> None:
    young = type(repository)(tmp_path / "young")
    young.path.mkdir()
    young.git("init", "-q")
    (young.path / "a").write_text("a\n")
    (young.path / "b").write_text("b\n")
    young.git("add", "a")
    patch = patch_of(young)
    assert b"there was no commit yet" in patch
    assert made_again(young, patch, None) == young.files()


def test_a_second_working_tree_has_its_own_patch(repository, tmp_path: Path) -> None:
    repository.git("worktree", "add", "-q", "--detach", str(tmp_path / "other"), "HEAD~1")
    (tmp_path / "other" / "tracked.py").write_text("there\n")
    (repository.path / "tracked.py").write_text("here\n")
    found = uncommitted_diff(tmp_path / "other")
    assert found is not None
    assert b"+there" in found.patch
    assert b"here\n" not in found.patch.replace(b"there", b"")
    assert repository.git("rev-parse", "HEAD~1").strip() in found.patch.splitlines()[0]


def test_submodules_are_looked_into(repository, tmp_path: Path) -> None:
    library = type(repository)(tmp_path / "library")
    library.path.mkdir()
    library.git("init", "-q")
    (library.path / "inner.py").write_text("1\n")
    library.commit()
    repository.git("submodule", "--quiet", "add", str(library.path), "sub folder")
    head = repository.commit()
    assert git_state(repository.path).dirty is False
    (repository.path / "sub folder" / "inner.py").write_text("2\n")
    (repository.path / "sub folder" / "new.py").write_text("3\n")
    (repository.path / "tracked.py").write_text("4\n")
    assert git_state(repository.path).files == ("sub folder/inner.py", "sub folder/new.py", "tracked.py")
    before = repository.state()
    patch = patch_of(repository)
    assert repository.state() == before
    assert library.head().encode() in patch
    assert made_again(repository, patch, head) == repository.files()


def test_a_folder_of_a_repository_has_its_own_changes_alone(repository) -> None:
    (repository.path / "part").mkdir()
    (repository.path / "part" / "a.py").write_text("1\n")
    repository.commit()
    (repository.path / "part" / "a.py").write_text("2\n")
    (repository.path / "tracked.py").write_text("staged\n")
    repository.git("add", "tracked.py")
    found = uncommitted_diff(repository.path / "part")
    assert found is not None
    assert b"b/part/a.py" in found.patch
    assert b"tracked.py" not in found.patch


def test_runs_that_are_kept_in_the_tree_are_not_in_the_patch(repository) -> None:
    results = repository.path / "results"
    (results / "runs" / "one").mkdir(parents=True)
    (results / "runs" / "one" / "predictions.npy").write_text("kept\n")
    (results / "history.jsonl").write_text("tracked\n")
    repository.git("add", str(results / "history.jsonl"))
    repository.commit()
    (results / "history.jsonl").write_text("another line\n")
    (results / "runs" / "one" / "more.npy").write_text("kept\n")
    (repository.path / "tracked.py").write_text("2\n")
    patch = patch_of(repository, results=results)
    assert b"tracked.py" in patch
    assert b"results/" not in patch
    assert b"results/" in patch_of(repository)


def test_large_untracked_files_are_left_out_and_named_with_their_digests(repository) -> None:
    (repository.path / "small.py").write_text("small\n")
    (repository.path / "large\n.bin").write_bytes(b"x" * 3000)
    (repository.path / "tracked.py").write_text("y" * 5000)
    found = uncommitted_diff(repository.path, limit=1000)
    assert found is not None
    assert found.left_out == ("Not in this patch, because they are large: 1 untracked files.",)
    assert f'#   "large\\n.bin" 3000 bytes {digest_of(b"x" * 3000)}\n'.encode() in found.patch
    again = made_again(repository, found.patch, repository.head())
    assert again == {name: entry for name, entry in repository.files().items() if name != b"large\n.bin"}


def test_what_only_the_index_differs_in_says_so(repository) -> None:
    (repository.path / "tracked.py").write_text("2\n")
    repository.git("add", "tracked.py")
    (repository.path / "tracked.py").write_text("1\n")
    assert git_state(repository.path).files == ("tracked.py",)
    assert b"Nothing is to be applied." in patch_of(repository)


def test_an_untracked_repository_is_named_and_not_entered(repository) -> None:
    repository.git("init", "-q", str(repository.path / "nested"))
    (repository.path / "nested" / "a").touch()
    found = uncommitted_diff(repository.path)
    assert found is not None
    assert "repositories of their own" in found.left_out[0]
    assert b'#   "nested/"\n' in found.patch


def test_no_repository_has_no_patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository) -> None:
    assert uncommitted_diff(tmp_path) is None
    monkeypatch.setenv("PATH", "/nonexistent")
    assert uncommitted_diff(repository.path) is None


def test_making_the_patch_runs_no_program_and_changes_no_byte_of_the_repository(repository) -> None:
    (repository.path / "tracked.py").write_text("2\n")
    (repository.path / "new").write_text("3\n")
    sprung = repository.lay_trap()
    before = repository.state()
    times = {path: path.stat().st_mtime_ns for path in before}
    found = uncommitted_diff(repository.path)
    assert isinstance(found, Uncommitted)
    assert b"+2\n" in found.patch
    assert b"+3\n" in found.patch
    assert not sprung.exists()
    assert repository.state() == before
    assert {path: path.stat().st_mtime_ns for path in repository.state()} == times


def test_marks_that_hide_changes_from_git_keep_none_out_of_the_patch(repository) -> None:
    repository.git("update-index", "--assume-unchanged", "tracked.py")
    repository.git("update-index", "--skip-worktree", "second.bin")
    (repository.path / "tracked.py").write_text("hidden\n")
    (repository.path / "second.bin").write_bytes(b"hidden too")
    assert made_again(repository, patch_of(repository), repository.head()) == repository.files()


def test_settings_of_the_user_do_not_change_the_patch(repository, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository.path / "tracked.py").write_text("2\n")
    repository.git("mv", "second.bin", "third.bin")
    plain = patch_of(repository)
    for name, value in {"diff.noprefix": "true", "diff.renames": "copies", "color.ui": "always", "diff.context": "0",
                        "core.quotePath": "false", "status.relativePaths": "true"}.items():  # fmt: skip
        repository.git("config", name, value)
    assert patch_of(repository) == plain


@pytest.mark.parametrize("name", ['a:b"c\\d', "two\nlines", "\udcff"])
def test_a_repository_is_found_whatever_its_path_holds(repository, tmp_path: Path, name: str) -> None:
    odd = type(repository)(tmp_path / name)
    repository.path.rename(odd.path)
    (odd.path / "tracked.py").write_text("2\n")
    assert b"-1\n+2\n" in patch_of(odd)


def test_a_run_keeps_the_patch_and_its_digest(repository, tmp_path: Path) -> None:
    results = repository.path / "RESULTS"
    with RunFolder.create(results, "first") as run:
        clean = keep_checkout(repository.path, run, results, SILENT, clean=True)
        assert (clean, list(run.path.iterdir())) == (Checkout(GitState(repository.head(), False), None), [])
        (repository.path / "tracked.py").write_text("2\n")
        dirty = keep_checkout(repository.path, run, results, SILENT, clean=False)
        assert dirty.git.files == ("tracked.py",)
        assert dirty.diff == digest_of((run.path / PATCH).read_bytes())
        with pytest.raises(UsageError, match=r"not clean: tracked\.py"):
            keep_checkout(repository.path, run, results, SILENT, clean=True)


def test_a_patch_that_cannot_be_made_is_said_and_does_not_stop_the_run(
    repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ToolError("git failed")

    class Notes:
        task = SILENT.task

        def __init__(self) -> None:
            self.said: list[str] = []

        def note(self, message: str) -> None:
            self.said.append(message)

    monkeypatch.setattr(uncommitted, "uncommitted_diff", fail)
    (repository.path / "tracked.py").write_text("2\n")
    notes = Notes()
    with RunFolder.create(repository.path / "RESULTS", "first") as run:
        kept = keep_checkout(repository.path, run, repository.path / "RESULTS", notes, clean=False)
        assert list(run.path.iterdir()) == []
    assert (kept.git.dirty, kept.diff) == (True, None)
    assert notes.said == ["What is not committed could not be kept with the run: git failed"]
