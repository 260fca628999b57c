import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.spec import variables
from harness.spec.variables import (
    TABLE,
    image_variables,
    markdown,
    not_covered,
    numeric_settings,
    overridden,
    run_variables,
)


def chosen(**changes):
    arguments = {"mode": "strict", "profile": "native", "variant": "cpu", "seed": 7, "version": "v1", "cores": 2}
    return run_variables(**{**arguments, **changes})


ALL = [
    {"mode": mode, "profile": profile, "variant": variant}
    for mode in variables.MODES
    for profile in variables.PROFILES
    for variant in variables.VARIANTS
]


@pytest.mark.parametrize("case", ALL, ids=lambda case: "-".join(case.values()))
def test_no_run_gets_two_values_for_one_name(case):
    counts = Counter(row.name for row in TABLE if row.applies(**case))
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("case", ALL, ids=lambda case: "-".join(case.values()))
def test_what_stands_in_the_image_has_the_same_value_in_every_run(case):
    assert image_variables(case["variant"]).items() <= chosen(**case).items()


def test_the_image_holds_no_variable_of_a_profile_a_mode_or_a_seed():
    for variant in variables.VARIANTS:
        names = image_variables(variant).keys()
        assert "PYTHONHASHSEED" in names
        assert not {name for name in names if name.startswith("REPRO_")}
        assert not names & {"MKL_CBWR", "OPENBLAS_CORETYPE", "OMP_NUM_THREADS"}
    assert "CUBLAS_WORKSPACE_CONFIG" in image_variables("cuda")
    assert "CUBLAS_WORKSPACE_CONFIG" not in image_variables("cpu")


def test_a_strict_run_has_one_thread_a_constant_hash_seed_and_its_own_seed():
    run = chosen()
    assert {run[name] for name in variables.thread_counts()} == {"1"}
    assert (run["PYTHONHASHSEED"], run["REPRO_SEED"], run["REPRO_MODE"]) == ("42", "7", "strict")
    assert run["MKL_CBWR"] == "AUTO"
    assert "OPENBLAS_CORETYPE" not in run


def test_a_best_effort_run_is_seeded_and_leaves_threads_and_gpu_free():
    run = chosen(mode="best_effort")
    assert not run.keys() & variables.thread_counts()
    assert "CUDA_VISIBLE_DEVICES" not in run
    assert run["REPRO_SEED"] == "7"


def test_the_portable_profile_caps_every_library():
    run = chosen(profile="x86-64-v3")
    assert run["MKL_CBWR"] == "COMPATIBLE"
    assert run["OPENBLAS_CORETYPE"] == "Haswell"
    assert run["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert run["ATEN_CPU_CAPABILITY"] == "avx2"
    assert "X86_V4" in run["NPY_DISABLE_CPU_FEATURES"]


def test_an_older_numpy_gets_the_names_it_knows():
    old = chosen(profile="x86-64-v3", libraries={"numpy": "2.3.5"})["NPY_DISABLE_CPU_FEATURES"]
    new = chosen(profile="x86-64-v3", libraries={"numpy": "2.10.0"})["NPY_DISABLE_CPU_FEATURES"]
    assert "AVX512F" in old
    assert "X86_V4" not in old
    assert new == chosen(profile="x86-64-v3")["NPY_DISABLE_CPU_FEATURES"]


@pytest.mark.parametrize("threads", [0, 3])
def test_more_threads_than_cores_or_none_are_refused(threads):
    with pytest.raises(UsageError, match="threads a fit") as refused:
        chosen(threads=threads)
    assert "threading.threads_per_fit" in str(refused.value.hint)
    assert "--threads of `harness exec`" in str(refused.value.hint)


@pytest.mark.parametrize("change", [{"mode": "lax"}, {"profile": "v4"}, {"variant": "rocm"}])
def test_unknown_words_are_refused_by_name(change):
    with pytest.raises(UsageError, match=next(iter(change.values()))):
        chosen(**change)
    with pytest.raises(UsageError):
        image_variables("rocm")


def test_inherited_numeric_variables_that_differ_are_named_and_others_are_not():
    inherited = {
        "OMP_NUM_THREADS": "8",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_CORETYPE": "Zen",
        "PYTHONHASHSEED": "random",
        "LANG": "de_DE.UTF-8",
        "HOME": "/root",
    }
    assert overridden(inherited, chosen()) == [
        "OMP_NUM_THREADS=8 is not taken over: the run gets OMP_NUM_THREADS=1",
        "OPENBLAS_CORETYPE=Zen is not taken over: the run has no OPENBLAS_CORETYPE",
        "PYTHONHASHSEED=random is not taken over: the run gets PYTHONHASHSEED=42",
    ]
    assert overridden(chosen(), chosen()) == []


def test_recorded_settings_hold_what_can_change_a_bit_and_nothing_else():
    environ = {
        **chosen(),
        "HOME": "/home/me",
        "KMP_AFFINITY": "compact",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA",
        "ONEDNN_VERBOSE": "1",
        "HARNESS_OUTPUT": "/out",
        "MKLROOT": "/opt/mkl",
    }
    settings = numeric_settings(environ)
    assert {"KMP_AFFINITY", "GLIBC_TUNABLES", "MKL_CBWR", "OMP_NUM_THREADS"} <= settings.keys()
    assert not {name for name in settings if name.startswith(("REPRO_", "HARNESS_"))}
    assert not settings.keys() & {"HOME", "TZ", "ONEDNN_VERBOSE", "MKLROOT"}
    assert numeric_settings({**environ, "REPRO_SEED": "8", "HOME": "/root"}) == settings


def test_the_documentation_has_a_line_for_every_row():
    lines = markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == len(TABLE) + 2
    assert all(line.count(" | ") == 3 for line in table)


def test_what_a_profile_does_not_cover_is_said():
    assert any("torch.compile" in limit for limit in not_covered("x86-64-v3"))
    assert all(limit in markdown() for limit in not_covered("x86-64-v3"))
    assert not_covered("native") == ()


def test_the_table_needs_the_standard_library_only():
    code = (
        "import sys, harness.spec.variables; "
        "print([n for n in sys.modules if n.split('.')[0] not in sys.stdlib_module_names and n.split('.')[0] "
        "not in ('harness', '__main__', 'sitecustomize', 'usercustomize')])"
    )
    out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_documentation_is_the_table() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "variables.md"
    assert page.read_text().endswith(markdown())
