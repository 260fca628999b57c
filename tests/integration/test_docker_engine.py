"""The Docker engine, seen from inside real containers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from harness.engines.connection import is_podman
from harness.engines.docker import DockerEngine, clean
from harness.errors import PrerequisiteError, ToolError, UsageError
from harness.spec.digest import digest_from_hex
from harness.spec.run import ImageReference, Mount, RunResult, RunSpec

pytestmark = pytest.mark.docker

Spec = Callable[..., RunSpec]


class Finished(msgspec.Struct):
    result: RunResult
    stdout: bytes
    stderr: bytes

    def json(self) -> Any:
        assert self.result.exit_code == 0, self.stderr.decode()
        return json.loads(self.stdout)


@pytest.fixture
def run(docker_engine: DockerEngine, make_spec: Spec, python_image: ImageReference) -> Callable[..., Finished]:
    def run(code: str, **fields: object) -> Finished:
        out, error = bytearray(), bytearray()
        spec = make_spec(code, **{"image": python_image, **fields})
        result = docker_engine.run(spec, on_stdout=out.extend, on_stderr=error.extend)
        return Finished(result, bytes(out), bytes(error))

    return run


@pytest.fixture
def client(docker_engine: DockerEngine) -> docker.DockerClient:
    return docker.DockerClient(base_url=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))


def containers_of(client: docker.DockerClient, run_id: str) -> list[Any]:
    return client.containers.list(all=True, filters={"label": f"harness.run={run_id}"})


Run = Callable[..., Finished]


def test_there_is_no_network_but_the_runs_own_loopback(run: Run, client: docker.DockerClient) -> None:
    code = """
import json, os, socket
names = [name for _, name in socket.if_nameindex()]
try:
    socket.create_connection(("192.0.2.1", 80), timeout=3); reached = True
except OSError:
    reached = False
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), timeout=3)
resolver = open("/etc/resolv.conf").read() if os.path.exists("/etc/resolv.conf") else None
print(json.dumps([names, reached, resolver]))
"""
    names, reached, resolver = run(code).json()
    assert names == ["lo"]
    assert not reached
    if resolver is None:
        assert is_podman(client), "podman makes none for a container without a network"
    else:
        assert [line for line in resolver.splitlines() if line.startswith("nameserver")] == ["nameserver 127.0.0.1"]


def test_nothing_but_the_output_and_temporary_folders_can_be_written(run: Run, make_spec: Spec, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o777)
    (data / "panel.csv").write_text("1")
    (data / "panel.csv").chmod(0o666)
    data.chmod(0o777)
    code = """
import errno, json, os
answers = {}
for path in ("/x", "/etc/x", "/usr/x", "/run/x", "/var/tmp/x", "/harness/x", "/harness/code/x", "/harness/data/x",
             "/harness/data/panel.csv", "/tmp/x", "/dev/shm/x", "/harness/output/x"):
    try:
        open(path, "w").write("x"); answers[path] = "written"
    except OSError as error:
        answers[path] = errno.errorcode[error.errno]
print(json.dumps(answers))
"""
    answers = run(code, mounts=(Mount(name="data", source=str(data), digest=digest_from_hex("1" * 64)),)).json()
    assert {path for path, answer in answers.items() if answer == "written"} == {
        "/tmp/x", "/dev/shm/x", "/harness/output/x"
    }  # fmt: skip
    assert answers["/harness/data/panel.csv"] == "EROFS"
    assert (data / "panel.csv").read_text() == "1"


def test_a_run_is_a_plain_user_without_any_capability(run: Run) -> None:
    code = """
import json, os, pwd, grp, getpass
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"], "seccomp": status["Seccomp"],
    "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getgroups()], "name": pwd.getpwuid(os.getuid()).pw_name,
    "group": grp.getgrgid(os.getgid()).gr_name, "user": getpass.getuser(),
}))
"""
    found = run(code).json()
    expected = 65532 if os.geteuid() == 0 else os.geteuid()
    assert found["capabilities"] == ["0000000000000000"] * 5
    assert found["no_new_privileges"] == "1"
    assert found["seccomp"] == "2"
    assert found["ids"][:2] == [expected, expected]
    assert 0 not in found["ids"][3]
    assert found["name"] == found["group"] == found["user"] == "harness"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_plain_callers_run_has_the_callers_id_and_a_name(run: Run, launcher_mount: Mount) -> None:
    code = """
import json, os, pwd, grp, getpass
open("made", "w").write("x")
print(json.dumps([os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name,
                  getpass.getuser(), os.path.expanduser("~")]))
"""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        mount = msgspec.structs.replace(
            launcher_mount, source=str(shutil.copytree(launcher_mount.source, folder / "code"))
        )
        (folder / "output").mkdir()
        os.chown(folder / "output", 12345, 23456)
        groups = os.getgroups()
        try:
            os.setgroups([Path("/var/run/docker.sock").stat().st_gid])
            os.setegid(23456)
            os.seteuid(12345)
            found = run(code, output=str(folder / "output"), code_mount=mount).json()
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
        assert found == [12345, 23456, "harness", "harness", "harness", "/tmp"]
        assert (folder / "output/made").stat().st_uid == 12345


def test_more_rights_cannot_be_had(run: Run) -> None:
    code = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
def attempt(name, call):
    try:
        answers[name] = call()
    except OSError as error:
        answers[name] = "refused"
attempt("setuid", lambda: os.setuid(0))
attempt("chown", lambda: os.chown("/harness/output", 0, 0))
attempt("mknod", lambda: os.mknod("/tmp/device", 0o600 | 0o060000, os.makedev(8, 0)))
attempt("unshare", lambda: libc.unshare(0x10000000))
attempt("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
attempt("bpf", lambda: libc.syscall(321, 0, None, 0))
attempt("ptrace", lambda: libc.ptrace(0, 0, None, None))
attempt("io_uring", lambda: libc.syscall(425, 1, None))
print(json.dumps(answers))
"""
    assert set(run(code).json().values()) <= {"refused", -1}


def test_the_seccomp_profile_lets_processes_and_threads_be(run: Run) -> None:
    code = """
import concurrent.futures as futures, json, multiprocessing, os, subprocess, sys
if __name__ == "__main__":
    with futures.ThreadPoolExecutor(4) as pool:
        threads = sum(pool.map(abs, range(10)))
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        forked = sum(pool.map(abs, range(10)))
    child = subprocess.run([sys.executable, "-c", "print(45)"], capture_output=True, text=True).stdout
    lock = multiprocessing.Lock()
    print(json.dumps([threads, forked, int(child)]))
"""
    script = f"""
import pathlib, runpy
pathlib.Path("/tmp/script.py").write_text({code!r})
runpy.run_path("/tmp/script.py", run_name="__main__")
"""
    assert run(script).json() == [45, 45, 45]


@pytest.mark.parametrize("hostname", ["harness", "another"])
def test_the_hostname_is_the_specs(run: Run, hostname: str) -> None:
    assert run("import json, socket; print(json.dumps(socket.gethostname()))", hostname=hostname).json() == hostname


def test_cores_are_an_affinity_not_a_share(run: Run) -> None:
    code = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
    every = sorted(os.sched_getaffinity(0))
    assert run(code, cpus=(every[0],)).json() == every[:1]
    assert run(code, cpus=tuple(every)).json() == every


def test_a_core_that_is_not_there_is_refused_in_the_daemons_words(run: Run) -> None:
    with pytest.raises(ToolError, match="CPUs are not available"):
        run("pass", cpus=(4096,))


def test_too_much_memory_ends_the_run_and_is_named_as_the_cause(run: Run, client: docker.DockerClient) -> None:
    code = "import json; block = bytearray(200 << 20); print(json.dumps(len(block)))"
    killed = run(code, memory=64 << 20).result
    # podman sometimes misses why, and so do we where the end comes between two looks; then it is said to be killed.
    assert killed.out_of_memory or (killed.killed and is_podman(client))
    assert killed.exit_code == 137
    enough = run(code + "; import time; time.sleep(0.6)", memory=512 << 20)
    assert not enough.result.out_of_memory
    assert enough.json() == 200 << 20
    assert enough.result.peak_memory is None or enough.result.peak_memory > 200 << 20


def test_swap_does_not_extend_the_memory_limit(
    docker_engine: DockerEngine, client: docker.DockerClient, make_spec: Spec, python_image: ImageReference
) -> None:
    seen: list[dict[str, Any]] = []

    def look(_: bytes) -> None:
        seen.append(containers_of(client, "swap-test")[0].attrs["HostConfig"])

    code = "import time; print('up', flush=True); time.sleep(1)"
    spec = make_spec(code, image=python_image, memory=64 << 20, run_id="swap-test")
    docker_engine.run(spec, on_stdout=look, on_stderr=lambda _: None)
    assert seen[0]["Memory"] == seen[0]["MemorySwap"] == 64 << 20


def test_processes_are_limited(run: Run) -> None:
    code = """
import json, os, signal
children = []
try:
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
    print(json.dumps("all"))
except BlockingIOError:
    print(json.dumps("limited"))
for child in children:
    os.kill(child, 9)
"""
    assert run(code, pids=20).json() == "limited"
    assert run(code, pids=200).json() == "all"


def test_the_temporary_folder_has_its_size_and_runs_programs(run: Run) -> None:
    code = """
import json, os, shutil, subprocess
shutil.copy("/usr/local/bin/python3", "/tmp/copy")
ran = subprocess.run(["/tmp/copy", "-c", ""], env={"PYTHONHOME": "/usr/local"}).returncode
try:
    open("/tmp/large", "wb").write(bytes(200 << 20)); fits = True
except OSError:
    fits = False
sizes = [os.statvfs(path).f_blocks * os.statvfs(path).f_frsize >> 20 for path in ("/tmp", "/dev/shm")]
print(json.dumps([ran, fits, sizes]))
"""
    assert run(code, temporary=100 << 20, shared_memory=32 << 20).json() == [0, False, [100, 32]]
    assert run(code, temporary=300 << 20, shared_memory=48 << 20).json() == [0, True, [300, 48]]


def test_the_launcher_is_started_by_no_other_python_on_the_path(
    run: Run,
    client: docker.DockerClient,
    python_archive: Path,
    import_image: Callable[..., ImageReference],
    tmp_path: Path,
) -> None:
    archive = Path(shutil.copy(python_archive, tmp_path / "root.tar"))
    (tmp_path / "other").write_text("#!/usr/bin/python3\nprint('other')\n")
    (tmp_path / "other").chmod(0o755)
    with tarfile.open(archive, "a") as tar:
        tar.add(tmp_path / "other", "usr/local/sbin/python3")
    image = import_image(client, archive, label="other-python")
    try:
        assert run("print('ours')", image=image, argv=("/usr/bin/python3", "-c", "print('ours')")).stdout == b"ours\n"
        assert run("print('ours')", image=image).stdout == b"other\n", "what a program starts is found on its PATH"
    finally:
        client.api.remove_image(image.config, force=True)


def test_the_environment_is_an_allow_list(
    run: Run, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("STRAY", "1")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    found = run(code, environment={"REPRO_MODE": "strict"}).json()
    assert found == {
        "HARNESS_CHECKPOINTS": "/harness/output/checkpoints",
        "HARNESS_CODE": "/harness/code",
        "HARNESS_OUTPUT": "/harness/output",
        "HOME": "/tmp",
        "HOSTNAME": "harness",
        "LOGNAME": "harness",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": "/harness/code:/harness/code/harness/strict/site",
        "REPRO_MODE": "strict",
        "USER": "harness",
        **({"TERM": "xterm", "container": "podman"} if is_podman(client) else {}),  # podman's own, come what may
    }
    assert run(code, environment={"OMP_NUM_THREADS": "1"}).json()["OMP_NUM_THREADS"] == "1"


def test_outputs_are_the_callers_and_links_are_not_followed(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    before = outside.stat()
    code = f"""
import os
os.makedirs("deep/er"); open("deep/er/file", "w").write("made"); os.symlink({str(outside)!r}, "link")
raise SystemExit(7)
"""
    (tmp_path / "output" / "given").write_text("before")
    finished = run(code)
    assert finished.result.exit_code == 7
    output = tmp_path / "output"
    assert (output / "deep/er/file").read_text() == "made"
    owners = {path.lstat().st_uid for path in (output, *output.rglob("*"))}
    assert owners == {os.geteuid()}
    assert (outside.stat().st_uid, outside.stat().st_mode) == (before.st_uid, before.st_mode)


def test_the_working_folder_lies_under_the_output_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "output" / "work").mkdir()
    finished = run("import json, os; print(json.dumps(os.getcwd()))", working_directory="work")
    assert finished.json() == "/harness/output/work"
    with pytest.raises(UsageError, match="not under its output folder"):
        run("pass", working_directory="../elsewhere")


def test_both_streams_come_whole_and_apart(run: Run) -> None:
    size = 8 << 20
    code = f"""
import os, sys
sys.stdout.buffer.write(bytes(range(256)) * ({size} // 256)); sys.stdout.flush()
sys.stderr.buffer.write(b"\\xff\\n" * 1000); sys.stderr.flush()
os.write(1, b"the end"); os._exit(3)
"""
    finished = run(code)
    assert finished.result.exit_code == 3
    assert finished.stdout == bytes(range(256)) * (size // 256) + b"the end"
    assert finished.stderr == b"\xff\n" * 1000


def test_a_slow_reader_loses_nothing(
    docker_engine: DockerEngine, make_spec: Spec, python_image: ImageReference
) -> None:
    received = bytearray()

    def slowly(data: bytes) -> None:
        if not received:
            time.sleep(4)  # twice as long as the daemon waits for its readers once the program has ended
        received.extend(data)

    code = "import sys; sys.stdout.buffer.write(b'x' * (6 << 20)); print('end')"
    docker_engine.run(make_spec(code, image=python_image), on_stdout=slowly, on_stderr=lambda _: None)
    assert len(received) == (6 << 20) + 4
    assert received.endswith(b"end\n")


def test_output_comes_while_the_run_goes_on(
    docker_engine: DockerEngine, make_spec: Spec, python_image: ImageReference
) -> None:
    moments: list[float] = []
    code = "import time\nfor _ in range(3): print('tick', flush=True); time.sleep(0.4)"
    docker_engine.run(
        make_spec(code, image=python_image),
        on_stdout=lambda _: moments.append(time.monotonic()),
        on_stderr=lambda _: None,
    )
    assert moments[-1] - moments[0] > 0.5


@pytest.mark.parametrize(
    ("code", "expected"), [("pass", 0), ("raise SystemExit(42)", 42), ("import os; os.abort()", 134)]
)
def test_the_exit_code_is_the_programs(run: Run, code: str, expected: int) -> None:
    assert run(code).result.exit_code == expected


def test_a_program_that_ignores_sigterm_ends_at_its_time_limit(run: Run) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"
    finished = run(code, time_limit=4.0)
    assert finished.result.timed_out
    assert finished.result.exit_code == 137
    assert finished.result.wall_seconds < 20


def test_a_program_may_tidy_up_at_its_time_limit(run: Run, tmp_path: Path) -> None:
    code = """
import signal, sys, time
def tidy(*_):
    open("tidied", "w").write("yes"); sys.exit(5)
signal.signal(signal.SIGTERM, tidy)
time.sleep(120)
"""
    finished = run(code, time_limit=4.0)
    assert (finished.result.timed_out, finished.result.exit_code) == (True, 5)
    assert (tmp_path / "output/tidied").read_text() == "yes"
    assert not run("pass", time_limit=30.0).result.timed_out


ADDRESSES = """
import ctypes, json
heap, library = id(object()), ctypes.cast(ctypes.CDLL(None).printf, ctypes.c_void_p).value
stack = [line.split("-")[0] for line in open("/proc/self/maps") if "[stack]" in line]
print(json.dumps([heap, library, stack]))
"""


def test_addresses_are_the_same_in_every_run_where_the_spec_says_so(run: Run) -> None:
    assert run(ADDRESSES, randomize_addresses=False).json()[1:] == run(ADDRESSES, randomize_addresses=False).json()[1:]
    assert run(ADDRESSES).json()[1:] != run(ADDRESSES).json()[1:]


def test_only_a_run_with_fixed_addresses_may_switch_randomisation_off(run: Run) -> None:
    code = "import ctypes, json; print(json.dumps(ctypes.CDLL(None).personality(0x40000)))"
    assert run(code).json() == -1
    assert run(code, randomize_addresses=False).json() != -1


def test_no_container_is_left_where_the_reader_fails(
    docker_engine: DockerEngine, client: docker.DockerClient, make_spec: Spec, python_image: ImageReference
) -> None:
    def fail(_: bytes) -> None:
        assert len(containers_of(client, "left-test")) == 1
        raise RuntimeError("the reader failed")

    spec = make_spec("import time; print(1, flush=True); time.sleep(60)", image=python_image, run_id="left-test")
    with pytest.raises(RuntimeError, match="the reader failed"):
        docker_engine.run(spec, on_stdout=fail, on_stderr=lambda _: None)
    assert containers_of(client, "left-test") == []


def test_a_gpu_that_is_not_there_is_refused_and_nothing_is_left(run: Run, client: docker.DockerClient) -> None:
    if "nvidia" in client.info().get("Runtimes", {}):
        pytest.skip("this engine has GPUs")
    with pytest.raises(PrerequisiteError, match="GPU"):
        run("pass", gpu=True, run_id="gpu-test")
    assert containers_of(client, "gpu-test") == []


def test_an_image_that_the_engine_lacks_is_named(run: Run) -> None:
    missing = ImageReference(name="cpu", manifest=digest_from_hex("2" * 64), config=digest_from_hex("3" * 64))
    with pytest.raises(PrerequisiteError, match=f"holds no image cpu of digest sha256:{'2' * 64}"):
        run("pass", image=missing)


def test_a_missing_input_or_output_folder_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not there"):
        run("pass", output=str(tmp_path / "nowhere"))
    gone = Mount(name="data", source=str(tmp_path / "gone"), digest=digest_from_hex("1" * 64))
    with pytest.raises(UsageError, match="gone cannot be mounted"):
        run("pass", mounts=(gone,))


INTERRUPTED = """
import sys
from pathlib import Path
import msgspec
from harness.engines.docker import DockerEngine, clean
from harness.spec.run import RunSpec
spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=RunSpec)
def on_stdout(data):
    print("running", flush=True)
try:
    DockerEngine().run(spec, on_stdout=on_stdout, on_stderr=lambda data: None)
finally:
    print("cleaned", flush=True)
"""


def start_elsewhere(spec: RunSpec, folder: Path) -> subprocess.Popen[str]:
    """The run in a process of its own, once its program is under way."""
    document = folder / "spec.json"
    document.write_bytes(msgspec.json.encode(spec))
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, document], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n", process.communicate()[1]
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_removes_the_container_and_still_ends_the_harness(
    number: signal.Signals,
    code: int,
    make_spec: Spec,
    python_image: ImageReference,
    client: docker.DockerClient,
    tmp_path: Path,
) -> None:
    run_id = f"signal-{number}"
    sleep = "import time; print('up', flush=True); open('part', 'w'); time.sleep(120)"
    process = start_elsewhere(make_spec(sleep, image=python_image, run_id=run_id), tmp_path)
    assert len(containers_of(client, run_id)) == 1
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == "cleaned\n"
    assert containers_of(client, run_id) == []
    assert {path.stat().st_uid for path in (tmp_path / "output").rglob("*")} == {os.geteuid()}


@pytest.mark.alone
def test_the_next_run_removes_what_a_killed_harness_left(
    run: Run, make_spec: Spec, python_image: ImageReference, client: docker.DockerClient, tmp_path: Path
) -> None:
    sleep = "import time; print('up', flush=True); time.sleep(120)"
    killed = start_elsewhere(make_spec(sleep, image=python_image, run_id="killed"), tmp_path)
    killed.kill()
    killed.wait()
    assert len(containers_of(client, "killed")) == 1
    (tmp_path / "live").mkdir()
    live = start_elsewhere(make_spec(sleep, image=python_image, run_id="live"), tmp_path / "live")
    run("pass")
    assert containers_of(client, "killed") == []
    assert len(containers_of(client, "live")) == 1
    live.terminate()
    live.communicate(timeout=30)
    assert containers_of(client, "live") == []


def test_a_daemon_that_is_down_is_a_missing_prerequisite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(PrerequisiteError, match="No Docker daemon answers at unix://") as caught:
        DockerEngine()
    assert caught.value.exit_code == 2
    assert "docker/ensure-engine.sh" in str(caught.value)


def test_a_daemon_that_dies_during_a_run_is_said_in_one_sentence(
    private_daemon: Any, python_archive: Path, make_spec: Spec, import_image: Any
) -> None:
    image = import_image(private_daemon.client(), python_archive, label="daemon-test")
    spec = make_spec("import time; print('up', flush=True); time.sleep(20)", image=image, run_id="daemon-test")
    engine = DockerEngine()
    with pytest.raises(ToolError, match="The Docker daemon went away during the run") as caught:
        engine.run(
            spec,
            on_stdout=lambda _: threading.Thread(target=private_daemon.kill).start(),
            on_stderr=lambda _: None,
        )
    assert "\n" not in caught.value.message
    private_daemon.restart()
    assert len(containers_of(private_daemon.client(), "daemon-test")) == 1
    assert clean(dry_run=False) == ["container of run daemon-test", "image harness/daemon-test:latest"]
    assert containers_of(private_daemon.client(), "daemon-test") == []


def test_clean_removes_what_is_ours_and_nothing_else(
    private_daemon: Any, python_archive: Path, make_spec: Spec, import_image: Any, tmp_path: Path
) -> None:
    client = private_daemon.client()
    client.api.import_image(src=str(python_archive), repository="someone/else", tag="1")
    foreign = client.containers.create("someone/else:1", ["python3"], labels={"harness": "no", "other.run": "1"})
    assert clean(dry_run=False) == []
    image = import_image(client, python_archive, label="clean-test")
    left = client.containers.create(image.config, ["python3"], labels={"harness.run": "left"})
    wait = make_spec("import time; print('up', flush=True); time.sleep(60)", image=image, run_id="under-way")
    live = start_elsewhere(wait, tmp_path)

    assert clean(dry_run=True) == ["container of run left"]
    assert left in client.containers.list(all=True)
    assert clean(dry_run=False) == ["container of run left"]
    assert left not in client.containers.list(all=True)
    assert len(containers_of(client, "under-way")) == 1

    live.terminate()
    live.communicate(timeout=30)
    assert clean(dry_run=False) == ["image harness/clean-test:latest"]
    assert [image.tags for image in client.images.list()] == [["someone/else:1"]]
    assert client.containers.list(all=True) == [foreign]
