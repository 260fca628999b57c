import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.errors import IncomparableError, IntegrityError, UsageError
from harness.record.attempts import interrupted_runs
from harness.record.results import RunFolder
from harness.runs.environment import Ground
from harness.runs.publish import Identity
from harness.runs.resume import Resume, attempt_id, begin_attempt, end_attempt, half_made, run_identity
from harness.spec.digest import Digest
from harness.spec.run import Mount, Profile, Resources, RunSpec
from harness.store.progress import Progress


class Notes(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "RESULTS"


def digest(letter: str) -> Digest:
    return Digest("sha256:" + letter * 64)


def begin(
    folder: RunFolder, results: Path, notes: Notes, *, text: str = "code: 1\nseed: 42\n", **asked: Any
) -> tuple[Identity, Any]:
    identity = Identity.new("exec", None, results)
    (folder.path / "work").mkdir()
    resume = Resume.asked(resume=asked.get("resume", False), run=asked.get("run"), before=asked.get("before"))
    return identity, begin_attempt(folder, identity, what="exec it", text=text, resume=resume, progress=notes)


def checkpoint(body: bytes) -> bytes:
    """A checkpoint as it is from outside: what it holds is told by those who read it inside."""
    return f"harness.checkpoint/1 sha256:{hashlib.sha256(body).hexdigest()} {len(body):020d}\n".encode() + body


def interrupt(results: Path, notes: Notes, name: str = "cut", *, steps: tuple[int, ...] = (40, 80)) -> None:
    """A run that fails after it wrote checkpoints."""
    identity = Identity.new("exec", name, results)
    with suppress(KeyboardInterrupt), half_made(identity, notes) as folder:
        (folder.path / "work").mkdir()
        begin_attempt(folder, identity, what="exec it", text="code: 1\nseed: 42\n", resume=None, progress=notes)
        for step in steps:
            (folder.path / f"work/checkpoints/step-{step:010d}.checkpoint").write_bytes(checkpoint(bytes(100_000)))
        raise KeyboardInterrupt


def test_what_an_interrupted_run_left_is_said_with_its_size(results: Path, notes: Notes) -> None:
    interrupt(results, notes)
    [said] = notes.said
    assert "checkpoints of cut are kept for a week" in said
    assert "step-0000000080.checkpoint, 0.2 MB" in said
    assert "--resume" in said


def test_the_next_attempt_goes_on_from_them_and_counts(results: Path, notes: Notes) -> None:
    interrupt(results, notes)
    with RunFolder.create(results, "again") as folder:
        identity, attempts = begin(folder, results, notes, resume=True)
        assert attempts.attempts[-1].resumed_from == ("step-0000000080.checkpoint",)
        assert attempt_id(attempts) == f"{identity.run_id}-2"
        assert (folder.path / "work/checkpoints/identity.txt").read_text() == "code: 1\nseed: 42\n"
        assert "Resuming cut, attempt 2, from step-0000000080.checkpoint" in notes.said
        end_attempt(folder, attempts)
        assert (folder.path / "attempts.json").exists()


def test_a_first_attempt_says_nothing_of_attempts(results: Path, notes: Notes) -> None:
    with RunFolder.create(results, "first") as folder:
        identity, attempts = begin(folder, results, notes)
        assert attempt_id(attempts) == f"{identity.run_id}-1"
        end_attempt(folder, attempts)
        assert not (folder.path / "attempts.json").exists()
    assert notes.said == []


def test_with_nothing_to_resume_it_starts_anew_and_says_so(results: Path, notes: Notes) -> None:
    with RunFolder.create(results, "first") as folder:
        _, attempts = begin(folder, results, notes, resume=True)
        assert len(attempts.attempts) == 1
    assert "Nothing to resume" in notes.said[0]


def test_without_asking_nothing_is_resumed(results: Path, notes: Notes) -> None:
    interrupt(results, notes)
    with RunFolder.create(results, "anew") as folder:
        _, attempts = begin(folder, results, notes)
        assert len(attempts.attempts) == 1
        assert len(interrupted_runs(results / "runs")) == 1


def test_what_differs_is_said_and_refused_and_nothing_is_lost(results: Path, notes: Notes) -> None:
    interrupt(results, notes)
    with (
        RunFolder.create(results, "other") as folder,
        pytest.raises(IncomparableError, match="cut cannot be gone on with: seed was 42, and is 43") as refused,
    ):
        begin(folder, results, notes, text="code: 1\nseed: 43\n", resume=True)
    assert refused.value.exit_code == 3
    assert [left.name for left in interrupted_runs(results / "runs")] == ["cut"]


def test_a_run_may_be_named(results: Path, notes: Notes) -> None:
    for name in ("one", "two"):
        interrupt(results, notes, name)
    with RunFolder.create(results, "again") as folder:
        _, attempts = begin(folder, results, notes, run="one")
        assert attempts.attempts[0].run_name == "one"
    with RunFolder.create(results, "again") as folder, pytest.raises(UsageError, match="No interrupted attempt of one"):
        begin(folder, results, notes, run="one")


def test_going_on_before_a_damaged_step(results: Path, notes: Notes) -> None:
    interrupt(results, notes)
    with RunFolder.create(results, "again") as folder:
        _, attempts = begin(folder, results, notes, resume=True, before=80)
        assert attempts.attempts[-1].resumed_from == ("step-0000000040.checkpoint",)
    with pytest.raises(UsageError, match="nothing is resumed"):
        Resume.asked(resume=False, run=None, before=80)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "flipped": (lambda data: data[:-1] + b"\1", "is damaged: its digest"),
    "cut": (lambda data: data[:-1], "truncated: 99999 of its 100000 bytes"),
    "longer": (lambda data: data + b"\0", "is longer than written"),
    "empty": (lambda _: b"", "is truncated: 0 bytes"),
    "another file": (lambda _: bytes(200), "is not a checkpoint"),
}


@pytest.mark.parametrize("damage", [*DAMAGES])
def test_a_damaged_newest_checkpoint_is_refused_and_the_attempt_left_as_it_was(
    results: Path, notes: Notes, damage: str
) -> None:
    interrupt(results, notes)
    [left] = interrupted_runs(results / "runs")
    change, said = DAMAGES[damage]
    newest = left.path / "checkpoints/step-0000000080.checkpoint"
    newest.write_bytes(change(newest.read_bytes()))
    before = {path: path.read_bytes() for path in left.path.rglob("*") if path.is_file()}
    again = Identity.new("exec", "again", results)
    with pytest.raises(IntegrityError, match=said) as refused, half_made(again, notes) as run:
        begin(run, results, notes, resume=True)
    assert refused.value.exit_code == 4
    assert refused.value.hint == "Add --resume-before 80 to go on from step 40."
    assert {path: path.read_bytes() for path in left.path.rglob("*") if path.is_file()} == before
    assert [one.path for one in interrupted_runs(results / "runs")] == [left.path]
    (left.path / "checkpoints/step-0000000040.checkpoint").write_bytes(b"x")
    with RunFolder.create(results, "again") as run, pytest.raises(IntegrityError) as refused:
        begin(run, results, notes, resume=True)
    assert refused.value.hint == "There is no intact checkpoint before it: leave --resume out to start anew."
    with RunFolder.create(results, "again") as run, pytest.raises(IntegrityError, match="step-0000000040"):
        begin(run, results, notes, resume=True, before=80)


def test_each_trainings_newest_checkpoint_is_checked_and_no_older_one(results: Path, notes: Notes) -> None:
    interrupt(results, notes)
    [left] = interrupted_runs(results / "runs")
    (left.path / "checkpoints/step-0000000040.checkpoint").write_bytes(b"x")
    other = left.path / "checkpoints/b/step-0000000009.checkpoint"
    other.parent.mkdir()
    other.write_bytes(b"x")
    with RunFolder.create(results, "again") as run, pytest.raises(IntegrityError, match="b/step-0000000009"):
        begin(run, results, notes, resume=True)
    other.write_bytes(checkpoint(b"whole"))
    with RunFolder.create(results, "again") as run:
        _, attempts = begin(run, results, notes, resume=True)
        assert len(attempts.attempts) == 2


def test_a_link_in_the_place_of_the_identity_is_replaced_and_not_written_through(
    results: Path, notes: Notes, tmp_path: Path
) -> None:
    interrupt(results, notes)
    (tmp_path / "precious").write_text("mine")
    [left] = interrupted_runs(results / "runs")
    (left.path / "checkpoints/identity.txt").unlink()
    (left.path / "checkpoints/identity.txt").symlink_to(tmp_path / "precious")
    with RunFolder.create(results, "again") as folder:
        begin(folder, results, notes, resume=True)
        assert not (folder.path / "work/checkpoints/identity.txt").is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"


def spec(**changes: Any) -> RunSpec:
    base: dict[str, Any] = {
        "run_id": "r",
        "image": None,
        "argv": ("python3", "train.py"),
        "environment": {"REPRO_SEED": "42"},
        "mounts": (
            Mount(name="code", source="/c", digest=digest("a")),
            Mount(name="data", source="/d", digest=digest("b")),
        ),
        "output": "/o",
        "resources": Resources(cpus=(0,), memory=None, time_limit=None),
    }
    return RunSpec(**base | changes)


def ground(**libraries: str) -> Ground:
    resources = Resources(cpus=(0,), memory=None, time_limit=None)
    return Ground(image=None, locks={}, variant="cpu", libraries=libraries, resources=resources, mounts=())


def test_code_data_variables_libraries_and_profile_decide_what_may_be_resumed() -> None:
    own = run_identity(spec(), ground(numpy="2.4"), Profile.NATIVE, {"program": "x"})
    code = (Mount(name="code", source="/c", digest=digest("c")), spec().mounts[1])
    data = (spec().mounts[0], Mount(name="data", source="/d", digest=digest("c")))
    others = [
        run_identity(spec(environment={"REPRO_SEED": "43"}), ground(numpy="2.4"), Profile.NATIVE, {"program": "x"}),
        run_identity(spec(mounts=code), ground(numpy="2.4"), Profile.NATIVE, {"program": "x"}),
        run_identity(spec(mounts=data), ground(numpy="2.4"), Profile.NATIVE, {"program": "x"}),
        run_identity(spec(), ground(numpy="2.5"), Profile.NATIVE, {"program": "x"}),
        run_identity(spec(), ground(numpy="2.4"), Profile.X86_64_V3, {"program": "x"}),
        run_identity(spec(), ground(numpy="2.4"), Profile.NATIVE, {"program": "y"}),
    ]
    assert len({own, *others}) == 7
    assert "processor: none" in others[4]


def test_names_and_limits_do_not_decide_it() -> None:
    limits = Resources(cpus=(0, 1), memory=5, time_limit=1.0)
    one, other = (
        run_identity(each, ground(), Profile.NATIVE, {})
        for each in (spec(), spec(run_id="s", output="/p", resources=limits))
    )
    assert one == other
