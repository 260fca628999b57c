"""The host engine with real processes; the interpreter is the tests' own, so that no library need be fetched."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.engines.host import HostEngine, exit_code, run_process
from harness.engines.memory import session_members
from harness.errors import ToolError, UsageError
from harness.spec.digest import digest_from_hex
from harness.spec.run import ImageReference, Mount, RunResult, RunSpec
from harness.store.store import Store

Spec = Callable[..., RunSpec]
INTERPRETER = Path(sys.executable)


class Finished(msgspec.Struct):
    result: RunResult
    stdout: bytes
    stderr: bytes

    def json(self) -> Any:
        assert self.result.exit_code == 0, self.stderr.decode()
        return json.loads(self.stdout)


Run = Callable[..., Finished]


@pytest.fixture
def run(make_spec: Spec) -> Run:
    def run(code: str, **fields: object) -> Finished:
        out, error = bytearray(), bytearray()
        result = run_process(make_spec(code, **fields), INTERPRETER, on_stdout=out.extend, on_stderr=error.extend)
        return Finished(result, bytes(out), bytes(error))

    return run


def test_the_environment_is_an_allow_list(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    found = run(code, environment={"REPRO_MODE": "strict"}).json()
    scratch = found.pop("HOME")
    assert found.pop("TMPDIR") == scratch
    assert not Path(scratch).exists()
    code_folder = found.pop("HARNESS_CODE")
    assert found == {
        "HARNESS_CHECKPOINTS": str(tmp_path / "output/checkpoints"),
        "HARNESS_OUTPUT": str(tmp_path / "output"),
        "LOGNAME": "harness",
        "PATH": f"{INTERPRETER.parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{code_folder}:{code_folder}/harness/strict/site",
        "REPRO_MODE": "strict",
        "USER": "harness",
        **({"LC_CTYPE": found["LC_CTYPE"]} if "LC_CTYPE" in found else {}),  # Python's own, where there is no locale
    }


def test_inputs_are_found_by_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "panel").mkdir()
    (tmp_path / "panel/x").write_text("5")
    data = Mount(name="data", source=str(tmp_path / "panel"), digest=digest_from_hex("1" * 64))
    assert run("import os; print(open(os.environ['HARNESS_DATA'] + '/x').read())", mounts=(data,)).json() == 5


def test_cores_are_an_affinity_and_ours_stays(run: Run) -> None:
    before = os.sched_getaffinity(0)
    code = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
    assert run(code, cpus=(min(before),)).json() == [min(before)]
    assert run(code, cpus=tuple(before)).json() == sorted(before)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("cpus", [(), (4096,)])
def test_cores_that_are_not_there_are_refused(run: Run, cpus: tuple[int, ...]) -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(UsageError, match="cores that are not here"):
        run("pass", cpus=cpus)
    assert os.sched_getaffinity(0) == before


def test_the_working_folder_is_the_output_folder(run: Run, tmp_path: Path) -> None:
    code = "import json, os; open('made', 'w').write('x'); print(json.dumps(os.getcwd()))"
    assert run(code).json() == str(tmp_path / "output")
    assert (tmp_path / "output/made").read_text() == "x"
    with pytest.raises(UsageError, match="deeper of run engine-test is not there"):
        run(code, working_directory="deeper")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", 0),
        ("raise SystemExit(42)", 42),
        ("import os; os.abort()", 134),
        ("import os; os.kill(os.getpid(), 9)", 137),
    ],
)
def test_the_exit_code_is_the_programs(run: Run, code: str, expected: int) -> None:
    assert run(code).result.exit_code == expected


@pytest.mark.parametrize(("returncode", "expected"), [(0, 0), (3, 3), (-15, 143)])
def test_a_signal_becomes_128_and_its_number(returncode: int, expected: int) -> None:
    assert exit_code(returncode) == expected


def test_both_streams_come_whole_and_apart(run: Run) -> None:
    code = """
import os, sys
sys.stdout.buffer.write(bytes(range(256)) * 20000); sys.stdout.flush()
sys.stderr.buffer.write(b"\\xff\\n" * 1000); sys.stderr.flush()
os.write(1, b"the end"); os._exit(0)
"""
    finished = run(code)
    assert finished.stdout == bytes(range(256)) * 20000 + b"the end"
    assert finished.stderr == b"\xff\n" * 1000


def test_a_program_that_ignores_sigterm_ends_at_its_time_limit_with_its_children(run: Run, tmp_path: Path) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
open("leader", "w").write(str(os.getsid(0)))
time.sleep(120)
"""
    finished = run(code, time_limit=2.0)
    assert finished.result.timed_out
    assert finished.result.exit_code == 137
    assert session_members(int((tmp_path / "output/leader").read_text())) == []


def test_a_program_may_tidy_up_at_its_time_limit(run: Run) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
time.sleep(120)
"""
    finished = run(code, time_limit=2.0)
    assert (finished.result.timed_out, finished.result.exit_code) == (True, 5)
    assert not run("pass", time_limit=30.0).result.timed_out


def test_what_outlives_the_program_is_ended(run: Run, tmp_path: Path) -> None:
    code = """
import os, sys, time
open("leader", "w").write(str(os.getsid(0)))
if os.fork() == 0:
    os.setpgid(0, 0)
    time.sleep(120)
"""
    began = time.monotonic()
    assert run(code).result.exit_code == 0
    assert time.monotonic() - began < 30
    assert session_members(int((tmp_path / "output/leader").read_text())) == []


def test_too_much_memory_ends_the_run_and_is_named_as_the_cause(run: Run) -> None:
    code = "import time; block = bytearray(b'x') * (300 << 20); time.sleep(2.5)"
    killed = run(code, memory=100 << 20).result
    assert killed.out_of_memory
    assert killed.exit_code == 137
    enough = run(code, memory=1 << 30).result
    assert not enough.out_of_memory
    assert enough.exit_code == 0
    assert enough.peak_memory is not None
    assert enough.peak_memory > 300 << 20


ADDRESSES = """
import ctypes, json
print(json.dumps([ctypes.cast(ctypes.CDLL(None).printf, ctypes.c_void_p).value,
                  [line.split("-")[0] for line in open("/proc/self/maps") if "[stack]" in line]]))
"""


def test_addresses_are_the_same_in_every_run_where_the_spec_says_so(run: Run) -> None:
    assert run(ADDRESSES, randomize_addresses=False).json() == run(ADDRESSES, randomize_addresses=False).json()
    assert run(ADDRESSES).json() != run(ADDRESSES).json()


def test_a_failing_reader_leaves_no_process(make_spec: Spec, tmp_path: Path) -> None:
    def fail(_: bytes) -> None:
        raise RuntimeError("the reader failed")

    code = "import os, time; open('leader', 'w').write(str(os.getsid(0))); print(1, flush=True); time.sleep(120)"
    with pytest.raises(RuntimeError, match="the reader failed"):
        run_process(make_spec(code), INTERPRETER, on_stdout=fail, on_stderr=lambda _: None)
    assert session_members(int((tmp_path / "output/leader").read_text())) == []


def test_an_image_is_refused(make_spec: Spec, tmp_path: Path) -> None:
    image = ImageReference(name="cpu", manifest=digest_from_hex("2" * 64), config=digest_from_hex("3" * 64))
    engine = HostEngine(tmp_path, Store(tmp_path / "store"))
    with pytest.raises(UsageError, match="names the image cpu, which the host engine cannot run in"):
        engine.run(make_spec("pass", image=image), on_stdout=print, on_stderr=print)


def test_an_interpreter_that_is_not_there_is_named(make_spec: Spec, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"cannot be started with .*nowhere"):
        run_process(make_spec("pass"), tmp_path / "nowhere", on_stdout=print, on_stderr=print)


ELSEWHERE = """
import sys
from pathlib import Path
import msgspec
from harness.engines.host import run_process
from harness.spec.run import RunSpec
spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=RunSpec)
try:
    run_process(spec, Path(sys.executable), on_stdout=lambda data: print("running", flush=True), on_stderr=print)
finally:
    print("cleaned", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "cleaned\n"), (signal.SIGINT, -signal.SIGINT, "cleaned\n"), (signal.SIGKILL, -9, "")],
)
def test_a_signal_ends_the_run_and_the_harness(
    number: signal.Signals, code: int, said: str, make_spec: Spec, tmp_path: Path
) -> None:
    sleep = "import os, time; open('leader', 'w').write(str(os.getsid(0))); print(1, flush=True); time.sleep(120)"
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(make_spec(sleep)))
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "spec.json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    leader = int((tmp_path / "output/leader").read_text())
    assert session_members(leader) == [leader]
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, said)
    deadline = time.monotonic() + 5
    while session_members(leader) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert session_members(leader) == []
