"""What a run's processes noted, and what else may lie where they note it."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.record.jsonfile import pretty_json
from harness.record.touched import Touch, Touched, audit_lines
from harness.runs import touched as module
from harness.runs.touched import collect_touched

DIGEST = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "project").mkdir(parents=True)
    return folder


def collected(output: Path, *lines: str | bytes, trace: str = "", **options: Any) -> Touched:
    data = [line if isinstance(line, bytes) else line.encode("unicode_escape").replace(rb"\t", b"\t") for line in lines]
    (output / "touched.log").write_bytes(b"".join(line + b"\n" for line in data))
    if trace:
        (output / "strace.log").write_text(trace)
    found = collect_touched(output, **{"audited": False, "container": False, "project": "project", **options})
    assert msgspec.json.decode(pretty_json(found), type=Touched) == found
    return found


def line(kind: str, what: str, where: str = "", note: str = "", digest: str = "", count: object = 1) -> str:
    return f"{kind}\t{what}\t{where}\t{note}\t{digest}\t{count}"


def test_counts_of_all_processes_come_together_and_places_are_relative_to_the_project(output: Path) -> None:
    found = collected(
        output,
        line("entropy", "os.urandom", f"{output}/project/a/train.py:3"),
        line("entropy", "os.urandom", "/harness/output/project/a/train.py:3", count=4),
        line("thread", "threading.Thread.start", "/elsewhere/b.py:1"),
    )
    assert found.touched == (
        Touch(kind="entropy", what="os.urandom", where="a/train.py:3", count=5),
        Touch(kind="thread", what="threading.Thread.start", where="/elsewhere/b.py:1"),
    )
    assert (found.audited, found.notes) == (False, ())


def test_nothing_noted_is_nothing_touched(output: Path) -> None:
    found = collect_touched(output, audited=False, container=False, project="project")
    assert found == Touched(audited=False)
    assert audit_lines(found) == ["Audit    nothing beyond the declared inputs"]


def test_a_file_with_two_contents_was_changed(output: Path) -> None:
    (touch,) = collected(output, line("file", "/a", digest=DIGEST), line("file", "/a", digest=OTHER)).touched
    assert (touch.digest, touch.note, touch.count) == (None, "changed while the run lasted", 2)
    (touch,) = collected(output, line("file", "/a", digest=DIGEST), line("file", "/a", note="gone", count=0)).touched
    assert (touch.digest, touch.note, touch.count) == (DIGEST, "gone", 1)


HOSTILE = [
    b"", b"file", b"file\t/a\t\t\t", b"nonsense\t/a\t\t\t\t1", b"file\t/a\t\t\t\t-1", b"file\t/a\t\t\t\t" + b"9" * 400,
    b"file\t/a\t\t\tsha256:0\t1", b"file\t\\x\t\t\t\t1", b"file\t\xff\t\t\t\t1", b"file\t/a\t\t\t\t1\t1",
    b"\0" * 90_000, b'{"schema": "harness.touched/1"}', b"file\t\\N{no}\t\t\t\t1", "file\t/a\t\t\t\t²".encode(),
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
def test_lines_that_are_none_are_counted_and_said_and_the_others_are_kept(output: Path, hostile: bytes) -> None:
    found = collected(output, hostile, line("entropy", "os.urandom"))
    assert [touch.what for touch in found.touched] == ["os.urandom"]
    assert "not as the harness writes them: something else wrote there" in found.notes[0]


def test_names_that_would_steer_a_terminal_or_break_json_are_escaped(output: Path) -> None:
    found = collected(output, line("file", "/\x1b[31m\udcff\u2028é"))
    assert found.touched[0].what == r"/\x1b[31m\xdcff\x2028é"
    assert all(text.isprintable() for text in audit_lines(found))


def test_what_lies_in_the_place_of_the_log_is_not_followed(output: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(line("file", "/secret"))
    (output / "touched.log").symlink_to(tmp_path / "secret")
    found = collect_touched(output, audited=False, container=False, project="project")
    assert (found.touched, len(found.notes)) == ((), 1)
    for make in (os.mkfifo, os.mkdir):
        (output / "touched.log").unlink()
        make(output / "touched.log")
        found = collect_touched(output, audited=False, container=False, project="project")
        assert (found.touched, len(found.notes)) == ((), 1)


def test_a_document_of_the_programs_own_is_not_used_and_said(output: Path) -> None:
    (output / "touched.json").write_text('{"schema": "harness.touched/1", "audited": false, "touched": []}')
    found = collected(output, line("entropy", "os.urandom"))
    assert len(found.touched) == 1
    assert "the program wrote a touched.json of its own" in found.notes[0]


def test_size_and_number_are_bounded_and_it_is_said(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 5)
    found = collected(output, *(line("file", f"/{number}") for number in range(9)))
    assert len(found.touched) == 5
    assert found.notes == ("more than 5 different things",)
    monkeypatch.setattr(module, "_LARGEST_LOG", 40)
    assert "the rest was left out" in collected(output, *(line("file", f"/{number}") for number in range(9))).notes[0]


def test_in_a_container_only_what_is_not_the_images_counts(output: Path) -> None:
    lines = [line("file", path) for path in ("/usr/share/x", "/tmp/y", "/etc/hosts", "/proc/cpuinfo")]
    found = collected(output, *lines, container=True)
    assert [touch.what for touch in found.touched] == ["/etc/hosts", "/proc/cpuinfo"]
    assert len(collected(output, *lines).touched) == 4


TRACE = """\
7 execve("/usr/bin/python3", ["python3"], 0x7 /* 3 vars */) = 0
7 openat(AT_FDCWD</work>, "/lib/none.so", O_RDONLY) = -1 ENOENT (No such file or directory)
7 openat(AT_FDCWD</work>, "data", O_RDONLY|O_CLOEXEC) = 3<FOLDER/data>
7 openat(AT_FDCWD</work>, "FOLDER/declared/x", O_RDONLY) = 3<FOLDER/declared/x>
7 openat(AT_FDCWD</work>, "FOLDER/known", O_RDONLY) = 3<FOLDER/known>
7 openat(AT_FDCWD</work>, "w", O_WRONLY|O_CREAT, 0666) = 3<FOLDER/w>
7 openat(AT_FDCWD</work>, "/proc/7/maps", O_RDONLY) = 3</proc/7/maps>
7 openat(AT_FDCWD</work>, "/dev/urandom", O_RDONLY) = 3</dev/urandom>
8 openat(AT_FDCWD</work>, "odd", O_RDONLY <unfinished ...>
8 <... openat resumed>)             = 4<FOLDER/odd\\303\\251\\377>
8 execve("/bin/true", ["true"], 0x7 /* 3 vars */) = 0
8 connect(3<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.1")}, 16) = 0
8 connect(3<UNIX:[2]>, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = -1 ENOENT (No such file or directory)
8 getrandom("\\x01", 8, GRND_NONBLOCK) = 8
garbage \\777 = 9<>
"""


def test_what_strace_saw_and_python_did_not_is_added_within_bounds(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("one")
    found = collected(
        output,
        line("declared", f"{tmp_path}/declared"),
        line("file", f"{tmp_path}/known", digest=DIGEST),
        trace=TRACE.replace("FOLDER", str(tmp_path)),
        audited=True,
    )
    by_name = {(touch.kind, touch.what.replace(str(tmp_path), "")): touch for touch in found.touched}
    assert set(by_name) == {
        ("file", "/data"), ("file", "/known"), ("file", "/w"), ("file", "/oddé\\xff"), ("file", "/proc/self/maps"),
        ("subprocess", "execve /bin/true"), ("socket", "connect 10.0.0.1 80"), ("socket", "connect /run/x"),
        ("entropy", "getrandom"), ("entropy", "/dev/urandom"),
    }  # fmt: skip
    data = by_name["file", "/data"]
    assert data.digest == "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert (data.where, data.note) == (None, "seen by strace")
    assert by_name["file", "/w"].note == "seen by strace; written"
    assert by_name["entropy", "/dev/urandom"].note == "seen by strace"
    assert ("file", "/dev/urandom") not in by_name
    assert by_name["file", "/oddé\\xff"].note == "cannot be read: No such file or directory; seen by strace"
    assert by_name["file", "/known"].digest == DIGEST
    assert not [touch for touch in collected(output).touched if touch.note], "nobody asked for an audit"
    monkeypatch.setattr(module, "_MOST", 3)
    trace = TRACE.replace("FOLDER", str(tmp_path))
    bounded = collected(output, trace=trace, audited=True)
    assert (len(bounded.touched), bounded.notes) == (3, ("more than 3 different things",))


@pytest.mark.parametrize("unit", ["= 1</", 'execve("', "connect(", "sa_family=AF_INET", "= 1"])
@pytest.mark.parametrize("end", ["", ">", ' = 0", = 0'])
def test_a_line_of_the_trace_is_read_in_proportion_to_its_length(output: Path, unit: str, end: str) -> None:
    began = time.process_time()
    collected(output, trace="\n".join([f"{unit * (60_000 // len(unit))}{end}"] * 4), audited=True)
    assert time.process_time() - began < 1, "a square of the length would be minutes"


def test_what_processes_said_late_is_joined_to_what_it_is_about_once(output: Path) -> None:
    touches = [line("file", f"/data/{number}", "a.py:1") for number in range(4_000)]
    late = [line("file", f"/data/{number % 4_000}", note="late", count=0) for number in range(8_000)]
    began = time.process_time()
    found = collected(output, *touches, *late)
    assert time.process_time() - began < 3, "each held against each would be half a minute"
    assert {touch.note for touch in found.touched} == {"late"}


def test_the_summary_names_the_first_of_each_kind_and_counts_the_rest() -> None:
    touches = [Touch(kind="file", what=f"/{number}", count=number + 1, digest=DIGEST) for number in range(20)]
    touches.append(Touch(kind="file", what="/mine", where="train.py:3", note="written"))
    touches.append(Touch(kind="clock", what="time.time", where="train.py:1"))
    lines = audit_lines(Touched(audited=True, notes=("strace is not installed",), touched=tuple(touches)))
    assert lines[0] == "Audit    file (21)"
    assert lines[1] == "  /mine at train.py:3 (written)"
    assert "  and 13 more" in lines
    assert lines[-3:] == ["Audit    clock (1)", "  time.time at train.py:1", "  note: strace is not installed"]
