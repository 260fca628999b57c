"""Two runs of a script as they are kept: files that are one in spite of their names, and who asked for what."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.record.explain.cause import Kind
from harness.record.explain.explanation import explain, summary


class Kept:
    """A run's folder, as much of it as is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.stdout = b""
        self.touched: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] = {"exit_code": 0, "wall_seconds": 20.0, "links": {}, "removed": []}

    def write(self) -> Path:
        script = self.folder / "exec"
        for name, data in self.files.items():
            path = script / "outputs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        script.mkdir(parents=True, exist_ok=True)
        outputs = {
            name: {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
            for name, data in self.files.items()
        }
        (script / "stdout.txt").write_bytes(self.stdout)
        printed = f"sha256:{hashlib.sha256(self.stdout).hexdigest()}"
        (script / "metadata.json").write_text(json.dumps({"stdout": printed, "outputs": outputs, **self.metadata}))
        (script / "touched.json").write_text(json.dumps({"schema": "harness.touched/1", "touched": self.touched}))
        return self.folder


def two(tmp_path: Path) -> tuple[Kept, Kept]:
    old, new = Kept(tmp_path / "old"), Kept(tmp_path / "new")
    old.metadata["started_at"], new.metadata["started_at"] = (
        "2026-03-05T10:00:00.000000Z",
        "2026-03-05T11:00:00.000000Z",
    )
    return old, new


def explained(old: Kept, new: Kept) -> list[tuple[str, str, Kind, bool]]:
    causes = explain(old.write(), new.write())
    return [(cause.file, cause.where, cause.kind, cause.explained) for cause in causes]


def touch(what: str, where: str | None = "train.py:12", kind: str = "entropy") -> dict[str, Any]:
    return {"kind": kind, "what": what, "where": where, "count": 1, "digest": None}


def test_equal_runs_have_no_causes(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.files = new.files = {"model.txt": b"loss 1"}
    old.stdout = new.stdout = b"done\n"
    assert explained(old, new) == []


def test_files_whose_names_differ_in_a_time_are_one(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.files = {"out/run_20260305-100003/log.txt": b"loss 1\n"}
    new.files = {"out/run_20260305-110004/log.txt": b"loss 2\n"}
    name = "outputs/out/run_20260305-110004/log.txt"
    assert explained(old, new) == [
        (name, "its name", Kind.TIME, True),
        (name, "line 1", Kind.NUMBER, False),
    ]


def test_of_files_with_random_names_those_with_the_same_content_are_one(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.files = {"part_a1b2c3d4": b"1", "part_b1b2c3d4": b"2"}
    new.files = {"part_e1b2c3d4": b"2", "part_f1b2c3d4": b"1"}
    assert {where for _, where, _, _ in explained(old, new)} == {"its name"}
    new.files["part_e1b2c3d4"] = b"3"
    assert ("outputs/part_e1b2c3d4", "line 1", Kind.NUMBER, False) in explained(old, new)


def test_a_file_that_only_one_run_has_is_named_and_not_explained(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.files = {"a.txt": b"1", "same": b"1"}
    new.files = {"same": b"1", "notes": b"1"}
    assert explained(old, new) == [
        ("outputs/a.txt", "the file", Kind.MISSING, False),
        ("outputs/notes", "the file", Kind.MISSING, False),
    ]


def test_who_asked_for_random_bits_is_named_with_the_line(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"id 6f1b2c3d0a\n", b"id 7f1b2c3d0a\n"
    old.touched = new.touched = [touch("uuid.uuid4"), touch("os.urandom", None), touch("file", "a.py:1", "file")]
    (cause,) = explain(old.write(), new.write())
    assert (cause.kind, cause.explained, cause.sources) == (Kind.TEXT, True, ("uuid.uuid4 at train.py:12",))
    assert "uuid.uuid4 at train.py:12, which may be the cause" in str(cause)
    new.touched = []
    assert explained(old, new) == [("stdout", "line 1", Kind.TEXT, False)]


def test_a_uuid_explains_no_number(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.files, new.files = {"loss.json": b'{"loss": 1.5}'}, {"loss.json": b'{"loss": 1.6}'}
    old.touched = new.touched = [touch("uuid.uuid4"), touch("secrets.token_hex")]
    assert explained(old, new) == [("outputs/loss.json", "$.loss", Kind.NUMBER, False)]
    old.touched = new.touched = [touch("random.SystemRandom.random")]
    assert explained(old, new) == [("outputs/loss.json", "$.loss", Kind.NUMBER, True)]


def test_threads_are_named_beside_another_order(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"a\nb\n", b"b\na\n"
    old.touched = new.touched = [touch("threading.Thread.start", "pool.py:3", "thread")]
    (cause,) = explain(old.write(), new.write())
    assert cause.sources == ("threading.Thread.start at pool.py:3",)


def test_a_digest_that_is_printed_follows_from_the_file(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    for run, data in ((old, b"took 1.5s"), (new, b"took 2.5s")):
        run.files = {"log.txt": data}
        run.stdout = f"sha256 {hashlib.sha256(data).hexdigest()[:12]}\n".encode()
    assert explained(old, new) == [
        ("outputs/log.txt", "line 1", Kind.DURATION, True),
        ("stdout", "line 1", Kind.DERIVED, True),
    ]
    new.stdout = f"sha256 {hashlib.sha256(b'other').hexdigest()[:12]}\n".encode()
    assert explained(old, new)[1] == ("stdout", "line 1", Kind.TEXT, False)


def test_another_exit_code_links_and_removed_files_are_named(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    new.metadata |= {"exit_code": 3, "links": {"latest": "b"}, "removed": ["x"]}
    old.metadata |= {"links": {"latest": "a"}}
    assert [(file, kind) for file, _, kind, _ in explained(old, new)] == [
        ("outputs/latest", Kind.TEXT), ("removed", Kind.TEXT), ("exit_code", Kind.EXIT),
    ]  # fmt: skip


def test_what_was_printed_beyond_what_is_kept_is_said_to_differ(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    new.metadata["stdout"] = "sha256:" + "1" * 64
    assert explained(old, new) == [("stdout", "as a whole", Kind.TEXT, False)]


def test_a_cause_counts_the_others_of_its_kind_and_says_what_is_not_known(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"loss 1\nloss 2\n", b"loss 3\nloss 4\n"
    causes = explain(old.write(), new.write())
    assert [str(cause) for cause in causes] == [
        "stdout, line 1: a number (1 → 3): relative difference 0.67, and 1 more of the kind; the cause is not known"
    ]
    assert summary(causes) == "Not explained: stdout."


def test_a_value_cannot_steer_a_terminal(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"a \x1b[2J1\n", b"a \x1b[2Jb\n"
    (cause,) = explain(old.write(), new.write())
    assert "\x1b" not in str(cause)


def test_a_run_that_cannot_be_read_explains_nothing_and_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    assert explain(tmp_path / "nowhere", new.write()) == ()
    old.files, new.files = {"a": b"1"}, {"a": b"2"}
    old.write(), new.write()
    (tmp_path / "old" / "exec" / "outputs" / "a").unlink()
    (cause,) = explain(tmp_path / "old", tmp_path / "new")
    assert (cause.kind, cause.explained) == (Kind.BYTES, False)
    assert "cannot be read" in cause.detail
    (tmp_path / "old" / "exec" / "metadata.json").write_text("[" * 5000)
    assert explain(tmp_path / "old", tmp_path / "new") == ()


def test_a_seed_from_the_clock_explains_numbers_and_the_clock_alone_does_not(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"loss 1.5\n", b"loss 1.6\n"
    old.touched = new.touched = [touch("time.time", kind="clock")]
    assert explained(old, new) == [("stdout", "line 1", Kind.NUMBER, False)]
    old.touched = new.touched = [touch("time.time", kind="clock"), touch("random.seed(the time)", kind="clock")]
    (cause,) = explain(old.write(), new.write())
    assert cause.sources == ("random.seed(the time) at train.py:12",)


def test_a_line_that_set_another_seed_in_each_run_is_named_with_both(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"loss 1.5\n", b"loss 1.6\n"
    seed = touch("numpy.random.RandomState", kind="seed")
    old.touched, new.touched = [seed | {"note": "42; 7"}], [seed | {"note": "42; 9"}]
    (cause,) = explain(old.write(), new.write())
    assert cause.explained
    assert str(cause).endswith("; numpy.random.RandomState(7 → 9) at train.py:12, which may be the cause")
    for note in ("42; 7", "42; 9; …", None):
        new.touched = [seed | {"note": note}]
        assert explained(old, new) == [("stdout", "line 1", Kind.NUMBER, False)]
    new.touched = [seed | {"note": "42; 9", "where": "train.py:13"}]
    assert explained(old, new) == [("stdout", "line 1", Kind.NUMBER, False)]


def test_a_seed_that_was_the_time_is_told_once(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"loss 1.5\n", b"loss 1.6\n"
    clock, seed = touch("random.seed(the time)", kind="clock"), touch("random.seed", kind="seed")
    old.touched, new.touched = [clock, seed | {"note": "1772704803"}], [clock, seed | {"note": "1772708403"}]
    (cause,) = explain(old.write(), new.write())
    assert cause.sources == ("random.seed(the time) at train.py:12",)


@pytest.mark.parametrize(
    ("earlier", "later", "said"),
    [
        ("random", "fixed", "random in the earlier run and fixed in the later"),
        ("fixed", "random", "fixed in the earlier run and random in the later"),
        ("random", "random", "random in both runs"),
        ("unknown", "random", "random in one of the runs"),
        ("fixed", "fixed", ""),
        ("unknown", "fixed", ""),
    ],
)
def test_addresses_that_are_not_the_same_are_named(tmp_path: Path, earlier: str, later: str, said: str) -> None:
    old, new = two(tmp_path)
    old.files, new.files = {"o": b"8729"}, {"o": b"8730"}
    for kept, addresses in ((old, earlier), (new, later)):
        (kept.write() / "exec" / "snapshot.json").write_text(json.dumps({"host": {"addresses": addresses, "cores": 2}}))
    (cause,) = explain(old.folder, new.folder)
    assert cause.explained is bool(said)
    assert cause.sources == ((f"addresses in memory, which were {said}",) if said else ())


def test_addresses_explain_no_time(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    old.stdout, new.stdout = b"took 1.5 s\n", b"took 1.6 s\n"
    for kept in (old, new):
        (kept.write() / "exec" / "snapshot.json").write_text(json.dumps({"host": {"addresses": "random"}}))
    (cause,) = explain(old.folder, new.folder)
    assert (cause.kind, cause.sources) == (Kind.DURATION, ())
