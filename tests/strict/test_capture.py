import fcntl
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.record.environment import Captured, environment_signature
from harness.spec.run import Profile
from harness.strict import capture as capturing
from harness.strict.capture import capture, instruction_sets, static_part


@pytest.fixture
def environ(variables):
    return variables()


def signed(captured, profile=Profile.NATIVE):
    return environment_signature(msgspec.convert(captured, Captured), None, profile)


def test_a_capture_is_what_the_record_reads_and_holds_every_layer(environ):
    captured = msgspec.convert(static_part(environ), Captured)
    assert captured.python["version"] == ".".join(map(str, sys.version_info[:3]))
    assert captured.libraries["msgspec"].version == importlib.metadata.version("msgspec")
    assert captured.libraries["msgspec"].digest is not None
    assert "hermetic-training-harness" not in captured.libraries
    assert captured.cpu.architecture == os.uname().machine
    assert captured.host["kernel"].endswith(os.uname().release)


def test_user_paths_and_the_runs_own_variables_do_not_enter_the_signature(environ):
    others = {"REPRO_SEED": "7", "HOME": "/root", "USER": "you", "HARNESS_OUTPUT": "/elsewhere", "LOGNAME": "you"}
    assert signed(static_part({**environ, **others})) == signed(static_part(environ))
    assert signed(static_part({**environ, "MKL_CBWR": "COMPATIBLE"})) != signed(static_part(environ))
    free = {name: value for name, value in environ.items() if name != "OMP_NUM_THREADS"}
    assert static_part(free)["settings"]["threads"].startswith("free: ")


def test_a_strict_environment_holds_which_of_our_kernels_it_has_and_a_best_effort_one_has_none(variables, monkeypatch):
    strict, best_effort = variables(), variables(mode="best_effort")
    before = static_part(strict)
    assert before["settings"]["strict_kernels"] == capturing.VERSION
    assert "strict_kernels" not in static_part(best_effort)["settings"]
    other = signed(static_part(best_effort))
    monkeypatch.setattr(capturing, "VERSION", capturing.VERSION + "+")
    assert signed(static_part(strict)) != signed(before)
    assert signed(static_part(strict), Profile.X86_64_V3) != signed(before, Profile.X86_64_V3)
    assert signed(static_part(best_effort)) == other


def test_the_digest_of_a_library_is_over_its_files_and_not_its_installer(tmp_path):
    def installed(name, *lines):
        folder = tmp_path / name / "demo-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        (folder / "RECORD").write_text("\n".join([*lines, "demo-1.0.dist-info/RECORD,,"]) + "\n")
        return capturing._record_digest(importlib.metadata.PathDistribution(folder))

    base = installed("a", "demo.py,sha256=AAA,3", "data.txt,sha256=BBB,1")
    noise = ["../../bin/demo,sha256=SHEBANG,9", "demo-1.0.dist-info/INSTALLER,sha256=UV,2", "__pycache__/d.pyc,,"]
    noise.append("demo-1.0.dist-info/uv_cache.json,sha256=TIMESTAMP,127")
    assert installed("b", "data.txt,sha256=BBB,1", *noise, "demo.py,sha256=AAA,3") == base
    assert installed("c", "demo.py,sha256=AAB,3", "data.txt,sha256=BBB,1") != base
    assert installed("d", "demo.py,sha256=AAA,3") != base
    assert installed("e", "demo.py,sha256=AAA,3", "data.txt,sha256=BBB,1", "uv_cache.json,sha256=OWN,1") != base


def test_flags_that_kernels_are_chosen_by_are_kept_and_others_are_not():
    flags = ["fpu", "sse4_2", "avx2", "fma", "avx512f", "amx_tile", "smep", "bmi2", "rdrand", "f16c"]
    assert instruction_sets(flags) == ["amx_tile", "avx2", "avx512f", "bmi2", "f16c", "fma", "sse4_2"]


def test_what_loaded_libraries_selected_is_added_and_does_not_change_the_signature_of_others(environ, monkeypatch):
    pytest.importorskip("numpy")
    for name in ("HARNESS_OUTPUT", "REPRO_MODE"):
        monkeypatch.delenv(name, raising=False)
    captured = capture({"numpy": {"gemm64": "sha256:" + "0" * 64}})
    msgspec.convert(captured, Captured)
    assert list(captured["probe"]) == ["numpy"]
    shown = captured["cpu"]["dispatch"]
    fewer = {name: value for name, value in shown.items() if "/" not in name}
    less = {**captured, "cpu": {**captured["cpu"], "dispatch": fewer}, "probe": {}}
    assert signed(less) == signed(captured)


def test_many_processes_at_once_leave_one_whole_capture_that_names_them_all(variables, tmp_path):
    pytest.importorskip("numpy")
    code = (
        "import numpy, os, pathlib\nfrom harness.strict.capture import record_process\n"
        "record_process(pathlib.Path(os.environ['HARNESS_OUTPUT']))"
    )
    environment = variables(HARNESS_OUTPUT=str(tmp_path), HARNESS_HOOK="trainer", mode="best_effort")
    running = [
        subprocess.Popen([sys.executable, "-c", code], env={**environment, "OPENBLAS_CORETYPE": core})
        for core in ("Haswell", "Nehalem", "Haswell")
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["environment.json"]
    captured = json.loads((tmp_path / "environment.json").read_text())
    msgspec.convert(captured, Captured)
    if importlib.util.find_spec("threadpoolctl"):
        assert captured["cpu"]["dispatch"]["openblas"] == "Haswell | Nehalem"


def test_a_process_ends_although_who_started_it_keeps_the_output_folder_locked(variables, tmp_path):
    """Folders of the store are locked while they are in use, and a run may be given one."""
    pytest.importorskip("numpy")
    environment = variables(HARNESS_OUTPUT=str(tmp_path), mode="best_effort")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        ended = subprocess.run([sys.executable, "-c", "import numpy"], env=environment, timeout=60, check=False)
    finally:
        os.close(folder)
    assert ended.returncode == 0
    assert "numpy" in json.loads((tmp_path / "environment.json").read_text())["probe"]


def test_the_rooms_an_unmodified_script_needs_import_the_standard_library_only(tmp_path):
    """A user's image may hold nothing else, so a copy of the inside rooms is run by a Python without packages."""
    package = Path(capturing.__file__).parents[1]
    shutil.copytree(package, tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys, harness.strict.capture, harness.strict.hook, harness.strict.verify, harness.strict.probe, "
        "harness.strict.launch, harness.strict.bootstrap, harness.spec.variables\n"
        "harness.strict.probe.probe(['python'])"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
