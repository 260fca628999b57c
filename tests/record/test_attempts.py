import os
import time
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.record.attempts import (
    KEPT_SECONDS,
    Attempt,
    Attempts,
    interrupted_runs,
    newest_checkpoints,
    remove_checkpoints_from,
    remove_interrupted,
    take_checkpoints,
    write_attempts,
)
from harness.record.results import RunFolder, leftovers, remove_leftovers


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "RESULTS"


def begin(results: Path, name: str = "a", *, steps: tuple[int, ...] = (), folder: str = "") -> RunFolder:
    """A run in the making that has written checkpoints of these steps."""
    run = RunFolder.create(results, name)
    attempt = Attempt(run_id=f"id-{name}", run_name=name, created_at="2026-01-01T00:00:00.000000Z")
    write_attempts(run.path, Attempts(what="exec it", identity="code: 1\n", attempts=(attempt,)))
    checkpoints = run.path / "work/checkpoints" / folder
    checkpoints.mkdir(parents=True)
    (run.path / "work/project").mkdir()
    (run.path / "work/project/large").write_bytes(bytes(1000))
    for step in steps:
        (checkpoints / f"step-{step:010d}.checkpoint").write_bytes(bytes(step))
    return run


def kill(run: RunFolder) -> None:
    """Let go of the lock, as the system does for a killed process."""
    run._release()


def test_a_run_that_fails_leaves_its_checkpoints_and_nothing_else(results: Path) -> None:
    with begin(results, steps=(5, 10)) as run:
        pass
    [left] = interrupted_runs(results / "runs")
    assert left.path == run.kept
    assert (left.name, left.newest) == ("a", ("step-0000000010.checkpoint",))
    assert sorted(path.name for path in left.path.iterdir()) == ["attempts.json", "checkpoints"]
    assert [path for path in (results / "runs").iterdir() if path != left.path] == []
    assert 15 < left.size < 1000


def test_a_run_that_fails_without_checkpoints_leaves_nothing(results: Path) -> None:
    with begin(results) as run:
        pass
    assert run.kept is None
    assert list((results / "runs").iterdir()) == []


def test_what_a_killed_run_left_is_reduced_to_its_checkpoints(results: Path) -> None:
    kill(begin(results, steps=(5,)))
    kill(begin(results, "b"))
    assert len(leftovers(results)) == 2
    assert len(remove_leftovers(results)) == 2
    assert [left.name for left in interrupted_runs(results / "runs")] == ["a"]
    assert len(list((results / "runs").iterdir())) == 1
    assert remove_leftovers(results) == ()


def test_a_run_that_is_alive_is_not_touched(results: Path) -> None:
    with begin(results, steps=(5,)) as run:
        assert remove_leftovers(results) == ()
        assert interrupted_runs(results / "runs") == ()
        assert (run.path / "work/checkpoints/step-0000000005.checkpoint").exists()


def test_tidying_that_was_killed_half_way_can_be_done_again(results: Path) -> None:
    run = begin(results, steps=(5,))
    (run.path / "work/checkpoints").rename(run.path / "checkpoints")
    kill(run)
    remove_leftovers(results)
    assert [left.newest for left in interrupted_runs(results / "runs")] == [("step-0000000005.checkpoint",)]


def test_links_that_a_program_put_there_are_not_followed(results: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/step-0000000005.checkpoint").write_bytes(b"x")
    run = begin(results)
    (run.path / "work/checkpoints").rmdir()
    (run.path / "work/checkpoints").symlink_to(tmp_path / "mine")
    kill(run)
    remove_leftovers(results)
    assert interrupted_runs(results / "runs") == ()
    assert (tmp_path / "mine/step-0000000005.checkpoint").exists()


def test_the_next_attempt_takes_them_once(results: Path) -> None:
    with begin(results, steps=(5,)):
        pass
    [left] = interrupted_runs(results / "runs")
    with RunFolder.create(results, "b") as run:
        (run.path / "work").mkdir()
        take_checkpoints(left, run.path / "work")
        assert newest_checkpoints(run.path / "work/checkpoints") == ("step-0000000005.checkpoint",)
        assert interrupted_runs(results / "runs") == ()
        with pytest.raises(UsageError, match="Another process has resumed a"):
            take_checkpoints(left, run.path / "work")


def test_what_was_not_strict_is_not_gone_on_with(results: Path) -> None:
    with begin(results, steps=(5,)) as run:
        (run.path / "work/refused.txt").write_text("not strict")
    assert run.kept is None
    assert list((results / "runs").iterdir()) == []


def test_old_ones_are_removed_and_younger_ones_not(results: Path) -> None:
    for name in "ab":
        with begin(results, name, steps=(5,)):
            pass
    old = next(left for left in interrupted_runs(results / "runs") if left.name == "a")
    then = time.time() - KEPT_SECONDS - 60
    os.utime(old.path / "checkpoints/step-0000000005.checkpoint", (then, then))
    assert [path for path, _ in remove_interrupted(results / "runs", older_than=KEPT_SECONDS)] == [old.path]
    assert [left.name for left in interrupted_runs(results / "runs")] == ["b"]
    assert len(remove_interrupted(results / "runs")) == 1


def test_a_damaged_document_is_passed_over(results: Path) -> None:
    with begin(results, steps=(5,)) as run:
        pass
    assert run.kept is not None
    (run.kept / "attempts.json").write_text("{")
    assert interrupted_runs(results / "runs") == ()
    assert len(remove_interrupted(results / "runs")) == 1


def test_going_back_before_a_step_leaves_what_had_ended(tmp_path: Path) -> None:
    for name, steps in (("one/steps", (5, 10)), ("two/finished", (0,)), ("two/steps", (10,))):
        (tmp_path / name).mkdir(parents=True)
        for step in steps:
            (tmp_path / name / f"step-{step:010d}.checkpoint").touch()
    assert remove_checkpoints_from(tmp_path, 6) == 2
    assert newest_checkpoints(tmp_path) == (
        "one/steps/step-0000000005.checkpoint",
        "two/finished/step-0000000000.checkpoint",
    )
