"""Which places are refused for a report, and which are not."""

import subprocess
from pathlib import Path

import pytest

import harness
from harness.errors import UsageError
from harness.release.outputs import check_guarded, guarded_places

FILES = (
    "docker/cpu.yaml", "lockfiles/cpu/image.lock", "harness/configs/drift.yaml", "pyproject.toml", "kept/report.json",
    "out/runs/x/manifest.json", "out/history.jsonl", "out/releases/v1/sign-off.json", "out/drift.json",
    "other/runs/x.json", "mine.yaml", "sub/harness/x.json", "drift.json",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout, in a repository that tracks one report."""
    root = tmp_path / "checkout"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("as it was")
    (root / "link").symlink_to("kept/report.json")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    subprocess.run(["git", "-C", root, "add", "kept/report.json"], check=True)
    return root


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("docker/cpu.yaml", "is read by the check"),
        ("docker/new.json", "is read by the check"),
        ("lockfiles/cpu/image.lock", "is read by the check"),
        ("harness/configs/drift.yaml", "is read by the check"),
        ("pyproject.toml", "is read by the check"),
        ("sub/../pyproject.toml", "is read by the check"),
        ("mine.yaml", "is read by the check"),
        (".git/index", "is read by the check"),
        (str(Path(harness.__file__).parent / "configs" / "drift.yaml"), "is read by the check"),
        ("out/runs/x/manifest.json", "is what earlier runs and releases left"),
        ("out/runs/new.json", "is what earlier runs and releases left"),
        ("out/history.jsonl", "is what earlier runs and releases left"),
        ("out/releases/v1/sign-off.json", "is what earlier runs and releases left"),
        ("kept/report.json", "git tracks "),
        ("link", "git tracks "),
    ],
)
def test_what_a_check_reads_what_was_recorded_and_what_git_tracks_is_guarded(root: Path, place: str, said: str) -> None:
    guarded = guarded_places(root, root / "out", [root / "mine.yaml", root / "sub"])
    with pytest.raises(UsageError, match=said):
        check_guarded(root / place, guarded)


@pytest.mark.parametrize(
    "place", ["drift.json", "out/drift.json", "other/runs/x.json", "sub/harness/x.json", "kept/new.json", "new.json"]
)
def test_what_is_anybodys_is_not_guarded(root: Path, place: str) -> None:
    check_guarded(root / place, guarded_places(root, root / "out", [root / "mine.yaml", root / "sub"]))


def test_without_a_repository_what_the_check_reads_is_guarded_all_the_same(root: Path) -> None:
    (root / ".git").rename(root / "was-git")
    guarded = guarded_places(root, root / "out", [])
    check_guarded(root / "kept" / "report.json", guarded)
    with pytest.raises(UsageError, match="is read by the check"):
        check_guarded(root / "pyproject.toml", guarded)


def test_a_checkout_below_its_repository_is_guarded_by_the_whole_of_it(root: Path) -> None:
    with pytest.raises(UsageError, match="git tracks "):
        check_guarded(root / "kept" / "report.json", guarded_places(root / "sub", root / "out", []))
