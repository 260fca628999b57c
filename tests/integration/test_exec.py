"""`harness exec` as a person meets it: its own process, both engines, scripts that nobody adapted to it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import docker
import msgspec
import pytest

from harness.engines.docker import DockerEngine

CHECKOUT = Path(__file__).parents[2]
ENGINES = [pytest.param("docker", marks=pytest.mark.docker), "host"]
VERDICTS = ("identical", "divergent", "incomparable", "unverified")


class Ran(msgspec.Struct, frozen=True):
    """What one `harness exec` said and left."""

    code: int
    stdout: bytes
    stderr: str
    folder: Path | None

    @property
    def verdict(self) -> str:
        """The verdict with its reasons, from stderr."""
        lines = [line for line in self.stderr.splitlines() if line.startswith(VERDICTS)]
        assert len(lines) == 1, self.stderr
        return lines[0]

    def document(self, name: str) -> dict:
        assert self.folder is not None, self.stderr
        return json.loads((self.folder / "exec" / f"{name}.json").read_bytes())

    def group(self) -> dict:
        return self.document("snapshot")["comparison_group"]


class Project:
    """A folder of somebody's, and `harness exec` in it."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder, self.engine = folder, engine
        self.results = folder.parent / "RESULTS"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def command(self, *arguments: str) -> list[str]:
        options = [f"--engine={self.engine}", f"--output-dir={self.results}"]
        return [sys.executable, "-m", "harness", "exec", *options, *arguments]

    def exec(self, *program: str, options: tuple[str, ...] = (), **environment: str) -> Ran:
        before = self._runs()
        done = subprocess.run(
            self.command(*options, "--", *program),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
        )
        new = sorted(self._runs() - before)
        return Ran(done.returncode, done.stdout, done.stderr.decode(), new[0] if new else None)

    def python(self, text: str, **keywords: object) -> Ran:
        self.write("script.py", text)
        return self.exec("python", "script.py", **keywords)  # type: ignore[arg-type]

    def _runs(self) -> set[Path]:
        return set((self.results / "runs").glob("[!.]*"))

    def leftovers(self) -> list[Path]:
        return list((self.results / "runs").glob(".*"))


@pytest.fixture(params=ENGINES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return make_project(tmp_path, request.param, request)


@pytest.fixture
def host_project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    return make_project(tmp_path, "host", request)


def make_project(tmp_path: Path, engine: str, request: pytest.FixtureRequest) -> Project:
    if engine == "docker":
        request.getfixturevalue("docker_engine")
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, engine)


@pytest.fixture(scope="session")
def bare_python() -> Path:
    """Python with the image's libraries, and nothing of the harness: what a script meets today."""
    printed = subprocess.check_output([sys.executable, "-m", "harness", "host-environment"], cwd=CHECKOUT, text=True)
    return Path(printed.strip())


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What a program prints, and how it ends


def test_stdout_and_exit_code_are_the_programs_alone_to_the_byte(project: Project) -> None:
    ran = project.python(
        "import os, sys\n"
        "os.write(1, bytes(range(256)) * 400 + b'no newline')\n"
        "os.write(2, b'to \\xff stderr\\n'.replace(b'\\xff', b'my'))\n"
        "sys.exit(7)\n"
    )
    assert ran.stdout == bytes(range(256)) * 400 + b"no newline"
    assert ran.code == 7
    assert "to my stderr\n" in ran.stderr
    assert ran.verdict.startswith("unverified")
    assert ran.document("metadata")["exit_code"] == 7


def test_quiet_leaves_stderr_to_the_program(project: Project) -> None:
    ran = project.python("import sys; sys.stderr.write('mine')", options=("--quiet",))
    assert (ran.code, ran.stdout, ran.stderr) == (0, b"", "mine")


def test_a_script_that_ends_with_a_message_says_it_and_fails(host_project: Project) -> None:
    ran = host_project.python("import sys; sys.exit('the data is stale')")
    assert ran.code == 1
    assert ran.stderr.startswith("the data is stale\n")


def test_a_program_reads_nothing_from_stdin(project: Project) -> None:
    assert project.python("import sys; print(repr(sys.stdin.read()))").stdout == b"''\n"


def test_a_program_that_does_not_exist_gives_127(project: Project) -> None:
    ran = project.exec("no-such-program")
    assert ran.code == 127
    assert "harness: the program 'no-such-program' does not exist in this environment" in ran.stderr


def test_a_script_that_does_not_exist_is_pythons_own_to_report(host_project: Project) -> None:
    ran = host_project.exec("python", "nowhere.py")
    assert ran.code == 2
    assert "can't open file" in ran.stderr
    assert "nowhere.py" in ran.stderr


def test_python_that_would_not_hear_of_strict_is_not_started_and_nothing_is_kept(host_project: Project) -> None:
    ran = host_project.exec("python", "-I", "-c", "print('started')")
    assert (ran.code, ran.stdout, ran.folder) == (4, b"", None)
    assert "python -I does not load what makes it so" in ran.stderr
    assert host_project.leftovers() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os; os.putenv('OPENBLAS_NUM_THREADS', '2'); import numpy", "numpy's openblas is 2, not 1"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'], env={})", "REPRO_MODE unset"),
        (
            "import numpy, threadpoolctl as t\n"
            "for one in t.ThreadpoolController().select(user_api='blas').lib_controllers:\n"
            "    one._get_symbol('openblas_set_num_threads')(2)",
            "numpy's openblas is 2, not 1",
        ),
    ],
)
def test_a_run_that_was_not_strict_is_not_kept_even_where_a_child_was_it_and_its_parent_does_not_care(
    project: Project, text: str, said: str
) -> None:
    project.write("child.py", text)
    parent = "import subprocess, sys; print(subprocess.run([sys.executable, 'child.py']).returncode)"
    for ran in (project.exec("python", "child.py"), project.python(parent)):
        assert (ran.code, ran.folder) == (4, None)
        assert said in ran.stderr
        assert "the run is not kept" in ran.stderr
    assert project.leftovers() == []


def test_a_program_that_answers_4_by_itself_is_kept(project: Project) -> None:
    assert project.python("import numpy; raise SystemExit(4)").document("metadata")["exit_code"] == 4


REFUSED = """
import sys, torch
from harness.strict.kernels.refused import refuse_operators

# As if the table refused it: which operators it does changes with what is found out about them.
refuse_operators(torch._harness_kernels, {"aten::erfinv": {"cpus": "refused", "note": "planted"}})
try:
    print(torch.erfinv(torch.zeros(3)))
except RuntimeError:
    if "catch" not in sys.argv:
        raise
"""


@pytest.mark.parametrize(("caught", "code"), [((), 1), (("catch",), 0)])
def test_an_operator_that_the_profile_refuses_is_named_with_how_the_program_ended(
    host_project: Project, caught: tuple[str, ...], code: int
) -> None:
    host_project.write("script.py", REFUSED)
    ran = host_project.exec("python", "script.py", *caught, options=("--profile=x86-64-v3",))
    assert ran.code == code
    ended = "went on and ended well" if caught else "ended with exit code 1"
    assert f"The profile x86-64-v3 refused aten::erfinv, and the program {ended}" in ran.stderr
    assert ("NotPortableError: aten::erfinv is refused" in ran.stderr) is not bool(caught)
    assert ran.document("metadata")["exit_code"] == code


def test_a_library_whose_choices_nobody_could_record_is_named(project: Project) -> None:
    ended = project.python("import numpy, os; os._exit(0)")
    assert "What numpy selected is not recorded: " in ended.stderr
    killed = project.python("import numpy, os; os.kill(os.getpid(), 9)")
    assert "What numpy selected is not recorded, nor was it verified at the end" in killed.stderr
    assert "not recorded" not in project.python("import numpy").stderr


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        (("-m", "package.tool", "x"), b"module x\n"),
        (("tool.py", "y"), b"file y\n"),
        (("python3", "-c", "print('code')"), b"code\n"),
        (("sh", "-c", "echo shell $REPRO_MODE"), b"shell strict\n"),
    ],
)
def test_a_module_a_file_and_any_program_can_be_run(
    host_project: Project, program: tuple[str, ...], printed: bytes
) -> None:
    host_project.write("package/tool.py", "import sys; print('module', sys.argv[1])")
    host_project.write("tool.py", "import sys; print('file', sys.argv[1])")
    ran = host_project.exec(*program)
    assert (ran.code, ran.stdout) == (0, printed)


def test_a_program_past_its_time_is_stopped_and_what_it_wrote_is_kept(project: Project) -> None:
    began = time.monotonic()
    ran = project.python(
        "import time; open('early.txt', 'w').write('x'); time.sleep(120)", options=("--time-limit=4.5",)
    )
    assert time.monotonic() - began < 60
    assert ran.code == 143
    assert "did not end within 4.5 s" in ran.stderr
    assert ran.document("metadata")["timed_out"] is True
    assert [*ran.document("metadata")["outputs"]] == ["early.txt"]


def test_a_program_that_was_killed_is_said_to_be(project: Project) -> None:
    ran = project.python("import os; os.kill(os.getpid(), 9)")
    assert ran.code == 137
    assert "Something killed the program (SIGKILL)" in ran.stderr
    assert "SIGKILL" not in project.python("raise SystemExit(9)").stderr


def test_a_closed_pipe_ends_the_run_as_it_ends_any_program(host_project: Project) -> None:
    host_project.write("endless.py", "while True: print('y' * 1000, flush=True)")
    command = " ".join([*host_project.command("--", "python", "endless.py")])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 10; exit ${{PIPESTATUS[0]}}"],
        cwd=host_project.folder, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == b"y" * 10
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert host_project.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_program_and_leaves_nothing(project: Project, number: int) -> None:
    script = f"wait-{number}.py"  # by which its container is known among those of other tests
    project.write(script, "import time; print('waits', flush=True); time.sleep(300)")
    process = subprocess.Popen(
        project.command("--", "python", script),
        cwd=project.folder, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"waits\n"
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    process.stdout.close()
    process.stderr.close()  # type: ignore[union-attr]
    assert project.leftovers() == []
    if project.engine == "docker":
        client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        commands = [container.attrs["Config"]["Cmd"] for container in client.containers.list(all=True)]
        assert not [command for command in commands if script in command]


# Where it works, and what is kept


def test_it_works_on_a_copy_and_what_it_changed_is_kept_with_digests(project: Project) -> None:
    project.write("data/in.csv", "1\n")
    project.write("old.txt", "old")
    project.write("same.txt", "same")
    text = (
        "import os, pathlib as p\n"
        "p.Path('new/deep').mkdir(parents=True); p.Path('new/deep/a.bin').write_bytes(b'\\0\\1')\n"
        "p.Path('old.txt').write_text('new'); p.Path('same.txt').write_text('same')\n"
        "p.Path('data/in.csv').unlink(); p.Path('closed').write_text('s'); p.Path('closed').chmod(0)\n"
        "os.symlink('new/deep/a.bin', 'latest'); os.symlink(os.path.abspath('new'), 'away'); os.mkfifo('pipe')\n"
    )
    project.write("script.py", text)
    before = listing(project.folder)
    ran = project.exec("python", "script.py")
    assert ran.code == 0, ran.stderr
    assert listing(project.folder) == before
    assert ran.folder is not None
    assert listing(ran.folder / "exec" / "outputs") == {"new/deep/a.bin": b"\0\1", "old.txt": b"new", "closed": b"s"}
    outputs = ran.document("snapshot")["families"]["script"]["outputs"]
    assert sorted(outputs) == [
        "exit_code", "outputs/closed", "outputs/latest", "outputs/new/deep/a.bin", "outputs/old.txt", "removed",
    ]  # fmt: skip
    assert outputs["outputs/old.txt"] == "sha256:11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
    metadata = ran.document("metadata")
    assert metadata["removed"] == ["data/in.csv"]
    assert metadata["links"] == {"latest": "new/deep/a.bin"}
    assert "away is not kept: it is a link to" in ran.stderr
    assert "pipe is not kept: it is neither a file nor a link" in ran.stderr
    assert sorted(path.name for path in (ran.folder / "exec").iterdir()) == [
        "diff_prev.json", "metadata.json", "outputs", "snapshot.json", "stdout.txt", "touched.json",
    ]  # fmt: skip
    manifest = json.loads((ran.folder / "manifest.json").read_bytes())
    assert "exec/outputs/old.txt" in str(manifest)


def test_git_decides_what_a_project_is(host_project: Project) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-C", str(host_project.folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    host_project.write(".gitignore", "ignored.txt\n")
    host_project.write("tracked.txt", "")
    host_project.write("ignored.txt", "")
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "one"], check=True)
    host_project.write("untracked.txt", "")
    ran = host_project.exec("python", "-c", "import os; print(*sorted(os.listdir()))")
    assert ran.stdout == b".gitignore tracked.txt untracked.txt\n"
    code = ran.document("snapshot")["code"]
    assert code["dirty"] is True
    assert len(code["commit"]) == 40
    assert ran.folder is not None
    patch = (ran.folder / "uncommitted.patch").read_bytes()
    assert code["diff"] == f"sha256:{hashlib.sha256(patch).hexdigest()}"
    assert b"untracked.txt" in patch
    assert "uncommitted.patch" in json.loads((ran.folder / "manifest.json").read_bytes())["files"]
    host_project.write("ignored.txt", "other")
    assert host_project.exec("python", "-c", "import os; print(*sorted(os.listdir()))").verdict.startswith("identical")


def test_a_submodules_files_belong_to_the_project(host_project: Project, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    library = tmp_path / "library"
    library.mkdir()
    (library / "mine.py").write_text("ANSWER = 42\n")
    for folder in (library, host_project.folder):
        subprocess.run([*git, "-C", str(folder), "init", "--quiet"], check=True)
    subprocess.run([*git, "-C", str(library), "add", "."], check=True)
    subprocess.run([*git, "-C", str(library), "commit", "--quiet", "-m", "one"], check=True)
    add = [*git, "-C", str(host_project.folder), "submodule", "--quiet", "add", str(library), "vendored"]
    subprocess.run(add, check=True)
    assert host_project.exec("python", "-c", "import vendored.mine as m; print(m.ANSWER)").stdout == b"42\n"


def test_results_environments_and_version_control_are_no_part_of_a_project(host_project: Project) -> None:
    host_project.results = host_project.folder / "my results"
    show = ("python", "-c", "import os; print(*sorted(os.listdir()))")
    host_project.write(".venv/pyvenv.cfg", "")
    host_project.write("a.py", "")
    first = host_project.exec(*show)
    host_project.results = host_project.folder / "other"
    second = host_project.exec(*show)
    assert first.stdout == second.stdout == b"a.py\n"
    assert first.group() == second.group()


def test_a_link_that_leaves_the_project_is_refused_by_name(host_project: Project) -> None:
    (host_project.folder / "way-out").symlink_to("/etc/passwd")
    ran = host_project.exec("python", "-c", "pass")
    assert (ran.code, ran.folder) == (2, None)
    assert "way-out leads out of" in ran.stderr
    assert "Replace it by what it leads to" in ran.stderr


@pytest.mark.parametrize("folder", ["/", "~"])
def test_a_folder_that_holds_everything_is_no_project(host_project: Project, folder: str) -> None:
    ran = host_project.exec("python", "-c", "pass", options=("--project", str(Path(folder).expanduser())))
    assert ran.code == 2
    assert "is no project: all of it would be copied" in ran.stderr


# What is compared


def test_a_second_run_is_identical_and_changed_code_is_another_task(project: Project) -> None:
    text = "import random, pathlib; pathlib.Path('out').write_text(str(random.random()))"
    first, second = project.python(text), project.python(text)
    assert first.verdict.startswith("unverified")
    assert second.verdict.startswith("identical")
    assert "\n  " not in second.stderr
    changed = project.python(text + "  # the same, in other words")
    difference = changed.document("diff_prev")
    assert difference["families"]["script"]["verdict"] == "incomparable"
    assert difference["changed_keys"] == ["task_signature"]


def test_another_seed_and_another_mode_are_named(host_project: Project) -> None:
    text = "import random; print(random.random())"
    first = host_project.python(text)
    other = host_project.python(text, options=("--seed=7",))
    assert other.document("diff_prev")["changed_keys"] == ["train_seed"]
    assert other.stdout != first.stdout
    same = host_project.python(text, REPRO_SEED="7")
    assert same.stdout == other.stdout
    assert same.verdict.startswith("identical")
    assert host_project.python(text, REPRO_SEED="-7").code == 2


def test_data_is_read_only_and_its_content_alone_tells_runs_apart(project: Project, tmp_path: Path) -> None:
    data = tmp_path / "prices"
    data.mkdir()
    (data / "panel.csv").write_text("1,2\n")
    text = (
        "import os, pathlib\n"
        "folder = pathlib.Path(os.environ['HARNESS_DATA'])\n"
        "print((folder / 'panel.csv').read_text())\n"
    )
    options = (f"--data={data}",)
    first = project.python(text, options=options)
    assert first.stdout == b"1,2\n\n"
    assert project.python(text, options=options).verdict.startswith("identical")
    (data / "panel.csv").write_text("1,3\n")
    changed = project.python(text, options=options)
    assert changed.document("diff_prev")["changed_keys"] == ["dataset_signature"]
    shutil.copytree(data, tmp_path / "elsewhere")
    moved = project.python(text, options=(f"--data={tmp_path / 'elsewhere'}",))
    assert moved.verdict.startswith("identical"), "where data lies is no part of what it is"


@pytest.mark.docker
def test_in_a_container_data_cannot_be_written(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    project = make_project(tmp_path, "docker", request)
    data = tmp_path / "data"
    data.mkdir()
    ran = project.python(
        "import os, pathlib; (pathlib.Path(os.environ['HARNESS_DATA']) / 'x').write_text('')",
        options=(f"--data={data}",),
    )
    assert ran.code == 1
    assert "Read-only file system" in ran.stderr
    assert list(data.iterdir()) == []


def test_random_bytes_from_the_system_make_a_run_divergent_and_the_exit_code_stays_its_own(
    host_project: Project,
) -> None:
    text = "import os, pathlib; pathlib.Path('noise').write_bytes(os.urandom(8)); print('done')"
    assert host_project.python(text).code == 0
    second = host_project.python(text)
    assert second.code == 0
    assert second.stdout == b"done\n"
    assert second.verdict.startswith("divergent")
    assert "noise" in second.verdict


def test_what_is_printed_counts_where_it_is_all_that_there_is(host_project: Project) -> None:
    text = "import os; print(os.urandom(4))"
    host_project.python(text)
    assert "stdout" in host_project.python(text).verdict


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("time.time()", " in times only\n  stdout, line 1: a time or date ("),
        ("os.urandom(2).hex(), time.time()", "\n  stdout, line 1: text ("),
    ],
)
def test_what_is_printed_beside_files_is_said_to_differ_and_why_but_decides_nothing(
    host_project: Project, what: str, said: str
) -> None:
    text = f"import os, time, pathlib; pathlib.Path('model').write_text('m'); print({what})"
    first, second = host_project.python(text), host_project.python(text)
    assert second.verdict.startswith("identical")
    assert first.folder is not None
    assert f"what it printed is not, and differs from {first.folder.name}{said}" in second.stderr
    assert (first.folder / "exec" / "stdout.txt").read_bytes() == first.stdout


# Scripts that nobody adapted

UNSEEDED = {
    "numpy": "import random, numpy as np\n"
    "print(np.random.default_rng().normal(), np.random.rand(), np.random.RandomState().rand())\n"
    "print(random.random(), random.Random().random())\n",
    "torch": "import torch\n"
    "x = torch.randn(64, 5)\n"
    "model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))\n"
    "optimizer = torch.optim.Adam(model.parameters())\n"
    "data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=8, shuffle=True, num_workers=1)\n"
    "for (batch,) in data:\n"
    "    optimizer.zero_grad(); loss = (model(batch) ** 2).mean(); loss.backward(); optimizer.step()\n"
    "print(loss.item().hex())\n",
    "sklearn": "import numpy as np\n"
    "from sklearn.ensemble import RandomForestRegressor\n"
    "x = np.random.normal(size=(500, 6)); y = np.exp(6 * np.random.normal(size=500)) * x[:, 0]\n"
    "model = RandomForestRegressor(20, n_jobs=-1).fit(x, y)\n"
    "print(*[model.predict(x).sum().hex() for _ in range(10)])\n",
    "boosting": "import numpy as np, lightgbm, xgboost\n"
    "rng = np.random.default_rng(); x = rng.normal(size=(20000, 20))\n"
    "y = np.exp(6 * rng.normal(size=20000)) * x[:, 0]\n"
    "print(lightgbm.LGBMRegressor(n_estimators=10, verbose=-1, n_jobs=-1).fit(x, y).predict(x).sum().hex())\n"
    "print(float(xgboost.XGBRegressor(n_estimators=10, subsample=0.5).fit(x, y).predict(x).sum()).hex())\n",
    "processes": "import multiprocessing, numpy as np\n"
    "def draw(_): return float(np.random.rand())\n"
    "if __name__ == '__main__':\n"
    "    for method in ('fork', 'spawn'):\n"
    "        with multiprocessing.get_context(method).Pool(1) as pool: print(pool.map(draw, range(3)))\n",
}


@pytest.mark.parametrize(
    ("engine", "name"),
    [*(pytest.param("docker", name, marks=pytest.mark.docker) for name in UNSEEDED), ("host", "numpy")],
)
def test_a_script_without_any_seed_repeats(
    engine: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    project = make_project(tmp_path, engine, request)
    first, second = project.python(UNSEEDED[name]), project.python(UNSEEDED[name])
    assert first.code == 0, first.stderr
    assert first.stdout.strip()
    assert second.stdout == first.stdout
    assert second.verdict.startswith("identical")


@pytest.mark.parametrize("name", UNSEEDED)
def test_the_same_script_differs_from_run_to_run_in_bare_python(bare_python: Path, tmp_path: Path, name: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNSEEDED[name])
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("REPRO_", "PYTHON"))}
    environment["OMP_NUM_THREADS"] = "1"  # so that threads are not what differs
    runs = {subprocess.check_output([bare_python, script], env=environment, timeout=120) for _ in range(2)}
    assert len(runs) == 2


def test_one_core_and_two_give_a_script_the_same_bits(host_project: Project) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("this machine has one core")
    host_project.write("script.py", UNSEEDED["boosting"])
    two = host_project.exec("python", "script.py")
    os.sched_setaffinity(0, cores[:1])
    try:
        one = host_project.exec("python", "script.py")
    finally:
        os.sched_setaffinity(0, cores)
    assert one.stdout == two.stdout
    assert one.verdict.startswith("identical")


# The seeds' launcher


def test_the_launcher_script_overrides_stray_thread_counts_and_says_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os; names = 'OMP_NUM_THREADS', 'PYTHONHASHSEED', 'REPRO_MODE', 'REPRO_SEED', 'MKL_THREADING_LAYER'\n"
        "print([os.environ[name] for name in names])"
    )
    launcher = tmp_path / "checkout" / "bin" / "run_deterministic.sh"
    launcher.parent.mkdir(parents=True)
    shutil.copy(CHECKOUT / "bin" / launcher.name, launcher)
    launcher.parent.with_name(".venv").symlink_to(sys.prefix)  # whichever environment runs these tests
    done = subprocess.run(
        [launcher, "python", "script.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "8", "PYTHONHASHSEED": "0", "REPRO_SEED": "123"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['1', '42', 'strict', '123', 'GNU']\n"
    assert "OMP_NUM_THREADS=8 is not taken over: the run gets OMP_NUM_THREADS=1" in done.stderr
    assert (tmp_path / "RESULTS" / "runs").is_dir()


def test_both_engines_are_never_compared_with_each_other(docker_engine: DockerEngine, host_project: Project) -> None:
    host_project.python("print(1)")
    host_project.engine = "docker"
    other = host_project.exec("python", "script.py")
    assert other.document("diff_prev")["changed_keys"] == ["environment_signature"]
