"""Every leak of the page `docs/leaks.md`: the same script, run twice while the thing changes, and what it saw of that.

A test proves one row's words for an engine, and `proves` holds them against the page, so that the two cannot part.
"""

import hashlib
import inspect
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.record.jsonfile import read_document
from harness.record.touched import SCHEMA, Touched

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "leaks.md"
PROBE = Path(__file__).with_name("leak_probe.py")
NAMES = ["b", "a", "c", "é", "B"]
SORTED = ["B", "a", "b", "c", "é"]


def rows() -> dict[str, dict[str, str]]:
    """The page's table: by test, the words of each engine."""
    found = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and (test := re.fullmatch(r"`(test_\w+)`", cells[4])):
            assert test[1] not in found, line
            found[test[1]] = {"docker": cells[2], "host": cells[3]}
    return found


ROWS = rows()


class Seen(msgspec.Struct, frozen=True):
    """One run: what the probe saw, what the harness kept of it, what it said."""

    probe: dict[str, Any]
    host: dict[str, Any]
    snapshot: dict[str, Any]
    touched: Touched
    stderr: str

    def noted(self, kind: str) -> set[str]:
        return {touch.what for touch in self.touched.touched if touch.kind == kind and touch.where}


class Pair(msgspec.Struct, frozen=True):
    """Two runs on one engine, between which everything changed; `audited` is a third."""

    engine: str
    first: Seen
    second: Seen
    audited: Seen
    changed: dict[str, Any]

    def of(self, name: str) -> tuple[Any, Any]:
        return self.first.probe[name], self.second.probe[name]

    def proves(self, word: str) -> None:
        """The words that the calling test has proved are those of its row on the page."""
        test = inspect.stack()[1].function
        assert ROWS[test][self.engine] == word, f"{PAGE.name} says {ROWS[test][self.engine]!r} of {test}"

    def proves_pinned(self, name: str) -> Any:
        one, other = self.of(name)
        assert one == other
        test = inspect.stack()[1].function
        assert ROWS[test][self.engine] == "pinned"
        return one


# Python's own means, in a process that becomes the command: `unshare` is called by its number of <linux/sched.h>.
BECOME = """
import ctypes, json, os, resource, socket, sys
wanted = json.loads(sys.argv[1])
if wanted["host"]:
    if ctypes.CDLL(None).unshare(0x04000000):
        sys.exit("unshare(CLONE_NEWUTS) was refused")
    socket.sethostname(wanted["host"])
os.umask(wanted["umask"])
resource.setrlimit(resource.RLIMIT_NOFILE, (wanted["files"], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.sched_setaffinity(0, wanted["cores"])
os.execv(sys.argv[2], sys.argv[2:])
"""


class Caller(msgspec.Struct, frozen=True):
    """Who starts a run: from where, with which variables, standard input, limits, cores and name of the machine."""

    folder: Path
    environment: dict[str, str]
    stdin: bytes
    umask: int
    files: int
    cores: list[int]
    host: str | None = None

    def run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        wanted = json.dumps({name: getattr(self, name) for name in ("umask", "files", "cores", "host")})
        return subprocess.run(
            [sys.executable, "-I", "-c", BECOME, wanted, *command],
            cwd=self.folder, env=self.environment, input=self.stdin, capture_output=True, timeout=200,
        )  # fmt: skip


def own_command() -> str:
    """How the tests' own process was started, as far as the probe reads that."""
    return Path("/proc/self/cmdline").read_text(errors="replace")[:300]


def may_rename_the_machine() -> bool:
    """Whether a process of a test may have a hostname of its own."""
    probe = "import ctypes; raise SystemExit(ctypes.CDLL(None).unshare(0x04000000) != 0)"
    return os.geteuid() == 0 and subprocess.run([sys.executable, "-I", "-c", probe]).returncode == 0


def callers(folder: Path, port: int) -> tuple[Caller, Caller]:
    """Two callers who have nothing in common but the script."""
    folder.mkdir()
    secret = folder / "secret"
    found = []
    for number, names in enumerate((NAMES, NAMES[::-1])):
        project = folder / ("first" if number == 0 else "second and longer")
        project.mkdir()
        change = {"names": names, "port": port, "secret": str(secret), "pid": os.getpid(), "command": own_command()}
        (project / "change.json").write_text(json.dumps(change))
        (project / "script.py").write_bytes(PROBE.read_bytes())
        if number:
            os.utime(project / "script.py", (10**9, 10**9))
        found.append(project)
    secret.write_text("a secret")
    base = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST", "XDG_CACHE_HOME") if name in os.environ}
    base |= {name: value for name, value in os.environ.items() if name.startswith(("HARNESS_", "UV_", "PIP_"))}
    base |= {"PYTHONPATH": str(CHECKOUT)}
    one = {**base, "TZ": "Asia/Tokyo", "LC_ALL": "C", "USER": "ann", "LOGNAME": "ann", "COLUMNS": "40", "AAA": "1"}
    other = {"ZZZ": "1", "STRAY": "x", "COLUMNS": "199", "LOGNAME": "bob", "USER": "bob", "LC_ALL": "C.UTF-8", **base}
    other["TZ"] = "America/New_York"
    own = folder / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import gc\ngc.set_threshold(300)\n")
    other["PYTHONPATH"] += f":{own}"
    cores = sorted(os.sched_getaffinity(0))
    return (
        Caller(found[0], one, b"", umask=0o077, files=900, cores=cores),
        Caller(found[1], other, b"typed\n", umask=0o002, files=800, cores=cores[:1]),
    )


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server of this machine that greets whoever reaches it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"hello")

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]


def start(caller: Caller, engine: str, results: Path, *options: str) -> Seen:
    before = set((results / "runs").glob("[!.]*"))
    command = [sys.executable, "-m", "harness", "exec", f"--engine={engine}", f"--output-dir={results}", *options]
    done = caller.run([*command, "--", "python", "script.py"])
    assert done.returncode == 0, done.stderr.decode()
    (run,) = set((results / "runs").glob("[!.]*")) - before
    snapshot = json.loads((run / "exec" / "snapshot.json").read_bytes())
    touched = read_document(run / "exec" / "touched.json", Touched, SCHEMA)
    return Seen(json.loads(done.stdout), snapshot["host"], snapshot, touched, done.stderr.decode())


@pytest.fixture(scope="module", params=[pytest.param("docker", marks=pytest.mark.docker), "host"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, port: int) -> Pair:
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    folder = tmp_path_factory.mktemp("leaks")
    one, other = callers(folder / "callers", port)
    if may_rename_the_machine():
        other = msgspec.structs.replace(other, host="elsewhere")
    first, second = (start(caller, request.param, folder / "results") for caller in (one, other))
    audited = start(one, request.param, folder / "results", "--audit")
    return Pair(request.param, first, second, audited, {"port": port})


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the same script sees in Python without the harness, of the same two callers."""
    seen = []
    for caller in callers(tmp_path_factory.mktemp("bare") / "callers", port):
        own = caller.environment.pop("PYTHONPATH").split(":")[1:]
        caller.environment.update({"PYTHONPATH": ":".join(own)} if own else {})
        done = caller.run([sys.executable, "script.py"])
        assert done.returncode == 0, done.stderr.decode()
        seen.append(json.loads(done.stdout))
    return seen[0], seen[1]


# The page


def test_every_row_of_the_page_has_a_test_and_every_leak_that_is_tested_a_row() -> None:
    looking = {"pair", "ftz"}  # the fixtures of tests that look at a leak
    tests = {name for name, test in globals().items() if name.startswith("test_") and looking & {*signature(test)}}
    assert tests == {*ROWS, "test_a_library_that_flushes_numbers_as_it_is_loaded_is_undone"}
    words = {"blocked", "pinned", "recorded", "recorded with `--audit`", "not controllable"}
    assert {word for engines in ROWS.values() for word in engines.values()} <= words


def signature(test: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(test).parameters)


def test_a_page_that_says_something_else_is_found(pair_stub: Pair) -> None:
    def test_the_clock(word: str) -> None:
        pair_stub.proves(word)

    def test_the_user() -> Any:
        return pair_stub.proves_pinned("user")

    def test_process_numbers() -> None:
        pair_stub.proves_pinned("user")

    def test_the_locale() -> None:
        pair_stub.proves_pinned("locale")

    test_the_clock("recorded with `--audit`")
    with pytest.raises(AssertionError, match=r"says 'recorded with `--audit`' of test_the_clock"):
        test_the_clock("pinned")
    assert test_the_user() == "harness"
    with pytest.raises(AssertionError):
        test_process_numbers()  # the page calls them not controllable
    with pytest.raises(AssertionError):
        test_the_locale()  # it differs between the two runs
    with pytest.raises(KeyError, match="test_a_page_that_says_something_else_is_found"):
        pair_stub.proves("pinned")  # no row names this test


@pytest.fixture
def pair_stub() -> Pair:
    one, other = (
        Seen({"user": "harness", "locale": locale}, {}, {}, Touched(audited=False), "") for locale in ("C", "de_DE")
    )
    return Pair("host", one, other, one, {})


BARE = (
    "hash seed", "clock", "time zone", "locale", "user", "working folder", "environment", "stray", "addresses",
    "random bits", "uuid", "pids", "umask", "terminal", "stdin", "temporary names", "file times", "inode", "limits",
    "cores", "garbage collection",
)  # fmt: skip


@pytest.mark.parametrize("name", BARE)
def test_bare_python_sees_the_change(bare: tuple[dict[str, Any], dict[str, Any]], name: str) -> None:
    if name == "cores" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one core")
    assert bare[0][name] != bare[1][name]


@pytest.mark.parametrize("way", ["listdir", "scandir", "walk", "glob", "iterdir"])
def test_bare_python_lists_files_as_the_disk_does(bare: tuple[dict[str, Any], dict[str, Any]], way: str) -> None:
    one, other = (seen["file order"] for seen in bare)
    assert one[way] == one["raw"] != other[way] == other["raw"]


def test_bare_python_reaches_the_network_and_any_file(bare: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert [bare[0][name] for name in ("network", "undeclared file", "other processes")] == ["hello", "a secret", True]


# The rows


def test_the_hash_seed(pair: Pair) -> None:
    pair.proves_pinned("hash seed")


def test_the_clock(pair: Pair) -> None:
    one, other = pair.of("clock")
    assert one != other
    assert pair.audited.noted("clock") >= {"time.time", "time.perf_counter", "datetime.datetime.now"}
    assert pair.first.noted("clock") == set()
    pair.proves("recorded with `--audit`")


def test_the_time_zone(pair: Pair) -> None:
    assert pair.proves_pinned("time zone") == [["UTC", "UTC"], "1970-01-01T00:00:00"]


def test_the_locale(pair: Pair) -> None:
    assert pair.proves_pinned("locale") == ["C.UTF-8", "UTF-8"]


def test_the_hostname(pair: Pair) -> None:
    one, other = pair.of("hostname")
    if pair.engine == "docker":
        assert one == other == "harness"
        pair.proves("pinned")
        return
    assert one == socket.gethostname()
    assert other == ("elsewhere" if may_rename_the_machine() else one)
    assert "socket.gethostname" in pair.audited.noted("socket")
    pair.proves("recorded with `--audit`")


def test_the_user(pair: Pair) -> None:
    assert pair.proves_pinned("user") == "harness"


def test_the_working_folder(pair: Pair) -> None:
    one, other = pair.of("working folder")
    if pair.engine == "docker":
        assert one == other == "/harness/output/project"
        pair.proves("pinned")
        return
    assert one != other
    assert Path(one).name == Path(other).name == "project"
    assert len(one) == len(other)
    pair.proves("not controllable")


def test_variables_and_their_order(pair: Pair) -> None:
    assert "STRAY" not in pair.proves_pinned("environment")
    assert pair.of("stray") == (None, None)


def test_the_order_of_files(pair: Pair) -> None:
    one, other = pair.of("file order")
    assert one["raw"] != other["raw"], "what is listed did change"
    for way in ("listdir", "scandir", "walk", "glob", "iterdir"):
        assert one[way] == other[way] == SORTED
    pair.proves("pinned")


def test_addresses(pair: Pair) -> None:
    if pair.first.host["addresses"] != "fixed":
        assert "personality(ADDR_NO_RANDOMIZE) was refused" in pair.first.stderr
        pytest.skip("this system refuses personality(ADDR_NO_RANDOMIZE)")
    pair.proves_pinned("addresses")


def test_random_bits_of_the_system(pair: Pair) -> None:
    one, other = pair.of("random bits")
    assert one != other
    assert "os.urandom" in pair.first.noted("entropy")
    (touch,) = (touch for touch in pair.first.touched.touched if touch.what == "os.urandom")
    assert touch.where is not None
    assert "os.urandom" in PROBE.read_text().splitlines()[int(touch.where.removeprefix("script.py:")) - 1]
    pair.proves("recorded")


def test_uuids(pair: Pair) -> None:
    one, other = pair.of("uuid")
    assert one != other
    assert pair.first.noted("entropy") >= {"uuid.uuid4", "uuid.uuid1"}
    pair.proves("recorded")


def test_process_numbers(pair: Pair) -> None:
    one, other = pair.of("pids")
    if pair.engine == "docker":
        assert max(*one, *other) < 1000, "a container counts its own"
    else:
        assert one != other
    pair.proves("not controllable")


def test_the_order_of_threads(pair: Pair) -> None:
    assert pair.of("threads") == ([0, 1, 2, 3],) * 2
    assert pair.first.noted("thread") == {"threading.Thread.start"}
    pair.proves("recorded")


def test_the_number_of_cores(pair: Pair) -> None:
    one, other = pair.of("cores")
    assert (len(one), len(other)) == (pair.first.host["cores"], pair.second.host["cores"])
    assert (len(one), len(other)) == (len(os.sched_getaffinity(0)), 1)
    assert pair.first.probe["processors"] == int(pair.first.host["processors"]) == os.cpu_count()
    assert pair.first.snapshot["comparison_group"] == {**pair.second.snapshot["comparison_group"], **same_task(pair)}
    pair.proves("recorded")


def same_task(pair: Pair) -> dict[str, Any]:
    """What differs between both runs' groups because their projects hold different files."""
    return {"task_signature": pair.first.snapshot["comparison_group"]["task_signature"]}


def test_the_model_of_the_cpu(pair: Pair) -> None:
    (line, *_) = pair.first.probe["cpu"]
    assert line.partition(":")[2].strip() == pair.first.snapshot["environment"]["cpu"]["model_name"]
    pair.proves("recorded")


def test_the_size_of_memory(pair: Pair) -> None:
    assert str(pair.first.probe["memory"]) == pair.first.host["memory"]
    pair.proves("recorded")


def test_the_kernel(pair: Pair) -> None:
    assert pair.first.probe["kernel"] == pair.first.host["kernel"]
    pair.proves("recorded")


def test_the_network(pair: Pair) -> None:
    if pair.engine == "docker":
        assert pair.of("network") == ("ConnectionRefusedError",) * 2
        pair.proves("blocked")
        return
    assert pair.of("network") == ("hello", "hello")
    assert f"socket.connect 127.0.0.1 {pair.changed['port']}" in pair.audited.noted("socket")
    pair.proves("recorded with `--audit`")


def test_files_that_are_no_input(pair: Pair) -> None:
    if pair.engine == "docker":
        assert pair.of("undeclared file") == ("FileNotFoundError",) * 2
        pair.proves("blocked")
        return
    assert pair.of("undeclared file") == ("a secret", "a secret")
    (touch,) = (touch for touch in pair.audited.touched.touched if touch.what.endswith("/secret"))
    assert touch.digest == f"sha256:{hashlib.sha256(b'a secret').hexdigest()}"
    pair.proves("recorded with `--audit`")


def test_other_processes(pair: Pair) -> None:
    if pair.engine == "docker":
        assert pair.of("other processes") == (False, False)
        pair.proves("blocked")
        return
    assert pair.of("other processes") == (True, True)
    assert f"/proc/{os.getpid()}/cmdline" in pair.audited.noted("file")
    pair.proves("recorded with `--audit`")


def test_the_umask(pair: Pair) -> None:
    assert pair.proves_pinned("umask") == 0o022


def test_the_terminal(pair: Pair) -> None:
    assert pair.proves_pinned("terminal") == [False, False, [80, 24]]


def test_standard_input(pair: Pair) -> None:
    assert pair.proves_pinned("stdin") == ""


def test_temporary_names(pair: Pair) -> None:
    one, other = pair.of("temporary names")
    assert one != other
    pair.proves("not controllable")


def test_times_of_the_projects_files(pair: Pair) -> None:
    assert pair.proves_pinned("file times")[0] == 315532800


def test_inode_numbers(pair: Pair) -> None:
    one, other = pair.of("inode")
    assert one != other
    pair.proves("not controllable")


def test_limits(pair: Pair) -> None:
    one, other = pair.of("limits")
    if pair.engine == "docker":
        assert one == other
        pair.proves("pinned")
    else:
        assert (one, other) == (900, 800)
        pair.proves("not controllable")


def test_garbage_collection(pair: Pair) -> None:
    pair.proves_pinned("garbage collection")


# Numbers next to zero

FAST = """
static unsigned switched(void) { return __builtin_ia32_stmxcsr() | 0x8040; }
__attribute__((constructor)) static void loaded(void) { __builtin_ia32_ldmxcsr(switched()); }
void flush(void) { __builtin_ia32_ldmxcsr(switched()); }
"""
# What needs no compiler: MXCSR is the last word of x86-64's `fenv_t`, after 28 bytes of the x87 unit's (<fenv.h>).
SWITCHED = """
import ctypes, sys
class Environment(ctypes.Structure):
    _fields_ = [("x87", ctypes.c_uint8 * 28), ("mxcsr", ctypes.c_uint32)]
environment, libm = Environment(), ctypes.CDLL("libm.so.6")
print(sys.float_info.min / 2 > 0)
libm.fegetenv(ctypes.byref(environment))
environment.mxcsr |= 0x8040
libm.fesetenv(ctypes.byref(environment))
print(sys.float_info.min / 2 > 0)
"""
SMALL = "import ctypes, sys; fast = ctypes.CDLL('./fast.so'); print(sys.float_info.min / 2 > 0)\n"


class Fast(msgspec.Struct, frozen=True):
    """A project with a library that switches whoever loads it, as `-ffast-math` makes them, and how to run in it."""

    engine: str
    folder: Path

    def exec(self, text: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "script.py").write_text(text)
        command = [sys.executable, "-m", "harness", "exec", f"--engine={self.engine}"]
        return subprocess.run(
            [*command, f"--output-dir={self.folder.parent / 'RESULTS'}", "--", "python", "script.py"],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True,
        )  # fmt: skip

    proves = Pair.proves


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "host"])
def ftz(request: pytest.FixtureRequest, tmp_path: Path) -> Fast:
    if platform.machine() != "x86_64":
        pytest.skip("the switch is one of x86-64's")
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    folder = tmp_path / "project"
    folder.mkdir()
    return Fast(request.param, folder)


def test_numbers_next_to_zero(ftz: Fast) -> None:
    switched = ftz.exec(SWITCHED)
    assert (switched.returncode, switched.stdout) == (4, "True\nFalse\n"), switched.stderr
    assert "the last library that Python loaded is libm.so.6" in switched.stderr
    assert "the run is not kept" in switched.stderr
    bare = subprocess.check_output([sys.executable, "script.py"], cwd=ftz.folder, text=True)
    assert bare == switched.stdout
    ftz.proves("pinned")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed: such a library cannot be made")
def test_a_library_that_flushes_numbers_as_it_is_loaded_is_undone(ftz: Fast) -> None:
    (ftz.folder.parent / "fast.c").write_text(FAST)
    command = ["gcc", "-shared", "-fPIC", "-o", ftz.folder / "fast.so", ftz.folder.parent / "fast.c"]
    subprocess.run(command, check=True)
    undone = ftz.exec(SMALL)
    assert (undone.returncode, undone.stdout) == (0, "True\n"), undone.stderr
    assert "fast.so switched this thread to flush numbers next to zero: undone" in undone.stderr
    bare = subprocess.check_output([sys.executable, "script.py"], cwd=ftz.folder, text=True)
    assert bare == "False\n"
    later = ftz.exec(f"{SMALL}fast.flush(); print(sys.float_info.min / 2 > 0)")
    assert (later.returncode, later.stdout) == (4, "True\nFalse\n")
    assert "the last library that Python loaded is ./fast.so" in later.stderr
