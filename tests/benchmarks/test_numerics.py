import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import numerics
from benchmarks.fits import FITS as PROGRAMS
from benchmarks.numerics import (
    _PROBE,
    BEST,
    CAPPED,
    FITS,
    PORTABLE,
    STRICT,
    Threads,
    Worker,
    _on,
    comparisons,
    starts,
    variables,
)
from harness.errors import ToolError


@pytest.mark.parametrize("threads", Threads)
def test_every_fit_is_one_that_the_program_has_and_is_compared_with_best_effort_on_as_many_threads(threads) -> None:
    assert FITS.keys() == PROGRAMS.keys()
    asked = {(one.fit, one.arm, one.against): one.target for one in comparisons(2) if one.threads == threads}
    assert asked == {
        **{(fit, STRICT, BEST): 1.0 for fit in FITS},
        **{(fit, PORTABLE, BEST): 0.9 for fit in ("mlp", "transformer")},
        ("cnn", PORTABLE, CAPPED): 0.95, ("cnn", PORTABLE, BEST): None,
    }  # fmt: skip


def test_a_machine_of_one_core_compares_one_thread_with_one_thread_alone() -> None:
    assert {one.threads for one in comparisons(1)} == {Threads.ONE}
    assert {one.threads for one in comparisons(2)} == {Threads.ONE, Threads.ALL}


def test_every_figure_says_on_how_many_threads_both_sides_were() -> None:
    statements = [one.statement for one in comparisons(2)]
    assert len(statements) == len(set(statements))
    assert statements[0] == "LightGBM, one thread against one thread: speed of strict native against best_effort"
    assert statements[-1] == "torch CNN, all cores against all cores: speed of strict x86-64-v3 against best_effort"


@pytest.mark.parametrize("arm", [STRICT, PORTABLE])
def test_strict_has_as_many_threads_as_what_it_is_held_against(arm) -> None:
    one, every = (variables(arm, threads, 4, "2.4.0") for threads in Threads)
    assert (one["OMP_NUM_THREADS"], every["OMP_NUM_THREADS"]) == ("1", "4")
    assert one["REPRO_MODE"] == every["REPRO_MODE"] == "strict"


@pytest.mark.parametrize("arm", [BEST, CAPPED])
def test_best_effort_takes_all_cores_by_itself_and_one_because_it_is_told_to(arm) -> None:
    one, every = (variables(arm, threads, 4, "2.4.0") for threads in Threads)
    assert one["OMP_NUM_THREADS"] == "1"
    assert {**every, "OMP_NUM_THREADS": "1"} == one
    assert "OMP_NUM_THREADS" not in every
    assert one["REPRO_MODE"] == every["REPRO_MODE"] == "best_effort"


def test_the_capped_arm_has_the_profiles_instructions_and_nothing_else_of_it() -> None:
    best, capped, portable = (variables(arm, Threads.ALL, 4, "2.4.0") for arm in (BEST, CAPPED, PORTABLE))
    differing = {name for name in {*best, *capped} if best.get(name) != capped.get(name)}
    assert differing == {
        "REPRO_PROFILE", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"
    }  # fmt: skip
    assert capped["ONEDNN_MAX_CPU_ISA"] == portable["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert (capped["MKL_CBWR"], portable["MKL_CBWR"]) == ("AUTO", "COMPATIBLE")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_what_is_started_on_one_core_stays_there_and_what_comes_after_does_not() -> None:
    asked = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    granted = os.sched_getaffinity(0)
    with _on({max(granted)}):
        assert subprocess.check_output(asked).split() == [str(max(granted)).encode()]
    assert os.sched_getaffinity(0) == granted
    assert len(subprocess.check_output(asked).split()) == len(granted)


def test_the_probe_is_called_once_with_all_that_it_knows() -> None:
    calls = [node for node in ast.walk(ast.parse(_PROBE)) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls if ast.unparse(call.func) == "probe"] == ["probe(tuple(KNOWN))"]


def test_a_start_is_measured_with_what_the_processes_of_a_run_have(tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(numerics, "_numpy", lambda _: "2.4.0")
    monkeypatch.setattr(numerics, "run", lambda command, *, environment: asked.append((command, environment)))
    made = starts(Path("python3"), tmp_path, {"PYTHONPATH": "site:checkout"})
    (launch, launched), (hook, hooked), (start, bare) = asked
    assert list(made) == ["launcher", "hook", "bare"]
    assert launch[1:3] == ["-m", "harness.strict.launch"]
    assert launch[-2:] == hook[1:] == start[1:] == ["-c", "pass"]
    assert launched["HARNESS_OUTPUT"] == hooked["HARNESS_OUTPUT"] == str(tmp_path)
    assert hooked["PYTHONPATH"] == "site:checkout"
    assert {name for name in bare if bare[name] != hooked[name]} == {"PYTHONPATH"}


def test_a_process_that_cannot_start_ends_the_benchmark(tmp_path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(ToolError, match="exit code 3"):
        Worker(python, "mlp", {})
