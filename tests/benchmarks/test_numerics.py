import pytest

from benchmarks.fits import FITS as PROGRAMS
from benchmarks.numerics import BEST, CAPPED, FITS, ONE, PORTABLE, STRICT, Worker, comparisons, variables
from harness.errors import ToolError


def test_every_fit_is_one_that_the_program_has_and_is_compared_with_best_effort() -> None:
    assert FITS.keys() == PROGRAMS.keys()
    assert {(one.fit, one.target) for one in comparisons() if (one.arm, one.against) == (STRICT, BEST)} == {
        (fit, 1.0) for fit in FITS
    }


def test_strict_has_as_many_threads_as_best_effort_takes_by_itself_and_one_where_said() -> None:
    best, strict, one = (variables(arm, 4, "2.4.0") for arm in (BEST, STRICT, ONE))
    assert "OMP_NUM_THREADS" not in best
    assert (strict["OMP_NUM_THREADS"], one["OMP_NUM_THREADS"]) == ("4", "1")
    assert (best["REPRO_MODE"], strict["REPRO_MODE"]) == ("best_effort", "strict")


def test_the_capped_arm_is_not_strict_and_loses_nothing_in_mkl() -> None:
    capped, portable = variables(CAPPED, 4, "2.4.0"), variables(PORTABLE, 4, "2.4.0")
    assert capped["ONEDNN_MAX_CPU_ISA"] == portable["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert (capped["MKL_CBWR"], portable["MKL_CBWR"]) == ("AUTO", "COMPATIBLE")
    assert capped["REPRO_MODE"] == "best_effort"


def test_a_process_that_cannot_start_ends_the_benchmark(tmp_path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(ToolError, match="exit code 3"):
        Worker(python, "mlp", {})
