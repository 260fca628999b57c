import os
import time

import pytest

from harness.strict.touched import LIMIT, LOG, Recorder


@pytest.fixture
def notes(tmp_path):
    """The log of a script's run, as lists of fields, with counts added up; fields that are empty are left out."""

    def read() -> dict[tuple[str, ...], int]:
        found: dict[tuple[str, ...], int] = {}
        path = tmp_path / LOG
        for line in path.read_bytes().splitlines() if path.exists() else ():
            *fields, count = (field.decode("unicode_escape") for field in line.split(b"\t"))
            if fields[0] != "declared":
                key = tuple(field.replace(str(tmp_path / "work"), "") for field in fields if field)
                found[key] = found.get(key, 0) + int(count)
        return found

    return read


@pytest.fixture
def noted(script, notes, tmp_path):
    """Run a script of a user's and say what it was seen to touch."""

    def run(source: str, *, audit: bool = False, **changes):
        (tmp_path / LOG).unlink(missing_ok=True)
        (tmp_path / "audit").unlink(missing_ok=True)
        if audit:
            (tmp_path / "audit").touch()
        ended = script(source, HARNESS_OUTPUT=str(tmp_path), **changes)
        assert ended.returncode == 0, ended.stderr
        return notes()

    return run


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("import os; os.urandom(3)", "os.urandom"),
        ("import os; os.getrandom(3)", "os.getrandom"),
        ("from os import urandom; urandom(3)", "os.urandom"),
        ("import secrets; secrets.token_hex()", "secrets.token_hex"),
        ("import secrets; secrets.randbits(8)", "random.SystemRandom.getrandbits"),
        ("import random; random.SystemRandom().random()", "random.SystemRandom.random"),
        ("import uuid; uuid.uuid4()", "uuid.uuid4"),
        ("import uuid; uuid.uuid1()", "uuid.uuid1"),
    ],
)
def test_random_bits_are_noted_with_the_line_that_asked(noted, call, what):
    found = noted(f"\nfor _ in range(3):\n    {call}\n")
    assert found[("entropy", what, "/script.py:3")] == 3
    assert {key[1] for key in found} <= {what, "uuid.getnode"}


def test_what_reaches_no_result_is_not_noted(noted):
    code = "import tempfile, multiprocessing, random, threading; tempfile.mkdtemp(); random.random(); random.Random()\n"
    assert noted(code) == {}


def test_threads_are_noted(noted):
    code = "import threading\nfor _ in range(4):\n    threading.Thread(target=print).start()\n"
    assert noted(code) == {("thread", "threading.Thread.start", "/script.py:3"): 4}


def test_a_library_that_asks_is_named_beside_the_programs_line(noted):
    found = noted("from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(1).submit(print)\n")
    assert found == {("thread", "threading.Thread.start", "/script.py:2", "from concurrent.futures.thread"): 1}


ENDS = {
    "os._exit": "os.urandom(1); os.urandom(1); os._exit(0)",
    "fork": "\nif os.fork() == 0:\n    os.urandom(1); os.urandom(1); os._exit(0)\nos.wait()",
    "worker": "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=lambda: os.urandom(1) "
    "and os.urandom(1)); p.start(); p.join()",
    "subprocess": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import os; "
    "os.urandom(1); os.urandom(1)'])",
}


@pytest.mark.parametrize("how", ENDS)
def test_processes_of_every_kind_tell_how_often(noted, how):
    found = noted(f"import os; {ENDS[how]}")
    assert sum(count for key, count in found.items() if key[1] == "os.urandom") == 2


def test_a_process_that_is_killed_has_told_of_the_first_time(noted):
    code = "import os\nif os.fork() == 0:\n    for _ in range(9): os.urandom(1)\n    os.kill(os.getpid(), 9)\nos.wait()"
    assert noted(code) == {("entropy", "os.urandom", "/script.py:3"): 1}


def test_what_programs_get_is_what_they_would_get_without(script, tmp_path):
    code = (
        "import os, sys, uuid, random, inspect\n"
        "print(len(os.urandom(5)), os.open('script.py', os.O_RDONLY), os.urandom.__name__)\n"
        "for wrong in ('x', -1):\n"
        "    try: os.urandom(wrong)\n"
        "    except (TypeError, ValueError) as error: print(type(error).__name__, error)\n"
        "os.closerange(3, 50); os.urandom(1); print(os.open('script.py', os.O_RDONLY))\n"
        "os.environ.pop('HARNESS_OUTPUT', None); os.chdir('/'); os.urandom(2)\n"
    )
    runs = [
        script(code, HARNESS_OUTPUT=str(tmp_path)),
        script(code),
        script(code, REPRO_MODE=None, HARNESS_OUTPUT=str(tmp_path)),
    ]
    assert runs[0].stdout.splitlines()[0] == "5 3 urandom"
    assert runs[0].stdout == runs[1].stdout == runs[2].stdout
    assert [ended.stderr for ended in runs] == [""] * 3


def test_an_output_folder_that_cannot_be_written_changes_nothing_for_the_program(script, tmp_path):
    ended = script(
        "import os, shutil; shutil.rmtree(os.environ['HARNESS_OUTPUT']); print(len(os.urandom(4)))",
        HARNESS_OUTPUT=str(_made(tmp_path / "gone")),
    )
    assert (ended.returncode, ended.stdout) == (0, "4\n")


def _made(path):
    path.mkdir()
    return path


def test_memory_and_log_are_bounded(tmp_path):
    recorder = Recorder(str(tmp_path / LOG))
    for number in range(LIMIT + 500):
        recorder.note("file", f"/{number}", None)
    recorder.close()
    recorder.note("file", "/late", None)
    lines = (tmp_path / LOG).read_text().splitlines()
    assert len(lines) == LIMIT + 2
    assert sum(int(line.split("\t")[-1]) for line in lines[-2:]) == 500


def test_an_error_while_noting_never_reaches_the_program(tmp_path, monkeypatch):
    recorder = Recorder(str(tmp_path / LOG))
    monkeypatch.setattr(recorder, "place", lambda frame: 1 / 0)
    recorder.note("file", "/x", None)
    recorder.flush()
    assert not (tmp_path / LOG).exists()


def test_names_of_any_kind_make_one_line_each(tmp_path):
    recorder = Recorder(str(tmp_path / LOG))
    for name in ("tab\tline\nend\r", "\udcff", "é" * 10_000, "\x1b[31m"):
        recorder.note("file", name, None)
    lines = (tmp_path / LOG).read_bytes().splitlines()
    assert len(lines) == 4
    assert all(line.isascii() and line.count(b"\t") == 5 for line in lines)


def test_noting_costs_microseconds(tmp_path):
    recorder = Recorder(str(tmp_path / LOG))
    began = time.perf_counter()
    for _ in range(10_000):
        recorder.note("clock", "time.time", None)
    assert time.perf_counter() - began < 1.0
    assert (tmp_path / LOG).stat().st_size < 200


# Audited


def kinds(found, kind):
    return {key[1:] for key in found if key[0] == kind}


def test_files_are_noted_with_the_digest_of_their_content_and_those_of_the_run_are_not(noted, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "a").write_text("one")
    code = (
        f"import os; folder = {str(outside)!r}\n"
        "open(folder + '/a').read(); open('script.py').read(); import json, decimal\n"
        "open(folder + '/b', 'w').write('x')\n"
        "try: open(folder + '/none')\nexcept OSError: pass\n"
        "os.listdir(folder); open('/proc/self/status').read(); open(b'/dev/null').read()\n"
    )
    found = kinds(noted(code, audit=True), "file")
    a = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert {key for key in found if "status" not in key[0] and str(outside) in key[0]} == {
        (f"{outside}/a", "/script.py:2", a),
        (f"{outside}/b", "/script.py:3", "written"),
        (f"{outside}/none", "/script.py:4", "cannot be read: No such file or directory"),
        (str(outside), "/script.py:6", "a folder that was listed"),
    }
    assert ("/proc/self/status", "/script.py:6", "the system's own, no file on a disk") in found
    assert not [key for key in found if "json" in key[0]]
    assert kinds(noted(code), "file") == set()


def test_random_bits_that_are_read_as_a_file_are_noted_where_audited_alone(noted):
    code = "open('/dev/urandom', 'rb').read(1)\nimport os; os.close(os.open('/dev/random', os.O_RDONLY))\n"
    found = noted(code, audit=True)
    assert {("/dev/urandom", "/script.py:1"), ("/dev/random", "/script.py:2")} <= kinds(found, "entropy")
    assert not [key for key in kinds(found, "file") if "random" in key[0]]
    assert kinds(noted(code), "entropy") == set()


def test_files_that_change_or_vanish_while_the_run_lasts_say_so(noted, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    for name in "abc":
        (outside / name).write_text(name)
    code = (
        f"import os; folder = {str(outside)!r}\n"
        "for name in 'abc': open(folder + '/' + name).read()\n"
        "open(folder + '/a', 'a').write('more'); os.remove(folder + '/b')\n"
    )
    found = kinds(noted(code, audit=True), "file")
    late = {key for key in found if len(key) == 2 and str(outside) in key[0] and "written" not in key}
    assert {(path.rpartition("/")[2], note) for path, note in late} == {
        ("a", "changed while the process ran"), ("b", "gone by the end"),
    }  # fmt: skip


def test_a_pipe_is_not_waited_for_and_odd_names_are_noted(noted, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    os.mkfifo(outside / "pipe")
    (outside / "\udcff\n").write_text("odd")
    code = (
        f"import os; folder = {str(outside)!r}\n"
        "os.close(os.open(folder + '/pipe', os.O_RDONLY | os.O_NONBLOCK)); open(folder + '/\\udcff\\n').read()\n"
    )
    found = kinds(noted(code, audit=True), "file")
    assert (f"{outside}/pipe", "/script.py:2", "no plain file") in found
    assert any("\\xff" in key[0] for key in found)


def test_clock_sockets_programs_and_variables_are_noted(noted):
    code = (
        "import datetime, os, socket, subprocess, time\n"
        "time.time(); time.localtime(); time.localtime(0); datetime.datetime.now(); datetime.date.today()\n"
        "socket.socket().connect_ex(('127.0.0.1', 9)); socket.gethostname()\n"
        "subprocess.run(['true', 'x']); os.system('true')\n"
        "os.getenv('MINE'); os.environ.get('PATH'); 'MINE' in os.environ\n"
    )
    found = noted(code, audit=True)
    assert found[("clock", "time.localtime", "/script.py:2")] == 1
    assert {key[0] for key in kinds(found, "clock") if key[1] == "/script.py:2"} == {
        "time.time", "time.localtime", "datetime.datetime.now", "datetime.date.today",
    }  # fmt: skip
    assert {key[0] for key in kinds(found, "socket")} == {"socket.connect 127.0.0.1 9", "socket.gethostname"}
    assert {"subprocess.Popen true x", "os.system true"} <= {key[0] for key in kinds(found, "subprocess")}
    assert {key[0] for key in kinds(found, "environment")} == {"MINE", "PATH"}
    assert {key[0] for key in noted(code)} <= {"entropy", "thread", "clock"}


def test_dates_stay_what_they_are_under_audit(script, tmp_path):
    (tmp_path / "audit").touch()
    code = (
        "import datetime, pickle, copy\n"
        "class Mine(datetime.datetime): pass\n"
        "utc = datetime.timezone.utc\n"
        "print(type(Mine.now()).__name__, Mine.now(utc).tzinfo, type(datetime.datetime.now(tz=utc)).__name__)\n"
        "print(type(datetime.date.today()).__name__, type(datetime.datetime.today()).__name__)\n"
        "print(pickle.loads(pickle.dumps(datetime.datetime(2020, 1, 1))), isinstance(Mine.today(), datetime.date))\n"
        "try: datetime.datetime.now('x')\nexcept TypeError as error: print(error)\n"
    )
    audited = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert audited.stdout == script(code).stdout
    assert audited.stdout.splitlines()[0] == "Mine UTC datetime"
    assert audited.stderr == ""


def test_a_script_that_opens_very_many_files_ends_and_its_notes_are_bounded(noted, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    code = (
        f"import os; folder = {str(outside)!r}\n"
        f"for number in range({LIMIT} + 1000):\n    os.close(os.open(folder + f'/{{number}}', os.O_CREAT))\n"
    )
    found = noted(code, audit=True)
    assert found[("file", "…")] == 1000
    assert len(found) < LIMIT + 100
