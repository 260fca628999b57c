import subprocess
import sys

import pytest

from harness.errors import IntegrityError
from harness.spec.variables import TABLE
from harness.strict.children import check_program, refuse_deaf_python, through_env

FIXED = sorted({row.name for row in TABLE if row.applies(mode="strict", profile="native", variant="cpu")})


@pytest.mark.parametrize(
    "program",
    [["python", "-I", "x.py"], ["python3", "-Wignore", "-ES", "x.py"], ["/usr/bin/python3.11", "-X", "dev", "-S"],
     ["python", "-uEc", "pass"], ["python", "-R", "x.py"], [sys.executable, "-I"],
     ["python", "--check-hash-based-pycs", "default", "-S", "x.py"]],
)  # fmt: skip
def test_python_that_would_not_hear_of_strict_is_refused(program):
    with pytest.raises(IntegrityError, match="would not be strict"):
        refuse_deaf_python(program)


@pytest.mark.parametrize(
    "program",
    [["python", "x.py", "-I"], ["python", "-c", "-I"], ["python", "-m", "m", "-E"], ["python", "-WIgnore", "x.py"],
     ["python", "-X", "-I", "x.py"], ["python", "-u", "-B", "x.py"], ["grep", "-E", "x"], ["python"], ["python", "-"],
     ["python", "-", "-I"], ["python", "--", "-I"], ["python", "--check-hash-based-pycs", "default", "x.py", "-S"],
     ["python3", "-B", "-s", "-c", "from multiprocessing.forkserver import main"]],
)  # fmt: skip
def test_other_options_and_programs_are_not(program):
    refuse_deaf_python(program)


@pytest.mark.parametrize("name", [*FIXED, "HARNESS_OUTPUT"])
def test_a_child_without_one_of_the_runs_variables_or_with_another_value_is_refused_by_name(name, variables):
    parent = variables(HARNESS_OUTPUT="/output")
    check_program(["python", "x.py"], parent, parent)
    check_program(["python", "x.py"], {**parent, "MINE": "1", "PATH": "/bin"}, parent)
    for child in ({key: value for key, value in parent.items() if key != name}, {**parent, name: "other"}):
        with pytest.raises(IntegrityError, match=f"starts Python with {name} "):
            check_program(["python", "x.py"], child, parent)
        check_program(["ldconfig", "-p"], child, parent)


def test_a_childs_search_path_may_grow_and_must_not_lose_the_hook(variables):
    parent = variables()
    check_program(["python"], {**parent, "PYTHONPATH": f"src:{parent['PYTHONPATH']}:more"}, parent)
    for path in ("src", parent["PYTHONPATH"].split(":")[0], parent["PYTHONPATH"].split(":")[1]):
        with pytest.raises(IntegrityError, match="PYTHONPATH"):
            check_program(["python"], {**parent, "PYTHONPATH": path}, parent)


@pytest.mark.parametrize(
    ("argv", "program", "environ"),
    [
        (["env", "python3", "-I"], ["python3", "-I"], {"A": "1", "B": "2"}),
        (["env", "-i", "C=3", "python3"], ["python3"], {"C": "3"}),
        (["/usr/bin/env", "-", "python3", "-u"], ["python3", "-u"], {}),
        (["env", "-u", "A", "--unset=B", "-C", "/", "x"], ["x"], {}),
        (["env", "-S", "A=0 python3 -I", "x"], ["python3", "-I", "x"], {"A": "0", "B": "2"}),
        (["env", "env", "-i", "x"], ["x"], {}),
        (["env", "-i"], ["env", "-i"], {"A": "1", "B": "2"}),
        (["env", "--unknown", "x"], ["env", "--unknown", "x"], {"A": "1", "B": "2"}),
        (["enva", "-i", "x"], ["enva", "-i", "x"], {"A": "1", "B": "2"}),
    ],
)
def test_a_leading_env_is_looked_through(argv, program, environ):
    assert through_env(argv, {"A": "1", "B": "2"}) == (program, environ)


ESCAPES = {
    "empty": "subprocess.run([sys.executable, '-c', CODE], env={})",
    "isolated": "subprocess.run([sys.executable, '-I', '-c', CODE])",
    "without its packages": "subprocess.run([sys.executable, '-S', '-c', CODE], close_fds=False)",
    "without the hook": "subprocess.run([sys.executable, '-c', CODE], env={**os.environ, 'PYTHONPATH': ''})",
    "free": "subprocess.run([sys.executable, '-c', CODE], env={**os.environ, 'REPRO_MODE': 'best_effort'})",
    "other sets": "os.posix_spawn(sys.executable, ['python', '-c', CODE], {**os.environ, 'PYTHONHASHSEED': '7'})",
    "replaced": "os.execve(sys.executable, ['python', '-c', CODE], {})",
    "replaced, isolated": "os.execl(sys.executable, 'python', '-I', '-c', CODE)",
    "in bytes": "subprocess.run([b'python3', b'-c', CODE.encode()], env={b'PATH': os.environb[b'PATH']})",
    "through env": "subprocess.run(['env', '-i', sys.executable, '-c', CODE])",
    "by its own variables": (
        "import multiprocessing\nos.environ['REPRO_MODE'] = 'best_effort'\n"
        "if __name__ == '__main__': multiprocessing.get_context('spawn').Process(target=print, args=('child',)).start()"
    ),
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_strict_process_ends_before_it_starts_python_that_is_not_strict(script, tmp_path, escape):
    code = f"import os, subprocess, sys\nCODE = 'print(\"child\")'\n{ESCAPES[escape]}\nprint('went on')"
    ended = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "")
    message = (tmp_path / "refused.txt").read_text()
    assert message.startswith("this run would not be strict")
    assert ended.stderr == f"harness: {message}\n"
    free = script(code, mode="best_effort")
    assert "child" in free.stdout


ORDINARY = {
    "as it is": "subprocess.run([sys.executable, '-c', CODE], check=True)",
    "with more variables": "subprocess.run([sys.executable, '-c', CODE], env={**os.environ, 'MINE': '1'}, check=True)",
    "not Python": "subprocess.run(['env', '-i', 'sh', '-c', 'echo child'], env={'PATH': os.environ['PATH']})",
    "spawned": "os.waitpid(os.posix_spawnp('python3', ['python3', '-c', CODE], os.environ), 0)",
    "replaced": "os.execlp('python3', 'python3', '-c', CODE)",
    "own -s -B": "subprocess.run([sys.executable, '-B', '-s', '-c', CODE], check=True)",
}


@pytest.mark.parametrize("start", ORDINARY)
def test_other_processes_start_as_ever(script, tmp_path, start):
    ended = script(
        f"import os, subprocess, sys\nCODE = 'print(\"child\")'\n{ORDINARY[start]}", HARNESS_OUTPUT=str(tmp_path)
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "child\n", "")
    assert not (tmp_path / "refused.txt").exists()


def test_a_subprocess_module_that_was_there_before_the_hook_is_watched_too(script, variables, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import subprocess\n")
    path = f"{variables()['PYTHONPATH']}:{tmp_path}"
    ended = script("import subprocess, sys\nsubprocess.run([sys.executable], env={})", PYTHONPATH=path)
    assert ended.returncode == 4


def test_joblibs_processes_start_and_repeat(script):
    pytest.importorskip("joblib")
    code = (
        "import os, joblib\nimport numpy as np\n"
        "def f(i): return i, os.environ['OMP_NUM_THREADS'], np.random.default_rng(i).random()\n"
        "if __name__ == '__main__': print(joblib.Parallel(n_jobs=2)(joblib.delayed(f)(i) for i in range(4)))"
    )
    first, second = script(code), script(code)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout


def test_what_scripts_set_out_of_habit_stays_for_their_children_and_they_are_told(script):
    code = (
        "import os, subprocess, sys\nos.environ['PYTHONHASHSEED'] = '0'\n"
        "os.environ.update(CUDA_VISIBLE_DEVICES='0', TZ='UTC', MINE='1', PYTHONHASHSEED='42')\n"
        'show = \'import os; print(*map(os.environ.get, ["PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", "MINE"]))\'\n'
        "subprocess.run([sys.executable, '-c', show])"
    )
    strict, free = script(code), script(code, mode="best_effort")
    assert (strict.returncode, strict.stdout) == (0, "42 -1 1\n")
    assert strict.stderr.splitlines() == [
        "harness: strict: PYTHONHASHSEED stays 42, not 0",
        "harness: strict: CUDA_VISIBLE_DEVICES stays -1, not 0",
    ]
    assert (free.stdout, free.stderr) == ("42 0 1\n", "")


def test_a_variable_that_is_no_part_of_the_run_is_the_programs_own(variables):
    parent = {name: value for name, value in variables().items() if name != "CUDA_VISIBLE_DEVICES"}
    check_program(["python"], {**parent, "CUDA_VISIBLE_DEVICES": "1"}, parent)
    with pytest.raises(IntegrityError, match="HARNESS_HOOK as 'trainer', not unset"):
        check_program(["python"], {**parent, "HARNESS_HOOK": "trainer"}, parent)


def test_calls_that_make_no_sense_fail_as_ever(script):
    ended = script("import os\ntry:\n    os.execv('', [])\nexcept ValueError as error:\n    print(error)")
    bare = subprocess.run(
        [sys.executable, "-c", "import os\ntry:\n    os.execv('', [])\nexcept ValueError as error:\n    print(error)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (bare.returncode, bare.stdout)
