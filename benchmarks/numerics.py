"""The speed of strict numerics: small fits of each library in each profile, pair by pair; the probe; a start.

Every arm is a process of its own with the variables of a run, fresh in each round, and the arms take turns within it
so that what else the machine does meets all of them. One process at a time works; the others wait for input.
"""

import functools
import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import IO

import msgspec

from benchmarks.commands import ROOT, harness, run
from benchmarks.figures import Bound, Figure, Result, differences, ratios
from benchmarks.rounds import rounds, seconds
from harness.errors import ToolError
from harness.spec.variables import run_variables

BEST, STRICT, PORTABLE, CAPPED = (
    "best_effort", "strict native", "strict x86-64-v3", "best_effort with x86-64-v3's caps"
)  # fmt: skip
FITS = {
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "mlp": "torch MLP",
    "cnn": "torch CNN",
    "transformer": "torch transformer",
}
_PIECE, _PIECES = 0.25, 7  # seconds that one measurement takes, about; measurements of a process
_NO_CAPS = {"MKL_CBWR": "AUTO"}  # what `x86-64-v3` sets for the sake of bits, as it is without the profile
_NOT_CAPS = ("OPENBLAS_THREAD_TIMEOUT",)
_PROBE = """
import json, sys, time
import numpy, scipy.linalg, scipy.special, lightgbm, xgboost, torch
sys.path.insert(0, sys.argv[1])
import harness.strict.probe_sklearn  # the parts of scikit-learn that are probed are imported ones too
from harness.strict.probe import KNOWN, probe
began, used = time.perf_counter(), time.process_time()
probe(tuple(KNOWN))
print(json.dumps([time.perf_counter() - began, time.process_time() - used]))
"""


class Threads(StrEnum):
    """How many threads both sides of a comparison have: always as many on one side as on the other."""

    ONE = "one thread against one thread"
    ALL = "all cores against all cores"


class Comparison(msgspec.Struct, frozen=True):
    """The speed of one arm against another's, for one fit, with the least that it should be, if anything."""

    fit: str
    threads: Threads
    arm: str
    against: str
    target: float | None

    @property
    def statement(self) -> str:
        """What is shown beside the figure."""
        return f"{FITS[self.fit]}, {self.threads}: speed of {self.arm} against {self.against}"


def comparisons(cores: int) -> list[Comparison]:
    """What is compared on a machine of so many cores, in the order in which it is shown."""
    made = []
    for threads in (Threads.ONE, Threads.ALL) if cores > 1 else (Threads.ONE,):
        made += [Comparison(fit, threads, STRICT, BEST, 1.0) for fit in FITS]
        made += [Comparison(fit, threads, PORTABLE, BEST, 0.9) for fit in ("mlp", "transformer")]
        made += [Comparison("cnn", threads, PORTABLE, CAPPED, 0.95), Comparison("cnn", threads, PORTABLE, BEST, None)]
    return made


def numerics_figures(count: int, note: Callable[[str], None], *, quick: bool) -> list[Result]:
    """The speeds of `comparisons`, the probe's time, and what the hook adds to a start.

    `quick` has half of the rounds, and so tells less.
    """
    python = Path(harness("host-environment").strip())
    cores = len(os.sched_getaffinity(0))
    fits = count if quick else 2 * count
    figures: list[Result] = []
    for threads in Threads:
        for fit in FITS:
            wanted = [one for one in comparisons(cores) if (one.fit, one.threads) == (fit, threads)]
            arms = dict.fromkeys(name for one in wanted for name in (one.arm, one.against))
            taken = _fit(python, fit, threads, arms, fits, note) if wanted else {}
            figures += [
                Figure(
                    name="numerics",
                    statement=one.statement,
                    unit="x",
                    values=ratios(taken[one.against], taken[one.arm]),
                    bound=None if one.target is None else Bound.AT_LEAST,
                    target=one.target,
                )
                for one in wanted
            ]
    return [*figures, *_starts(python, count, note)]


def variables(arm: str, threads: Threads, cores: int, numpy: str) -> dict[str, str]:
    """What the process of an arm gets, from the one table of variables.

    best_effort has all cores by itself, and one thread because OMP_NUM_THREADS says so, which all read.
    The capped arm is held to the profile's instructions alone: its other settings are for bits, and not part of a cap.
    """
    best = arm in (BEST, CAPPED)
    made = run_variables(
        mode="best_effort" if best else "strict",
        profile="x86-64-v3" if arm in (PORTABLE, CAPPED) else "native",
        variant="cpu", seed=42, version="v1", threads=1 if threads == Threads.ONE else cores, cores=cores,
        libraries={"numpy": numpy},
    )  # fmt: skip
    if best and threads == Threads.ONE:
        made["OMP_NUM_THREADS"] = "1"
    if arm == CAPPED:
        made = {name: value for name, value in made.items() if name not in _NOT_CAPS} | _NO_CAPS
    return made


class Worker:
    """A process that does pieces of a fit when asked to."""

    def __init__(self, python: Path, fit: str, environment: Mapping[str, str]) -> None:
        command = [
            str(python),
            "-m",
            "harness.strict.launch",
            "--",
            "python",
            str(ROOT / "benchmarks" / "fits.py"),
            fit,
        ]
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def seconds(self, steps: int) -> float:
        """How long `steps` pieces took."""
        stdin: IO[str] = self._process.stdin  # type: ignore[assignment]
        stdin.write(f"{steps}\n")
        stdin.flush()
        return float(self._answer()["seconds"])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise ToolError(f"a process of the benchmark ended with exit code {self._process.wait()}")
        answer: dict[str, float] = json.loads(line)
        return answer


def _fit(
    python: Path, fit: str, threads: Threads, arms: Mapping[str, None], count: int, note: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds of each arm, one a round: the median of some pieces of as many steps as the first does in a moment.

    Each round has processes of its own, because where its memory lies makes a process faster or slower for life, and
    within it the arms take turns piece by piece, because the machine is faster at one moment than at the next. What has
    one thread stays on one core, the same for every arm: cores differ by what else runs beside them.
    """
    granted = os.sched_getaffinity(0)
    taken: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(count):
        with ExitStack() as stack:
            stack.enter_context(_on({max(granted)} if threads == Threads.ONE else granted))
            workers = {
                arm: stack.enter_context(_worker(python, fit, _environment(python, arm, threads))) for arm in arms
            }
            first = next(iter(workers.values()))
            steps = max(1, round(_PIECE / min(first.seconds(1) for _ in range(3))))
            note(f"{fit}, {threads}: round {number + 1} of {count}, {_PIECES} pieces of {steps} steps")

            def once(worker: Worker, steps: int = steps) -> Callable[[], float]:
                return lambda: worker.seconds(steps)

            rounds(1, {arm: once(worker) for arm, worker in workers.items()}, lambda _: None)
            pieces = rounds(_PIECES, {arm: once(worker) for arm, worker in workers.items()}, lambda _: None)
        for arm, found in pieces.items():
            taken[arm].append(median(found) / steps)
    return taken


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """Processes that are started meanwhile have these cores."""
    granted = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, granted)


@contextmanager
def _worker(python: Path, fit: str, environment: Mapping[str, str]) -> Iterator[Worker]:
    worker = Worker(python, fit, environment)
    try:
        yield worker
    finally:
        worker.close()


@functools.cache
def _numpy(python: Path) -> str:
    return run([python, "-c", "from importlib.metadata import version; print(version('numpy'))"]).strip()


def _environment(python: Path, arm: str, threads: Threads) -> dict[str, str]:
    return {
        **variables(arm, threads, len(os.sched_getaffinity(0)), _numpy(python)),
        "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip


def _starts(python: Path, count: int, note: Callable[[str], None]) -> list[Result]:
    """The probe's first call in both profiles; and what `python -c pass` takes longer in a strict run than bare.

    The hook has what it has in a run: an output folder, and so notes of what is touched and a capture at the end. The
    launcher, which a run has once, checks and records the environment in an interpreter of its own: it is shown apart.
    A busy machine stretches time on the wall, and time on the processors hardly: both are shown.
    """
    note("probe and start")
    path = {"PYTHONPATH": f"{ROOT / 'harness' / 'strict' / 'site'}{os.pathsep}{ROOT}"}

    def probe(arm: str) -> Callable[[], tuple[float, float]]:
        environment = {**_environment(python, arm, Threads.ONE), **path}
        return lambda: msgspec.json.decode(
            run([python, "-c", _PROBE, ROOT], environment=environment), type=tuple[float, float]
        )

    probes = rounds(count, {arm: probe(arm) for arm in (STRICT, PORTABLE)}, lambda _: None)
    with TemporaryDirectory(prefix="harness-start-") as output:
        taken = rounds(4 * count, starts(python, Path(output), path), lambda _: None)
    figures: list[Result] = []
    for arm, found in probes.items():
        what = f"the probe's first call, all that it knows, libraries imported before, one thread, {arm}"
        figures += [_limit(what, [wall for wall, _ in found], 0.3)]
        figures += [_limit(f"{what}: time on the processors", [used for _, used in found], None)]
    for arm, what, target in (
        ("hook", "what strict adds to `python -c pass`, in each process of a run", 0.05),
        ("launcher", "what the launcher and strict add to it, in the first process of a run", None),
    ):
        wall, used = (differences(*([one[of] for one in taken[name]] for name in (arm, "bare"))) for of in (0, 1))
        figures += [_limit(what, wall, target), _limit(f"{what}: time on the processors", used, None)]
    return figures


def starts(python: Path, output: Path, path: Mapping[str, str]) -> dict[str, Callable[[], tuple[float, float]]]:
    """How long `python -c pass` takes: bare, with the hook as a run's processes have it, and by the launcher.

    On the wall and on the processors. Each has been started once, so that nothing is compiled any more.
    """
    hooked = {**_environment(python, STRICT, Threads.ONE), **path, "HARNESS_OUTPUT": str(output)}
    bare = {**hooked, "PYTHONPATH": ""}
    launched = {**hooked, "PYTHONPATH": str(ROOT)}
    program = ("-c", "pass")
    launch = ("-m", "harness.strict.launch", "--fixed-addresses", "--", "python", *program)

    def start(arguments: Sequence[str], environment: Mapping[str, str]) -> Callable[[], tuple[float, float]]:
        def once() -> tuple[float, float]:
            before = _of_children()
            return seconds(lambda: run([python, *arguments], environment=environment)), _of_children() - before

        return once

    made = {"launcher": start(launch, launched), "hook": start(program, hooked), "bare": start(program, bare)}
    for once in made.values():
        once()
    return made


def _of_children() -> float:
    """The time that ended processes of this one had on the processors."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _limit(statement: str, values: Sequence[float], target: float | None) -> Figure:
    bound = None if target is None else Bound.AT_MOST
    return Figure(name="numerics", statement=statement, unit="s", values=tuple(values), bound=bound, target=target)
