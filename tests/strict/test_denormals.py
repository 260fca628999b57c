import importlib.util
import shutil
import subprocess

import pytest

torch_only = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")

SOURCE = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
static unsigned switched(void) { return __builtin_ia32_stmxcsr() | 0x8040; }
__attribute__((constructor)) static void loaded(void) { __builtin_ia32_ldmxcsr(switched()); }
void flush(void) { __builtin_ia32_ldmxcsr(switched()); }
static struct PyModuleDef module = { PyModuleDef_HEAD_INIT, "fast", 0, -1, 0 };
PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&module); }
"""
LOOK = "import sys; print(sys.float_info.min / 2 > 0, 5e-324 > 0, float('1e-310') * 1.0 > 0)\n"


@pytest.fixture
def fast(tmp_path):
    """An extension module in the script's folder that switches whoever loads it."""
    include = subprocess.run(
        [shutil.which("python3-config") or "false", "--includes"], capture_output=True, text=True, check=False
    ).stdout.split()
    source = SOURCE
    if not include or shutil.which("gcc") is None:
        pytest.skip("gcc or Python's headers are not installed: an extension module cannot be made")
    (tmp_path / "work").mkdir()
    (tmp_path / "fast.c").write_text(source)
    done = subprocess.run(
        ["gcc", "-shared", "-fPIC", *include, "-o", tmp_path / "work" / "fast.so", tmp_path / "fast.c"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"an extension module cannot be made here: {done.stderr[:200]}")


@pytest.mark.usefixtures("fast")
def test_an_extension_module_that_flushes_numbers_is_undone_and_named(script):
    ended = script(f"import fast\n{LOOK}")
    assert (ended.returncode, ended.stdout) == (0, "True True True\n"), ended.stderr
    assert "fast.so switched this thread to flush numbers next to zero: undone" in ended.stderr
    free = script(f"import fast\n{LOOK}", mode="best_effort")
    assert "True" not in free.stdout
    assert free.stderr == ""


@pytest.mark.usefixtures("fast")
def test_a_switch_that_nobody_saw_stops_the_run_when_it_ends(script, tmp_path):
    code = f"import ctypes; fast = ctypes.PyDLL('./fast.so'); fast.flush()\nimport _decimal, mmap\n{LOOK}"
    ended = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert ended.returncode == 4
    assert "numbers next to zero are flushed to zero" in ended.stderr
    assert "./fast.so" in ended.stderr
    assert script(code, mode="best_effort", HARNESS_OUTPUT=str(tmp_path)).returncode == 0


def test_other_libraries_are_left_alone(script):
    ended = script(f"import ctypes, _ctypes, mmap; ctypes.CDLL('libm.so.6')\n{LOOK}")
    assert (ended.stdout, ended.stderr) == ("True True True\n", "")


@torch_only
def test_torchs_own_switch_stays_off_and_says_so(script):
    ended = script(f"import torch; torch.set_flush_denormal(True)\n{LOOK}torch.set_flush_denormal(False)")
    assert ended.stdout == "True True True\n"
    assert ended.stderr == "harness: strict: torch.set_flush_denormal stays False, not True\n"
    assert "False" in script(f"import torch; torch.set_flush_denormal(True)\n{LOOK}", mode="best_effort").stdout
