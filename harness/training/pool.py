"""Jobs side by side, each in a process of its own: what one leaves behind can reach no other.

The processes are forked from one that has imported what is needed once, before any OpenMP region ran: OpenMP's threads
don't survive a fork. A result depends on its job alone, never on how many run at once or which ends first.
"""

import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from harness.errors import HarnessError, PrerequisiteError, ToolError

T = TypeVar("T")

_LONGEST_SOCKET_FOLDER = 60


class Job(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`work(payload)`, to be run elsewhere: both must be importable there. Errors say `name`, unless empty.

    The larger `cost`, the earlier it starts, so that no large job runs alone at the end.
    """

    name: str
    work: Callable[[Any], T]
    payload: Any
    cost: float = 0.0


class Running(Generic[T]):
    """A job that has been started."""

    def __init__(self, job: Job[T], process: ForkServerProcess, connection: Connection) -> None:
        self.job = job
        self.process = process
        self.connection = connection

    def result(self) -> T:
        """Wait for the job's result.

        Raises:
            HarnessError: what the job raised, with its name before the message.
            ToolError: the job raised something else, or its process was ended from outside.
        """
        try:
            answer = self.connection.recv()
        except EOFError:
            answer = None
        self.connection.close()
        self.process.join()
        if answer is None:
            raise _ended(self.job.name, self.process.exitcode)
        result, error = answer
        if error is not None:
            raise _renamed(self.job.name, error)
        returned: T = result
        return returned


class Pool:
    """Runs jobs; `workers` at a time in `run`. A context manager that ends every process that is left.

    `preload` are the modules that jobs need, imported once, from the moment the pool is entered.
    """

    def __init__(self, workers: int, preload: Sequence[str]) -> None:
        self._workers = workers
        self._preload = list(preload)
        self._context: ForkServerContext = get_context("forkserver")
        self._running: list[Running[Any]] = []

    def __enter__(self) -> Self:
        folder = tempfile.gettempdir()
        if len(folder) > _LONGEST_SOCKET_FOLDER:
            raise PrerequisiteError(
                f"The folder for temporary files has too long a name for a socket: {folder}",
                hint=f"Set TMPDIR to one of at most {_LONGEST_SOCKET_FOLDER} characters.",
            )
        self._context.set_forkserver_preload(self._preload)
        forkserver.ensure_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        _end_server()

    def _end(self) -> None:
        for running in self._running:
            if running.process.is_alive():
                running.process.kill()
        for running in self._running:
            running.process.join()
            running.connection.close()
        self._running.clear()

    def start(self, job: Job[T]) -> Running[T]:
        """Start one job now, whatever else runs."""
        receiving, sending = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_serve, args=(job.work, job.payload, sending), name=job.name, daemon=True
        )
        process.start()
        sending.close()
        running = Running(job, process, receiving)
        self._running.append(running)
        return running

    def run(self, jobs: Sequence[Job[T]], done: Callable[[T], None] = lambda _: None) -> list[T]:
        """The results of all jobs, in the jobs' order; `done` is told each as it comes.

        Raises:
            HarnessError: of the first job that failed; the others have been ended.
        """
        try:
            return self._run(jobs, done)
        except BaseException:
            self._end()
            raise

    def _run(self, jobs: Sequence[Job[T]], done: Callable[[T], None]) -> list[T]:
        order = sorted(range(len(jobs)), key=lambda index: (-jobs[index].cost, index))
        results: dict[int, T] = {}
        active: dict[Connection, tuple[int, Running[T]]] = {}
        while order or active:
            while order and len(active) < self._workers:
                index = order.pop(0)
                running = self.start(jobs[index])
                active[running.connection] = (index, running)
            for ready in wait(list(active)):
                index, running = active.pop(ready)  # type: ignore[call-overload]
                self._running.remove(running)
                results[index] = running.result()
                done(results[index])
        return [results[index] for index in range(len(jobs))]


def _serve(work: Callable[[Any], Any], payload: Any, answers: Connection) -> None:
    """What a job's process does; it ends with the pool's, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answers.send((work(payload), None))
    except HarnessError as error:
        answers.send((None, error))
    except Exception as error:
        traceback.print_exc()
        hint = "`harness --debug run …` shows its traceback."
        answers.send((None, ToolError(f"{type(error).__name__}: {error}", hint=hint)))
    finally:
        answers.close()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _renamed(name: str, error: HarnessError) -> HarnessError:
    return type(error)(f"{name}: {error.message}" if name else error.message, hint=error.hint)


def _ended(name: str, exit_code: int | None) -> ToolError:
    if exit_code is not None and exit_code < 0:
        reason = f"was ended by {signal.Signals(-exit_code).name}"
    else:
        reason = f"ended with exit code {exit_code} and without a result"
    hint = "Its last words are in the run's log."
    if exit_code == -signal.SIGKILL:
        hint = "Most often memory ran out: run fewer workers, or give the run more memory."
    return ToolError(f"{name or 'A process'} {reason}", hint=hint)


def _end_server() -> None:
    """End the process that jobs are forked from, at once: it may still be importing, and nobody waits for it."""
    server: Any = forkserver._forkserver
    pid: int | None = server._forkserver_pid
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        server._stop()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
