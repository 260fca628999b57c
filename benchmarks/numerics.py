"""The speed of strict numerics: small fits of each library in each profile, pair by pair; the probe; a start.

Every arm is a process of its own with the variables of a run, kept alive, and the arms take turns within each round, so
that what else the machine does meets all of them. One process at a time works; the others wait for input.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import msgspec

from benchmarks.commands import ROOT, harness, run
from benchmarks.figures import Bound, Figure, Result, differences, ratios
from benchmarks.rounds import rounds, seconds
from harness.errors import ToolError
from harness.spec.variables import run_variables

BEST, STRICT, ONE, PORTABLE, CAPPED = (
    "best_effort", "strict native", "strict native, one thread", "strict x86-64-v3", "best_effort with x86-64-v3's caps"
)  # fmt: skip
FITS = {
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "mlp": "torch MLP",
    "cnn": "torch CNN",
    "transformer": "torch transformer",
}
_PIECE = 0.25  # seconds that one measurement takes, about
_PROBE = """
import sys, time
import numpy, scipy.linalg, scipy.special, lightgbm, xgboost, torch
sys.path.insert(0, sys.argv[1])
from harness.strict.probe import probe
libraries = ("python", "numpy", "scipy", "lightgbm", "xgboost", "torch")
probe(libraries)
began = time.perf_counter()
probe(libraries)
print(time.perf_counter() - began)
"""


class Comparison(msgspec.Struct, frozen=True):
    """The speed of one arm against another's, for one fit, with the least that it should be, if anything."""

    fit: str
    arm: str
    against: str
    target: float | None


def comparisons() -> list[Comparison]:
    """What is compared, in the order in which it is shown."""
    made = [Comparison(fit, STRICT, BEST, 1.0) for fit in FITS]
    made += [Comparison(fit, ONE, BEST, None) for fit in FITS]
    made += [Comparison(fit, PORTABLE, BEST, 0.9) for fit in ("mlp", "transformer")]
    return [*made, Comparison("cnn", PORTABLE, CAPPED, 0.95), Comparison("cnn", PORTABLE, BEST, None)]


def numerics_figures(count: int, note: Callable[[str], None], *, quick: bool) -> list[Result]:
    """The speeds of `comparisons` over `3 * count` rounds, the probe's time, and what the hook adds to a start."""
    python = Path(harness("host-environment").strip())
    pairs = count if quick else 3 * count
    figures: list[Result] = []
    for fit, title in FITS.items():
        wanted = [one for one in comparisons() if one.fit == fit]
        taken = _fit(python, fit, dict.fromkeys(name for one in wanted for name in (one.arm, one.against)), pairs, note)
        figures += [
            Figure(
                name="numerics",
                statement=f"{title}: speed of {one.arm} against {one.against}",
                unit="x",
                values=ratios(taken[one.against], taken[one.arm]),
                bound=None if one.target is None else Bound.AT_LEAST,
                target=one.target,
            )
            for one in wanted
        ]
    return [*figures, *_starts(python, count, note)]


def variables(arm: str, cores: int, numpy: str) -> dict[str, str]:
    """What the process of an arm gets, from the one table of variables.

    Strict has as many threads as best_effort takes by itself. The capped arm has MKL at its fastest all the same.
    """
    mode = "best_effort" if arm in (BEST, CAPPED) else "strict"
    profile = "x86-64-v3" if arm in (PORTABLE, CAPPED) else "native"
    threads = 1 if arm == ONE else cores
    made = run_variables(
        mode=mode, profile=profile, variant="cpu", seed=42, version="v1",
        threads=threads, cores=cores, libraries={"numpy": numpy},
    )  # fmt: skip
    return {**made, "MKL_CBWR": "AUTO"} if arm == CAPPED else made


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
    python: Path, fit: str, arms: Mapping[str, None], count: int, note: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds of each arm, one a round, for as many steps as the first does in a moment."""
    with ExitStack() as stack:
        workers = {arm: stack.enter_context(_worker(python, fit, arm)) for arm in arms}
        first = next(iter(workers.values()))
        steps = max(1, round(_PIECE / min(first.seconds(1) for _ in range(3))))
        for worker in workers.values():
            worker.seconds(steps)

        def once(worker: Worker) -> Callable[[], float]:
            return lambda: worker.seconds(steps)

        note(f"{fit}: {count} rounds of {steps} steps")
        return rounds(count, {arm: once(worker) for arm, worker in workers.items()}, lambda _: None)


@contextmanager
def _worker(python: Path, fit: str, arm: str) -> Iterator[Worker]:
    worker = Worker(python, fit, _environment(python, arm))
    try:
        yield worker
    finally:
        worker.close()


def _environment(python: Path, arm: str) -> dict[str, str]:
    numpy = run([python, "-c", "from importlib.metadata import version; print(version('numpy'))"]).strip()
    return {
        **variables(arm, len(os.sched_getaffinity(0)), numpy),
        "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip


def _starts(python: Path, count: int, note: Callable[[str], None]) -> list[Result]:
    """The probe, its libraries imported, in both profiles; and `python -c pass` with the hook less without it."""
    note("probe and start")
    path = {"PYTHONPATH": f"{ROOT / 'harness' / 'strict' / 'site'}{os.pathsep}{ROOT}"}
    probes = {}
    for arm in (ONE, PORTABLE):
        environment = {**_environment(python, arm), **path}
        probes[arm] = [float(run([python, "-c", _PROBE, ROOT], environment=environment)) for _ in range(count)]
    hooked = {**_environment(python, ONE), **path}
    bare = {**hooked, "PYTHONPATH": ""}

    def start(environment: Mapping[str, str]) -> Callable[[], float]:
        return lambda: seconds(lambda: run([python, "-c", "pass"], environment=environment))

    for environment in (bare, hooked):
        start(environment)()
    taken = rounds(4 * count, {"hook": start(hooked), "bare": start(bare)}, lambda _: None)
    return [
        *(
            _limit(f"the probe of all libraries once they are imported, {arm}", found, 0.3)
            for arm, found in probes.items()
        ),
        _limit("what strict adds to `python -c pass`", differences(taken["hook"], taken["bare"]), 0.05),
    ]


def _limit(statement: str, values: Sequence[float], target: float) -> Figure:
    return Figure(
        name="numerics", statement=statement, unit="s", values=tuple(values), bound=Bound.AT_MOST, target=target
    )
