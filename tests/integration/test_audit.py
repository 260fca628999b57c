"""`harness exec --audit`, and what every run says that it touched, as a person meets them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.record.jsonfile import read_document
from harness.record.touched import SCHEMA, Touch, Touched
from tests.tools import lack

CHECKOUT = Path(__file__).parents[2]
AUDIT = ("--audit",)


class Ran(msgspec.Struct, frozen=True):
    """How one run ended, and where it is kept."""

    code: int
    stdout: bytes
    stderr: str
    folder: Path

    @property
    def addresses(self) -> str:
        """What the run recorded of its addresses."""
        snapshot = json.loads((self.folder / "exec" / "snapshot.json").read_bytes())
        return str(snapshot["host"]["addresses"])


class Project(msgspec.Struct, frozen=True):
    """A folder with a script in it, and an engine to run it with."""

    folder: Path
    engine: str

    def exec(self, *program: str, options: tuple[str, ...] = ()) -> Ran:
        results = self.folder.parent / "RESULTS"
        before = set((results / "runs").glob("[!.]*"))
        command = [sys.executable, "-m", "harness", "exec", f"--engine={self.engine}", f"--output-dir={results}"]
        done = subprocess.run(
            [*command, *options, "--", *program],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
        )  # fmt: skip
        (run,) = set((results / "runs").glob("[!.]*")) - before or {Path()}
        return Ran(done.returncode, done.stdout, done.stderr.decode(), run)

    def python(self, text: str, *, options: tuple[str, ...] = ()) -> Ran:
        (self.folder / "script.py").write_text(text)
        return self.exec("python", "script.py", options=options)


def make_project(tmp_path: Path, engine: str, request: pytest.FixtureRequest) -> Project:
    if engine == "docker":
        request.getfixturevalue("docker_engine")
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, engine)


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "host"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return make_project(tmp_path, request.param, request)


@pytest.fixture
def host_project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    return make_project(tmp_path, "host", request)


def touched(ran: Ran) -> Touched:
    assert ran.folder != Path(), ran.stderr
    return read_document(ran.folder / "exec" / "touched.json", Touched, SCHEMA)


def touches(ran: Ran, kind: str) -> dict[str, Touch]:
    return {touch.what: touch for touch in touched(ran).touched if touch.kind == kind}


SCRIPT = """
import os, random, subprocess, sys, threading, time, uuid
import numpy as np
open('/etc/hosts').read(); open('own.txt', 'w').write('x'); open('own.txt').read()
begun = time.time(); uuid.uuid4()
threading.Thread(target=print, args=(np.random.rand(), random.random(), {'a', 'b', 'c'}, os.listdir())).start()
subprocess.run([sys.executable, '-c', 'import os; os.urandom(1)'])
"""


def test_an_audited_run_says_what_it_touched_and_computes_the_same(project: Project) -> None:
    plain, audited = project.python(SCRIPT), project.python(SCRIPT, options=AUDIT)
    assert plain.code == audited.code == 0, audited.stderr
    assert audited.stdout == plain.stdout != b""
    assert "\nidentical sha256:" in audited.stderr, "what was touched is no part of a fingerprint"
    assert "Audit    file (" in audited.stderr
    assert "  /etc/hosts at script.py:4 sha256:" in audited.stderr
    for kind in ("entropy", "clock", "subprocess", "thread"):
        assert f"\nAudit    {kind} (" in audited.stderr
    assert touched(audited).audited
    assert not [what for what in touches(audited, "file") if "own.txt" in what or "numpy" in what]
    assert touches(audited, "clock")["time.time"].where == "script.py:5"
    assert "Audit" not in plain.stderr
    assert {touch.kind for touch in touched(plain).touched} == {"entropy", "thread"}
    assert touches(plain, "entropy").keys() == {"uuid.uuid4", "os.urandom"}


def test_what_native_code_and_other_programs_touch_is_seen_by_strace(host_project: Project, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    code = (
        f"import ctypes, subprocess; name = {str(secret)!r}\n"
        "libc = ctypes.CDLL(None); libc.fopen.restype = ctypes.c_void_p\n"
        "assert libc.fopen(name.encode(), b'r')\n"
        "print(subprocess.check_output(['cat', name]))\n"
    )
    ran = host_project.python(code, options=AUDIT)
    assert ran.stdout == b"b'one'\n"
    if shutil.which("strace") is None:
        assert "strace is not installed here" in "".join(touched(ran).notes)
        lack("strace")
    if touched(ran).notes:
        assert "strace is not allowed here" in "".join(touched(ran).notes)
        pytest.skip("strace is not allowed to trace here")
    found = touches(ran, "file")[str(secret)]
    assert (found.count, found.note, found.where) == (2, "seen by strace", None)
    assert found.digest == "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


@pytest.mark.parametrize(
    ("code", "expected"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_an_audited_program_ends_as_it_would(host_project: Project, code: str, expected: int) -> None:
    ran = host_project.python(code, options=AUDIT)
    assert ran.code == expected
    assert touched(ran).audited
    assert host_project.exec("no-such-program", options=AUDIT).code == 127


FAKE = """
import os
output = os.environ['HARNESS_OUTPUT']
os.urandom(4)
open(output + '/touched.json', 'w').write('{"schema": "harness.touched/1", "audited": true, "touched": []}')
with open(output + '/touched.log', 'ab') as log: log.write(b'\\xff' * 100_000 + b'\\nfile\\t(((((\\t1\\n')
print('done')
"""


def test_what_a_program_writes_in_the_place_of_the_notes_does_no_harm_and_is_said(project: Project) -> None:
    ran = project.python(FAKE)
    assert (ran.code, ran.stdout) == (0, b"done\n")
    assert touches(ran, "entropy").keys() == {"os.urandom"}
    assert not touched(ran).audited
    notes = " ".join(touched(ran).notes)
    assert "something else wrote there" in notes
    assert "touched.json of its own" in notes


def test_notes_that_were_removed_are_nothing_touched(host_project: Project) -> None:
    code = "import os, shutil\nos.urandom(1)\nos.remove(os.environ['HARNESS_OUTPUT'] + '/touched.log')\n"
    ran = host_project.python(code)
    assert ran.code == 0
    assert touched(ran).touched == ()


ADDRESSES = "class A: pass\nprint(id(A()), hash(object()), repr(sorted([A(), A(), A()], key=id)))\n"


def test_addresses_repeat_unless_they_are_asked_to_differ(project: Project) -> None:
    one, other = project.python(ADDRESSES), project.python(ADDRESSES)
    if one.addresses != "fixed":
        assert "personality(ADDR_NO_RANDOMIZE) was refused" in one.stderr
        pytest.skip("this system refuses personality(ADDR_NO_RANDOMIZE)")
    assert one.stdout == other.stdout
    assert other.stderr.startswith("identical")
    free = [project.python(ADDRESSES, options=("--randomize-addresses",)) for _ in range(2)]
    assert free[0].stdout != free[1].stdout
    assert free[0].addresses == "random"
    assert project.python(ADDRESSES, options=("--mode=best_effort",)).stdout != one.stdout


@pytest.mark.docker
def test_where_addresses_cannot_be_fixed_the_run_goes_on_and_says_so(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    project = make_project(tmp_path, "docker", request)
    (project.folder / "script.py").write_text("print('ran')")
    launcher = ("python3", "-P", "-m", "harness.strict.launch", "--fixed-addresses", "--", "python", "script.py")
    ran = project.exec(*launcher, options=("--randomize-addresses",))  # whose seccomp profile refuses it
    assert (ran.code, ran.stdout) == (0, b"ran\n"), ran.stderr
    assert "personality(ADDR_NO_RANDOMIZE) was refused (Operation not permitted)" in ran.stderr
    assert ran.addresses == "random"
