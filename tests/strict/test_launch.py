import json
import sys
from pathlib import Path

import msgspec
import pytest

from harness.errors import IntegrityError, UsageError
from harness.record.environment import Captured
from harness.spec.variables import TABLE
from harness.strict.environment import check_environment
from harness.strict.launch import parse, program_environment, resolve


def test_the_programs_output_and_exit_code_are_its_own(launch):
    ended = launch("--", "python", "-c", "import sys; print('out'); sys.stderr.write('err'); sys.exit(7)")
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "out\n", "err")


def test_a_program_that_is_not_python_is_run_and_its_environment_recorded(launch, tmp_path):
    ended = launch("--", "sh", "-c", "exit 3")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")
    captured = msgspec.json.decode((tmp_path / "output" / "environment.json").read_bytes(), type=Captured)
    assert captured.settings["OMP_NUM_THREADS"] == "1"
    assert captured.python["version"].split(".")[0] == "3"
    assert "libm.so.6" in captured.native


def test_a_program_that_does_not_exist_gives_127_and_one_that_cannot_run_126(launch, tmp_path):
    ended = launch("--", "no-such-program")
    assert (ended.returncode, ended.stdout) == (127, "")
    assert "'no-such-program' does not exist" in ended.stderr
    (tmp_path / "output" / "data").write_text("")
    assert launch("--", "./data").returncode == 126


@pytest.mark.parametrize("name", sorted({row.name for row in TABLE if not row.name.startswith("REPRO_")}))
def test_a_strict_run_without_one_of_its_variables_is_refused_by_name(name, variables):
    environment = variables()
    check_environment(environment, cores=1)
    if environment.pop(name, None) is not None:
        with pytest.raises(IntegrityError, match=f"would not be strict: {name} is not set"):
            check_environment(environment, cores=1)


def test_the_refusal_reaches_the_engine_as_code_4_before_the_program_starts(launch, tmp_path):
    ended = launch("--", "touch", "started", OMP_NUM_THREADS="8")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "OMP_NUM_THREADS is '8', not '1'" in ended.stderr
    assert not (tmp_path / "output" / "started").exists()
    assert launch("--", "true", mode="best_effort", OMP_NUM_THREADS="8").returncode == 0


@pytest.mark.parametrize(
    "change", [{"REPRO_MODE": None}, {"REPRO_SEED": "x"}, {"REPRO_PROFILE": "v9"}, {"REPRO_THREADS": "-1"}]
)
def test_settings_that_mean_nothing_are_usage_errors_by_name(change, variables):
    with pytest.raises(UsageError) as caught:
        check_environment(variables(**change), cores=1)
    assert next(iter(change)) in str(caught.value) or "profile" in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["--"], ["python"], ["--quiet", "--", "python"]])
def test_a_wrong_call_is_refused(arguments):
    with pytest.raises(UsageError, match="launch"):
        parse(arguments)
    assert parse(["--fixed-addresses", "--", "a", "--", "b"]) == (True, ["a", "--", "b"])


ENV_I = ["env", "-i", sys.executable]


@pytest.mark.parametrize(
    "program", [["python", "-I"], ["env", "python3", "-I"], ENV_I, ["env", "REPRO_MODE=best_effort", "python3"]]
)
def test_a_program_that_would_not_hear_of_strict_is_not_started(launch, tmp_path, program):
    ended = launch("--", *program, "-c", "print('started')")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert (tmp_path / "output" / "refused.txt").read_text() in ended.stderr
    assert launch("--", *program, "-c", "print('started')", mode="best_effort").stdout == "started\n"


@pytest.mark.parametrize("program", [["python", "-c"], ["env", "MINE=1", "python3", "-c"]])
def test_the_launchers_name_among_a_programs_arguments_switches_nothing_off(launch, program):
    code = "import random; print(random.random())"
    first, second = (launch("--", *program, code, "-m", "harness.strict.launch") for _ in range(2))
    assert first.returncode == 0
    assert first.stdout == second.stdout == launch("--", *program, code).stdout


def test_python_modules_and_files_mean_this_interpreter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("")
    assert resolve(["python", "a"]) == resolve(["python3", "a"]) == [sys.executable, "a"]
    assert resolve(["-m", "package"]) == [sys.executable, "-m", "package"]
    assert resolve(["train.py", "-x"]) == [sys.executable, "train.py", "-x"]
    assert resolve(["absent.py"]) == ["absent.py"]
    assert resolve(["Rscript", "a.R"]) == ["Rscript", "a.R"]


def test_the_hook_is_put_first_and_the_trainer_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = program_environment({"PYTHONPATH": "/theirs::/more"}, ["sh"])
    assert environment["PYTHONPATH"].split(":")[2:] == ["/theirs", "/more"]
    assert environment["PYTHONPATH"].split(":")[0].endswith("harness/strict/site")
    assert "HARNESS_HOOK" not in environment
    trainer = [sys.executable, "-m", "harness.training"]
    assert program_environment({}, trainer)["HARNESS_HOOK"] == "trainer"
    assert "HARNESS_HOOK" not in program_environment({}, [*trainer[:2], "harness.trainings"])
    Path("harness").mkdir()
    assert "HARNESS_HOOK" not in program_environment({}, trainer)


def test_modules_in_the_working_folder_do_not_get_in_the_launchers_way(launch, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("json", "random", "ctypes", "csv", "platform", "harness"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was run')")
    (folder / "go.py").write_text("print('ran')")
    ended = launch("--", "python", "go.py", folder=folder)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ran\n", "")


def test_fixed_addresses_are_the_same_in_every_run(launch):
    code = (
        "import ctypes; print([line.split('-')[0] for line in open('/proc/self/maps')][:2], "
        "ctypes.CDLL(None).personality(0xffffffff))"
    )
    first, second = (launch("--fixed-addresses", "--", "python", "-c", code) for _ in range(2))
    if "was refused" in first.stderr:
        assert first.returncode == 0
        pytest.skip("this system refuses personality(ADDR_NO_RANDOMIZE)")
    assert first.stdout == second.stdout
    assert int(first.stdout.split()[-1]) & 0x0040000
    free = [launch("--", "python", "-c", "print(open('/proc/self/maps').read())").stdout for _ in range(2)]
    assert free[0] != free[1]


def test_an_output_folder_that_cannot_be_written_stops_the_run(launch):
    ended = launch("--", "true", HARNESS_OUTPUT="/nonexistent/folder")
    assert ended.returncode == 2
    assert "could not be recorded" in ended.stderr


def test_what_a_script_loaded_is_added_to_the_capture_when_it_ends(launch, tmp_path):
    pytest.importorskip("numpy")
    path = tmp_path / "output" / "environment.json"
    assert launch("--", "python", "-c", "pass").returncode == 0
    before = json.loads(path.read_text())
    assert launch("--", "python", "-c", "import numpy").returncode == 0
    after = json.loads(path.read_text())
    msgspec.convert(after, Captured)
    assert (before["probe"], list(after["probe"])) == ({}, ["numpy"])
    assert "numpy" in after["cpu"]["dispatch"].keys() - before["cpu"]["dispatch"].keys()
    grown = {"probe", "cpu", "native", "settings"}
    assert all(after[layer] == before[layer] for layer in before.keys() - grown)
