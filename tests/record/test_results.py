import fcntl
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.errors import ExitCode, PrerequisiteError, UsageError
from harness.record.archive import find_runs
from harness.record.results import RunFolder, leftovers, locate_run, refusal, remove_leftovers

ROOT = Path(harness.__file__).parents[1]


def runs_of(results: Path) -> list[str]:
    return sorted(path.name for path in (results / "runs").iterdir())


def python(code: str, *arguments: str | Path, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    argv = [*before, sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


HOLD = """
    import sys, time
    from pathlib import Path
    from harness.record.results import RunFolder
    with RunFolder.create(Path(sys.argv[1]), sys.argv[2]) as folder:
        folder.write("targets/a", b"half")
        print(folder.path, flush=True)
        time.sleep(60)
"""


@pytest.fixture
def holder(results: Path) -> Iterator[subprocess.Popen[str]]:
    process = python(HOLD, results, "a")
    assert process.stdout is not None
    assert process.stdout.readline().strip()
    yield process
    process.kill()
    process.wait()


def test_a_published_run_has_its_name_and_nothing_else_is_left(results: Path) -> None:
    with RunFolder.create(results, "a") as folder:
        assert runs_of(results) == [folder.path.name]
        assert folder.path.name.startswith(".a.partial-")
        folder.write("targets/t/x.json", b"{}")
        folder.write("manifest.json", b"{}")
        final = folder.publish()
    assert runs_of(results) == ["a"]
    assert final == results / "runs" / "a"
    assert (final / "targets" / "t" / "x.json").read_bytes() == b"{}"
    assert sorted(path.name for path in final.rglob("*")) == ["manifest.json", "t", "targets", "x.json"]


def test_every_file_and_folder_is_on_the_disk_before_the_run_has_its_name(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunFolder.create(results, "a") as folder:
        (folder.path / "models").mkdir()
        (folder.path / "models" / "from-the-container.bin").write_bytes(b"x")
        folder.write("manifest.json", b"{}")
        synced: set[int] = set()

        def fsync(descriptor: int) -> None:
            if not folder.final.exists():
                synced.add(os.fstat(descriptor).st_ino)

        monkeypatch.setattr(os, "fsync", fsync)
        final = folder.publish()
    assert {path.stat().st_ino for path in (final, *final.rglob("*"))} == synced


def test_a_run_that_fails_leaves_nothing(results: Path) -> None:
    def fail() -> None:
        with RunFolder.create(results, "a") as folder:
            folder.write("x", b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert runs_of(results) == []
    with RunFolder.create(results, "a"):
        pass
    assert runs_of(results) == []


def test_a_run_without_manifest_is_not_published(results: Path) -> None:
    with RunFolder.create(results, "a") as folder, pytest.raises(UsageError, match="not complete"):
        folder.publish()
    assert runs_of(results) == []


def test_a_name_that_is_taken_is_refused_before_any_work(results: Path) -> None:
    (results / "runs" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="a run a already"):
        RunFolder.create(results, "a")
    assert runs_of(results) == ["a"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_name_taken_meanwhile_is_refused_and_what_has_it_stays(results: Path, kind: str) -> None:
    with RunFolder.create(results, "a") as folder:
        folder.write("manifest.json", b"mine")
        final = results / "runs" / "a"
        match kind:
            case "folder":
                final.mkdir()
                (final / "manifest.json").write_bytes(b"theirs")
            case "file":
                final.write_bytes(b"theirs")
            case "link":
                final.symlink_to("nowhere")
        with pytest.raises(UsageError, match="already"):
            folder.publish()
        assert folder.path.is_dir()
    assert runs_of(results) == ["a"]
    if kind != "link":
        assert (final if kind == "file" else final / "manifest.json").read_bytes() == b"theirs"


def test_two_processes_that_race_for_a_name_never_share_a_folder(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The narrowest moment: the other run is published after the last look and before the rename."""
    with RunFolder.create(results, "a") as folder:
        folder.write("manifest.json", b"mine")
        monkeypatch.setattr("harness.record.results._refuse_taken", lambda final: None)
        (results / "runs" / "a").mkdir()
        (results / "runs" / "a" / "manifest.json").write_bytes(b"theirs")
        with pytest.raises(UsageError, match="already"):
            folder.publish()
    assert (results / "runs" / "a" / "manifest.json").read_bytes() == b"theirs"
    assert runs_of(results) == ["a"]


def test_another_process_that_makes_a_run_of_that_name_is_noticed(results: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(UsageError, match="Another process"):
        RunFolder.create(results, "a")
    with RunFolder.create(results, "b") as other:
        assert other.path.is_dir()


def test_what_a_killed_run_left_is_no_run_is_recognised_and_removed(
    results: Path, holder: subprocess.Popen[str]
) -> None:
    assert leftovers(results) == ()
    assert remove_leftovers(results) == ()
    (partial,) = (results / "runs").iterdir()
    holder.kill()
    holder.wait()
    assert partial.is_dir()
    assert find_runs(results) == ()
    with RunFolder.create(results, "a") as again:
        assert leftovers(results) == (partial,)
        assert remove_leftovers(results) == (partial,)
        assert runs_of(results) == [again.path.name]


def test_cleaning_touches_nothing_but_half_made_runs(results: Path, tmp_path: Path) -> None:
    runs = results / "runs"
    runs.mkdir(parents=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (runs / ".x.partial-link").symlink_to(mine)
    (runs / ".x.partial-file").write_text("mine")
    (runs / ".git").mkdir()
    (runs / "y.partial-abc").mkdir()
    before = runs_of(results)
    assert remove_leftovers(results) == ()
    assert runs_of(results) == before
    assert remove_leftovers(tmp_path / "nowhere") == ()


def test_where_folders_cannot_be_locked_age_alone_counts(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunFolder.create(results, "a") as folder:
        assert remove_leftovers(results) == ()
        os.utime(folder.path, (0, 0))
        assert remove_leftovers(results) == (folder.path,)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\n", "a\u202eb", "-x"])
def test_a_name_that_is_unsafe_is_refused(results: Path, name: str) -> None:
    with pytest.raises(UsageError):
        RunFolder.create(results, name)
    assert not results.exists()


def test_results_may_lie_anywhere_even_above(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with RunFolder.create(tmp_path / "here" / ".." / "RESULTS", "a") as folder:
        folder.write("targets/x.json", b"{}")
        folder.write("manifest.json", b"{}")
        folder.publish()
    assert (tmp_path / "RESULTS/runs/a/targets/x.json").read_bytes() == b"{}"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "", "."])
def test_a_path_that_leads_out_of_the_run_is_refused(results: Path, path: str) -> None:
    with RunFolder.create(results, "a") as folder, pytest.raises(UsageError, match="no path inside"):
        folder.write(path, b"")


def test_a_link_that_the_run_itself_left_is_not_followed(results: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with RunFolder.create(results, "a") as folder:
        (folder.path / "targets").symlink_to(outside)
        with pytest.raises(UsageError, match="through a link"):
            folder.write("targets/t/x.json", b"")
    assert list(outside.iterdir()) == []


def test_a_results_folder_without_a_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="nowhere") as caught:
        RunFolder.create(tmp_path / "nowhere" / "RESULTS", "a")
    assert caught.value.exit_code == ExitCode.USAGE
    assert "--output-dir" in str(caught.value)


def test_a_file_in_the_place_of_the_results_is_named(results: Path) -> None:
    results.write_text("mine")
    with pytest.raises(PrerequisiteError, match="RESULTS"):
        RunFolder.create(results, "a")
    assert results.read_text() == "mine"


def _may_mount() -> bool:
    return shutil.which("unshare") is not None and (
        subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
        ).returncode
        == 0
    )


FAIL = """
    import os, sys
    from pathlib import Path
    from harness.errors import PrerequisiteError
    from harness.record.results import RunFolder
    results = Path(sys.argv[1]) / "RESULTS"
    try:
        with RunFolder.create(results, "a") as folder:
            for number in range(100):
                folder.write(f"targets/{number}", os.urandom(4096))
            folder.publish()
    except PrerequisiteError as error:
        print(error.message)
    print(sorted(str(path.relative_to(results)) for path in results.rglob("*")))
"""


@pytest.mark.skipif(not _may_mount(), reason="needs user namespaces to mount a small file system")
class TestFileSystems:
    def fail(self, folder: Path, options: str, *, after: str = "true") -> list[str]:
        shell = f'mount -t tmpfs -o {options} none "$0" && {after} && exec "$@"'
        process = python(FAIL, folder, before=("unshare", "-rm", "sh", "-c", shell, str(folder)))
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out.splitlines()

    def test_a_full_disk_is_named_and_nothing_is_left(self, tmp_path: Path) -> None:
        message, left = self.fail(tmp_path, "size=128k")
        assert message.startswith("The disk is full: ")
        assert "targets/" in message
        assert left == "['runs']"

    def test_a_read_only_results_folder_is_named(self, tmp_path: Path) -> None:
        message, left = self.fail(tmp_path, "size=1m", after=f"mount -o remount,ro {tmp_path}")
        assert message == f"{tmp_path / 'RESULTS'} cannot be written: read-only file system"
        assert left == "[]"

    def test_with_room_enough_it_only_lacks_its_manifest(self, tmp_path: Path) -> None:
        shell = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
        process = python(FAIL, tmp_path, before=("unshare", "-rm", "sh", "-c", shell, str(tmp_path)))
        _, err = process.communicate(timeout=60)
        assert "it is not complete" in err


@pytest.mark.parametrize(
    ("number", "words"),
    [("ENOSPC", "disk is full"), ("EDQUOT", "disk is full"), ("EACCES", "cannot be written"), ("EROFS", "read-only")],
)
def test_every_failure_to_write_names_the_path_and_what_to_do(number: str, words: str) -> None:
    import errno

    code = getattr(errno, number)
    error = refusal(OSError(code, os.strerror(code)), Path("/some/where"))
    assert words in error.message
    assert "/some/where" in error.message
    assert error.hint


def test_a_run_is_found_by_its_folder_and_by_its_name(
    recorded: Callable[..., Path], results: Path, scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = recorded("first", scene)
    monkeypatch.chdir(tmp_path)
    for text in ("first", str(run), "RESULTS/runs/first", "RESULTS/runs/first/"):
        assert locate_run(text, results).resolve() == run.resolve()


@pytest.mark.parametrize("text", ["firts", "", "..", "a\0b", "x" * 5000, ".first.partial-0"])
def test_a_run_that_is_not_there_is_named_with_those_that_are(
    recorded: Callable[..., Path], results: Path, scene: Any, text: str
) -> None:
    recorded("first", scene)
    with pytest.raises(UsageError) as caught:
        locate_run(text, results)
    if text == "firts":
        assert "firts" in caught.value.message
        assert caught.value.hint == "There is first."
