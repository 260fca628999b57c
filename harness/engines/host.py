"""Runs as plain processes of this machine, for where there is no Docker: the same variables, but no walls.

What a container keeps out, a plain process does not: it can reach the network, read and write whatever the caller can,
and see the machine's own hostname, processes and libraries. Inputs are as read-only as their permissions. Of the
resources, the cores, the time limit and the memory (checked every second) hold; the number of processes and the sizes
of `/tmp` and `/dev/shm` do not. So a host run is never compared with a container's.
"""

import os
import platform
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.engines.host_environment import ensure_environment
from harness.engines.interface import Output
from harness.engines.launch import OUTPUT, launch_command, process_environment, working_directory
from harness.engines.memory import SessionMemory, session_members
from harness.engines.ownership import check_writable
from harness.engines.signals import terminable, undisturbed
from harness.errors import ToolError, UsageError
from harness.images.build import Image
from harness.spec.run import RunResult, RunSpec
from harness.store.progress import SILENT, Progress
from harness.store.store import Store

__all__ = ["HostEngine", "ensure_environment"]

_TICK_SECONDS = 0.2
_SAMPLE_SECONDS = 1.0  # adding up a large process's pages takes the kernel milliseconds
_GRACE_SECONDS = 5.0
_TAIL_SECONDS = 2.0
_READ = 1 << 16
_UMASK = 0o022  # a container's
_PATH = "/usr/local/bin:/usr/bin:/bin"

# A harness that is killed outright cannot end its run, so the kernel does (PR_SET_PDEATHSIG, man 2 prctl).
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(137)
os.execv(sys.argv[2], sys.argv[2:])
"""


class HostEngine:
    """Plain processes of this machine, in the environment made from the checkout's CPU lock."""

    name = "host"

    def __init__(self, root: Path, store: Store, *, progress: Progress = SILENT) -> None:
        self._root = root
        self._store = store
        self._progress = progress

    def describe(self) -> dict[str, str]:
        """The operating system; there is no engine to speak of."""
        return {
            "engine": "host",
            "operating_system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
            "kernel": platform.release(),
        }

    def prepare(self, image: Image) -> None:
        """Nothing: a host run has no image."""

    def run(self, spec: RunSpec, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        """Run one process, and end whatever of its session is left when it has ended. `peak_memory` is sampled.

        Past the time limit its process group gets SIGTERM, and five seconds later the whole session SIGKILL.
        """
        if spec.image is not None:
            raise UsageError(
                f"Run {spec.run_id} names the image {spec.image.name}, which the host engine cannot run in"
            )
        check_writable(Path(spec.output))
        interpreter = ensure_environment(self._root, self._store, self._progress)
        return run_process(spec, interpreter, on_stdout=on_stdout, on_stderr=on_stderr)


def run_process(spec: RunSpec, interpreter: Path, *, on_stdout: Output, on_stderr: Output) -> RunResult:
    """Run a RunSpec with a given interpreter.

    Raises:
        UsageError: the RunSpec asks for something that makes no sense here.
        ToolError: the interpreter cannot be started.
    """
    with (
        terminable(),
        tempfile.TemporaryDirectory(prefix="harness-run-", ignore_cleanup_errors=True) as scratch,
        _process(spec, interpreter, Path(scratch)) as process,
    ):
        return _Follower(spec, process).follow(on_stdout=on_stdout, on_stderr=on_stderr)


class _Follower:
    """Passes output on, and holds the process to its limits."""

    def __init__(self, spec: RunSpec, process: subprocess.Popen[bytes]) -> None:
        self._spec = spec
        self._process = process
        self._memory = SessionMemory(process.pid)
        self._began = time.monotonic()
        self._next_sample = 0.0
        self._terminated_at: float | None = None
        self._ended_at: float | None = None
        self._out_of_memory = False

    def follow(self, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        with selectors.DefaultSelector() as selector:
            for stream, output in ((self._process.stdout, on_stdout), (self._process.stderr, on_stderr)):
                if stream is not None:
                    selector.register(stream.fileno(), selectors.EVENT_READ, output)
            while selector.get_map():
                for key, _ in selector.select(_TICK_SECONDS):
                    data = os.read(key.fd, _READ)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fd)
                if not self._tick():
                    break
        while self._process.poll() is None:
            time.sleep(_TICK_SECONDS / 10)
            self._tick()
        return RunResult(
            exit_code=exit_code(self._process.returncode),
            wall_seconds=time.monotonic() - self._began,
            timed_out=self._terminated_at is not None,
            out_of_memory=self._out_of_memory,
            peak_memory=self._memory.peak,
        )

    def _tick(self) -> bool:
        """Whether to go on: what outlives the program is ended, and gets two seconds to let go of the output."""
        now = time.monotonic()
        if self._process.poll() is not None:
            if self._ended_at is None:
                self._ended_at = now
                end_session(self._process.pid)
            return now - self._ended_at < _TAIL_SECONDS
        if now >= self._next_sample:
            self._memory.sample()
            self._next_sample = now + _SAMPLE_SECONDS
        limits = self._spec.resources
        if limits.memory is not None and (self._memory.current or 0) > limits.memory:
            self._out_of_memory = True
            end_session(self._process.pid)
        if limits.time_limit is not None and now - self._began > limits.time_limit:
            if self._terminated_at is None:
                self._terminated_at = now
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGTERM)
            elif now - self._terminated_at > _GRACE_SECONDS:
                end_session(self._process.pid)
        return True


def exit_code(returncode: int) -> int:
    """A process's exit code as shells write it: 128 + signal where one ended it."""
    return 128 - returncode if returncode < 0 else returncode


def end_session(leader: int) -> None:
    """Kill every process of a session at once; the leader as well, if it has not been waited for."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    for pid in session_members(leader):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def _process(spec: RunSpec, interpreter: Path, scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    locations = {mount.name: mount.source for mount in spec.mounts} | {OUTPUT: spec.output}
    path = f"{interpreter.parent}:{_PATH}"
    environment = process_environment(spec, locations=locations, path=path, home=str(scratch))
    folder = Path(spec.output, working_directory(spec))
    if not folder.is_dir():
        raise UsageError(f"The working folder {folder} of run {spec.run_id} is not there")
    command = [
        str(interpreter),
        "-I",
        "-S",
        "-c",
        _DIE_WITH_PARENT,
        str(os.getpid()),
        str(interpreter),
        *launch_command(spec)[1:],
    ]
    try:
        with undisturbed(), _on_cores(spec):
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment, "TMPDIR": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                umask=_UMASK,
            )
    except OSError as error:
        raise ToolError(f"Run {spec.run_id} cannot be started with {interpreter}: {error.strerror}") from error
    try:
        yield process
    finally:
        with undisturbed():
            if process.poll() is None:
                end_session(process.pid)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@contextmanager
def _on_cores(spec: RunSpec) -> Iterator[None]:
    """For the time of a `with` block this thread, and so a process that it starts, may use the run's cores alone.

    Raises:
        UsageError: there is none, or one of them is not the caller's to use.
    """
    before = os.sched_getaffinity(0)
    wanted = set(spec.resources.cpus)
    if not wanted or not wanted <= before:
        missing = ", ".join(map(str, sorted(wanted - before))) or "none"
        available = ", ".join(map(str, sorted(before)))
        raise UsageError(f"Run {spec.run_id} asks for cores that are not here ({missing}); there are {available}")
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
