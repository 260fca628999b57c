import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import IntegrityError, PrerequisiteError, ToolError
from harness.training.pool import Job, Pool


def _square(number: int) -> int:
    return number * number


def _slow_first(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0.0)
    return number


def _own_process(_: int) -> int:
    return os.getpid()


def _refuse(_: int) -> int:
    raise IntegrityError("not today", hint="Tomorrow.")


def _crash(_: int) -> int:
    raise ZeroDivisionError("division by zero")


def _killed(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _leave(_: int) -> int:
    os._exit(7)


def _sleep(_: int) -> int:
    time.sleep(60)
    return 0


def _touch(path: str) -> float:
    Path(path).touch()
    return time.monotonic()


def _loaded(name: str) -> bool:
    return name in sys.modules


# What a job's process runs must be importable there.
IMPORTABLE = Path(__file__).stem


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    module = __import__(IMPORTABLE)
    for name in (
        "_square",
        "_slow_first",
        "_own_process",
        "_refuse",
        "_crash",
        "_killed",
        "_leave",
        "_sleep",
        "_touch",
    ):
        monkeypatch.setitem(globals(), name, getattr(module, name))
    monkeypatch.setitem(globals(), "_loaded", module._loaded)


def jobs(work, count: int, **changes) -> list[Job]:
    return [Job(name=f"job {number}", work=work, payload=number, **changes) for number in range(count)]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_jobs_whoever_ends_first(workers):
    seen = []
    with Pool(workers, []) as pool:
        assert pool.run(jobs(_square, 5), seen.append) == [0, 1, 4, 9, 16]
        assert sorted(seen) == [0, 1, 4, 9, 16]
        assert pool.run(jobs(_slow_first, 3)) == [0, 1, 2]


def test_no_job_gives_no_result():
    with Pool(2, []) as pool:
        assert pool.run([]) == []


def test_every_job_has_a_process_of_its_own():
    with Pool(2, []) as pool:
        processes = pool.run(jobs(_own_process, 4))
    assert len({*processes, os.getpid()}) == 5


def test_the_most_costly_job_starts_first(tmp_path):
    given = [Job(name=str(cost), work=_touch, payload=str(tmp_path / str(cost)), cost=cost) for cost in (1.0, 3.0, 2.0)]
    with Pool(1, []) as pool:
        one, three, two = pool.run(given)
    assert three < two < one


def test_what_is_preloaded_is_there_and_nothing_else_is():
    with Pool(1, ["colorsys"]) as pool:
        asked = [Job(name=name, work=_loaded, payload=name) for name in ("colorsys", "chunk")]
        assert pool.run(asked) == [True, False]


def test_an_error_keeps_its_kind_and_hint_and_names_the_job():
    with Pool(2, []) as pool, pytest.raises(IntegrityError) as caught:
        pool.run([*jobs(_square, 3), Job(name="ridge on AAPL", work=_refuse, payload=0)])
    assert caught.value.message == "ridge on AAPL: not today"
    assert caught.value.hint == "Tomorrow."


def test_an_unforeseen_error_names_the_job_and_itself():
    with Pool(1, []) as pool, pytest.raises(ToolError, match=r"job 0: ZeroDivisionError: division by zero"):
        pool.run(jobs(_crash, 1))


def test_a_killed_process_is_named_with_its_signal():
    with Pool(1, []) as pool, pytest.raises(ToolError, match=r"job 0 was ended by SIGKILL") as caught:
        pool.run(jobs(_killed, 1))
    assert "memory" in str(caught.value)


def test_a_process_that_leaves_without_a_result_is_named_with_its_code():
    with Pool(1, []) as pool, pytest.raises(ToolError, match=r"job 0 ended with exit code 7"):
        pool.run(jobs(_leave, 1))


def test_when_one_job_fails_the_others_are_ended_at_once():
    begin = time.monotonic()
    with Pool(2, []) as pool, pytest.raises(IntegrityError):
        pool.run([*jobs(_sleep, 1, cost=1.0), *jobs(_refuse, 1)])
    assert time.monotonic() - begin < 20


def test_a_pool_can_be_used_again_after_another():
    for _ in range(2):
        with Pool(1, []) as pool:
            assert pool.run(jobs(_square, 2)) == [0, 1]


def test_a_folder_too_long_for_a_socket_is_refused(monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/" + "x" * 90)
    with pytest.raises(PrerequisiteError, match="TMPDIR"), Pool(1, []):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_program_is_ended(number, tmp_path):
    source = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import signal, {IMPORTABLE} as t\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        "with t.Pool(2, []) as pool:\n"
        "    running = [pool.start(job) for job in t.jobs(t._sleep, 2)]\n"
        "    print(*(r.process.pid for r in running), flush=True)\n"
        "    running[0].result()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path[1:]])}
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, env=environment, cwd=tmp_path) as run:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        assert len(pids) == 2
        run.send_signal(number)
        run.wait(timeout=20)
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
