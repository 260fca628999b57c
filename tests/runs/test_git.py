import subprocess
from pathlib import Path

import pytest

from harness.runs.git import GitState, git_state, project_files


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "tracked.py").write_text("1\n")
    (folder / ".gitignore").write_text("ignored\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    return folder


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True).strip()
    assert git_state(repository) == GitState(head, False)


@pytest.mark.parametrize(("name", "dirty"), [("tracked.py", True), ("new.py", True), ("ignored", False)])
def test_changed_and_new_files_make_it_dirty_and_ignored_ones_do_not(repository: Path, name: str, dirty: bool) -> None:
    (repository / name).write_text("2\n")
    assert git_state(repository).dirty is dirty


def test_a_folder_without_repository_has_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState(None, None)
    assert project_files(tmp_path) is None


def test_a_machine_without_git_has_no_state(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert git_state(repository) == GitState(None, None)


def test_a_projects_files_are_those_that_git_tracks_or_would(repository: Path) -> None:
    (repository / "new ö.py").write_text("")
    (repository / "ignored").write_text("")
    assert project_files(repository) == {"tracked.py", ".gitignore", "new ö.py"}


def test_looking_runs_no_program_of_the_repository(repository: Path) -> None:
    trap = repository / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/ran\n")
    trap.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(trap)], cwd=repository, check=True)
    git_state(repository)
    project_files(repository)
    assert not (repository / "ran").exists()
