"""What strict finds in processes that end by `os._exit`: forked workers, and programs that say so themselves."""

import importlib.util

import pytest

from harness.spec.variables import thread_counts

torch_only = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
numpy_only = pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="NumPy is not installed here")

SCRIPT = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
import torch

def work(number):
    if number and BAD:
        torch._C._set_deterministic_algorithms(False)
    return number

def main():
    ENDS

if __name__ == "__main__":
    main()
    print("ran", flush=True)
"""
FORK = "multiprocessing.get_context('fork')"
ENDS = {
    "process": f"one = {FORK}.Process(target=work, args=(1,)); one.start(); one.join(); assert one.exitcode == 0",
    "pool": f"with {FORK}.Pool(1) as pool: assert pool.map(work, range(4)) == [0, 1, 2, 3]",
    "executor": "with ProcessPoolExecutor(1) as pool: assert list(pool.map(work, range(2))) == [0, 1]",
    "fork": (
        "child = os.fork()\n"
        "    if not child: work(1); sys.exit(7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7"
    ),
}


def _ended(script, tmp_path, how: str, *, bad: bool):
    return script(SCRIPT.replace("ENDS", ENDS[how]).replace("BAD", str(bad)), HARNESS_OUTPUT=str(tmp_path))


@torch_only
@pytest.mark.parametrize("how", ENDS)
def test_an_override_in_a_forked_worker_ends_the_run_but_not_the_worker_whose_parent_may_wait(script, tmp_path, how):
    ended = _ended(script, tmp_path, how, bad=True)
    assert (ended.returncode, ended.stdout) == (0, "ran\n"), ended.stderr
    assert ended.stderr.count("are_deterministic_algorithms_enabled() is False") == 1
    assert "are_deterministic_algorithms_enabled() is False" in (tmp_path / "refused.txt").read_text()


@torch_only
@pytest.mark.parametrize("how", ENDS)
def test_an_honest_forked_worker_leaves_no_word(script, tmp_path, how):
    ended = _ended(script, tmp_path, how, bad=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ran\n", "")
    assert not (tmp_path / "refused.txt").exists()
    assert (tmp_path / "loaded-torch").read_bytes() == (tmp_path / "verified-torch").read_bytes() == b"."


@torch_only
def test_an_override_before_os_exit_ends_the_program_as_one_at_its_end_does(script, tmp_path):
    code = "import os, torch\nprint('ran', flush=True)\n{}os._exit(3)"
    honest = script(code.format(""), HARNESS_OUTPUT=str(tmp_path))
    assert (honest.returncode, honest.stdout, honest.stderr) == (3, "ran\n", "")
    assert not (tmp_path / "refused.txt").exists()
    ended = script(code.format("torch._C._set_deterministic_algorithms(False)\n"), HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "ran\n")
    assert "are_deterministic_algorithms_enabled() is False" in (tmp_path / "refused.txt").read_text()


THREADS = """
import os, sys, threadpoolctl, numpy
pool = next(one for one in threadpoolctl.ThreadpoolController().lib_controllers if one.user_api == "blas")
put = pool._get_symbol("openblas_set_num_threads")
if not os.fork():
    put(int(sys.argv[1]))
    os._exit(0)
os.wait()
"""


@numpy_only
def test_a_forked_process_may_have_fewer_threads_than_the_run_and_no_more(script, tmp_path):
    pytest.importorskip("threadpoolctl")
    two = dict.fromkeys(("REPRO_THREADS", *sorted(thread_counts())), "2")
    fewer = script(THREADS.replace("sys.argv[1]", "1"), HARNESS_OUTPUT=str(tmp_path), **two)
    assert (fewer.returncode, fewer.stderr) == (0, "")
    more = script(THREADS.replace("sys.argv[1]", "3"), HARNESS_OUTPUT=str(tmp_path), **two)
    assert more.returncode == 0
    assert "openblas is 3, not 2" in (tmp_path / "refused.txt").read_text()


LOADER = """
import torch
from torch.utils.data import DataLoader
if __name__ == "__main__":
    loader = DataLoader(list(range(8)), batch_size=4, num_workers=2, multiprocessing_context=METHOD)
    print([batch.tolist() for batch in loader])
"""


@torch_only
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_one_thread_that_torch_gives_to_a_loaders_worker_is_no_override(script, tmp_path, method):
    two = dict.fromkeys(("REPRO_THREADS", *sorted(thread_counts())), "2")
    ended = script(LOADER.replace("METHOD", repr(method)), HARNESS_OUTPUT=str(tmp_path), **two)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[[0, 1, 2, 3], [4, 5, 6, 7]]\n", "")
    assert not (tmp_path / "refused.txt").exists()


@torch_only
def test_a_process_that_a_signal_ends_is_counted_as_loaded_and_not_as_verified(script, tmp_path):
    code = "import os, signal, torch\nos.kill(os.getpid(), signal.SIGKILL)"
    assert script(code, HARNESS_OUTPUT=str(tmp_path)).returncode == -9
    assert (tmp_path / "loaded-torch").read_bytes() == b"."
    assert not (tmp_path / "verified-torch").exists()


@torch_only
def test_best_effort_verifies_no_worker(script, tmp_path):
    code = SCRIPT.replace("ENDS", ENDS["process"]).replace("BAD", "True")
    ended = script(code, mode="best_effort", HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ran\n", "")
    assert not (tmp_path / "refused.txt").exists()


def test_a_child_between_fork_and_another_program_ends_as_it_wants(script, tmp_path):
    code = (
        "import os\n"
        "if not os.fork():\n"
        "    try:\n        os.execv('/nowhere', ['nowhere'])\n    except OSError:\n        os._exit(9)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    ended = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert (ended.stdout, ended.stderr) == ("9\n", "")
