import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.runs.git import GitState, git_state, project_files, require_clean, shown


def test_a_clean_tree_is_its_commit(repository) -> None:
    assert git_state(repository.path) == GitState(repository.head(), False, ())


@pytest.mark.parametrize(("name", "files"), [("tracked.py", ("tracked.py",)), ("new.py", ("new.py",)), ("ignored", ())])
def test_changed_and_new_files_make_it_dirty_and_ignored_ones_do_not(
    repository, name: str, files: tuple[str, ...]
) -> None:
    (repository.path / name).write_text("2\n")
    state = git_state(repository.path)
    assert (state.dirty, state.files) == (bool(files), files)


def test_what_was_moved_staged_or_removed_is_named_by_both_its_names(repository) -> None:
    repository.git("mv", "tracked.py", "moved.py")
    (repository.path / "second.bin").unlink()
    (repository.path / "folder").mkdir()
    (repository.path / "folder" / "new.py").touch()
    assert git_state(repository.path).files == ("folder/new.py", "moved.py", "second.bin", "tracked.py")


def test_names_are_read_whole_whatever_is_in_them(repository) -> None:
    names = ["a\nb", ' "quoted" ', "tab\there", "ö", "->", ":(top)x", "\udcff\udcfe"]
    for name in names:
        (repository.path / name).touch()
    assert git_state(repository.path).files == tuple(sorted(names))
    assert project_files(repository.path) == {"tracked.py", "second.bin", ".gitignore", *names}


def test_a_folder_without_repository_has_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState(None, None)
    assert project_files(tmp_path) is None


def test_a_machine_without_git_has_no_state(repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert git_state(repository.path) == GitState(None, None)


def test_before_the_first_commit_there_is_a_tree_and_no_commit(tmp_path: Path, repository) -> None:
    repository.git("init", "-q", str(tmp_path / "young"))
    assert git_state(tmp_path / "young") == GitState(None, False)
    (tmp_path / "young" / "a").touch()
    assert git_state(tmp_path / "young") == GitState(None, True, ("a",))


def test_a_detached_head_and_a_second_working_tree_are_like_any_other(repository, tmp_path: Path) -> None:
    repository.git("worktree", "add", "-q", "--detach", str(tmp_path / "other"), "HEAD~1")
    first = repository.git("rev-parse", "HEAD~1").decode().strip()
    assert git_state(tmp_path / "other") == GitState(first, False)
    (tmp_path / "other" / "tracked.py").write_text("3\n")
    assert git_state(tmp_path / "other").files == ("tracked.py",)
    assert git_state(repository.path).dirty is False


def test_a_folder_of_a_repository_is_judged_by_itself(repository) -> None:
    (repository.path / "part").mkdir()
    (repository.path / "part" / "a.py").touch()
    repository.commit()
    (repository.path / "tracked.py").write_text("2\n")
    assert git_state(repository.path / "part").dirty is False
    (repository.path / "part" / "a.py").write_text("2\n")
    assert git_state(repository.path / "part").files == ("part/a.py",)
    assert project_files(repository.path / "part") == {"a.py"}


def test_runs_that_are_kept_in_the_tree_do_not_make_it_dirty(repository) -> None:
    results = repository.path / "results"
    for name in ("runs/one/manifest.json", "releases/v1/sign-off.md", "ensembles/e/ensemble.json",
                 "history.jsonl", "notes.txt"):  # fmt: skip
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).touch()
    assert git_state(repository.path, results).files == ("results/notes.txt",)
    assert len(git_state(repository.path).files) == 5
    assert len(git_state(repository.path, repository.path / "elsewhere").files) == 5


def test_a_project_inside_a_run_is_looked_at_all_the_same(repository) -> None:
    assert git_state(repository.path, repository.path.parent).dirty is False
    (repository.path / "runs" / "mine").mkdir(parents=True)
    (repository.path / "runs" / "mine" / "a.py").touch()
    assert git_state(repository.path / "runs" / "mine", repository.path).files == ("runs/mine/a.py",)


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_marks_that_hide_changes_from_git_hide_none_here(repository, mark: str) -> None:
    repository.git("update-index", mark, "tracked.py")
    (repository.path / "tracked.py").write_text("hidden\n")
    assert repository.git("status", "--porcelain") == b""
    assert git_state(repository.path).files == ("tracked.py",)


def test_a_replaced_commit_is_not_taken_for_the_commit(repository) -> None:
    head = repository.head()
    (repository.path / "tracked.py").write_text("2\n")
    other = repository.commit()
    repository.git("update-ref", "refs/heads/main", head)
    repository.git("replace", head, other)
    assert repository.git("status", "--porcelain") == b""
    assert git_state(repository.path) == GitState(head, True, ("tracked.py",))


def test_variables_of_a_hook_do_not_say_which_repository_is_meant(
    repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git_state(repository.path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    assert git_state(repository.path) == expected


def test_looking_runs_no_program_of_the_repository(repository) -> None:
    sprung = repository.lay_trap()
    (repository.path / "tracked.py").write_text("2\n")
    assert git_state(repository.path).files == (".gitattributes", "tracked.py")
    assert project_files(repository.path) is not None
    assert not sprung.exists()
    subprocess.run(["git", "status"], cwd=repository.path, check=False, capture_output=True)
    assert sprung.exists(), "the trap is none"


def test_a_filter_that_cannot_be_switched_off_is_not_run_either(repository) -> None:
    sprung = repository.lay_trap()
    repository.git("config", "filter.a=b.clean", str(repository.path.parent / "trap"))
    (repository.path / ".gitattributes").write_text("* filter=a=b\n")
    (repository.path / "tracked.py").write_text("2\n")
    assert git_state(repository.path) == GitState(None, None)
    assert not sprung.exists()


def test_looking_changes_no_byte_of_the_repository(repository) -> None:
    (repository.path / "tracked.py").touch()
    (repository.path / "new").touch()
    before = repository.state()
    assert git_state(repository.path).files == ("new",)
    assert project_files(repository.path) is not None
    assert repository.state() == before


def test_a_clean_tree_is_let_through(repository) -> None:
    assert require_clean(repository.path) == GitState(repository.head(), False)


def test_a_dirty_tree_is_refused_with_ten_of_its_files_and_how_many_more(repository) -> None:
    for number in range(12):
        (repository.path / f"new{number:02}").touch()
    with pytest.raises(UsageError, match=r"is not clean: new00, .*, new09 and 2 more\n") as refused:
        require_clean(repository.path)
    assert "new10" not in refused.value.message
    assert "Commit" in (refused.value.hint or "")


def test_all_files_are_named_one_a_line_where_that_is_asked_for(repository) -> None:
    names = [f"new{number:02}" for number in range(12)]
    for name in (*names, "a\nb"):
        (repository.path / name).touch()
    with pytest.raises(UsageError) as refused:
        require_clean(repository.path, whole=True)
    assert refused.value.message.splitlines()[1:] == ['  "a\\nb"', *(f"  {name}" for name in names)]


def test_no_repository_and_no_commit_are_not_clean(tmp_path: Path, repository) -> None:
    with pytest.raises(UsageError, match="in no git repository"):
        require_clean(tmp_path)
    repository.git("init", "-q", str(tmp_path / "young"))
    with pytest.raises(UsageError, match="without a commit"):
        require_clean(tmp_path / "young")


@pytest.mark.parametrize(("name", "said"), [("a b", "a b"), ("a\nb", '"a\\nb"'), ("\udcff", '"\\udcff"'), (" ", '" "')])
def test_a_name_is_shown_on_one_line(name: str, said: str) -> None:
    assert shown(name) == said
