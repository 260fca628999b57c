"""Runs of an experiment by the harness's own command, timed."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.commands import harness
from benchmarks.rounds import rounds, seconds
from harness.errors import ExitCode

STRICT = "strict"
ALL_THREADS = "best_effort, one fit at a time on all threads"
SIDE_BY_SIDE = "best_effort, fits side by side"
RECIPE = "the seeds' recipe (one thread, one fit at a time)"
HOST = "strict on the host engine"
ARMS: dict[str, tuple[str, ...]] = {
    STRICT: (),
    SIDE_BY_SIDE: ("--mode", "best_effort"),
    ALL_THREADS: ("--mode", "best_effort", "--workers", "1"),
    RECIPE: ("--workers", "1"),
    HOST: ("--engine", "host"),
}
_MAY_DIFFER = (ExitCode.OK, ExitCode.DIVERGENT)


class Timed(msgspec.Struct, frozen=True):
    """One run: the whole command and its stage of fits in seconds, and its peak memory in bytes."""

    wall: float
    fits: float
    memory: int | None


def measure(count: int, arms: Sequence[str], note: Callable[[str], None], *, quick: bool) -> dict[str, list[Timed]]:
    """Each arm once a round; what is made once (environment, bytecode, image) is made before."""
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
        folders = {arm: Path(scratch, str(number)) for number, arm in enumerate(arms)}

        def once(arm: str) -> Callable[[], Timed]:
            return lambda: _run(folders[arm], arm, quick=quick)

        for engine in ("docker", "host") if HOST in arms else ("docker",):
            note(f"getting ready: {engine}")
            harness("run", "--quick", "--engine", engine, "--output-dir", Path(scratch, "first"))
        return rounds(count, {arm: once(arm) for arm in arms}, note)


def name_of(*, quick: bool) -> str:
    """What the experiment is called in the table."""
    return "the quick experiment" if quick else "the default experiment"


def _run(results: Path, arm: str, *, quick: bool) -> Timed:
    before = set(results.glob("runs/*"))
    options = (*(("--quick",) if quick else ()), *ARMS[arm])
    # Strict must repeat here too: a benchmark of runs that differ would be of something else.
    accept = _MAY_DIFFER if "best_effort" in options else (ExitCode.OK,)
    wall = seconds(lambda: harness("run", *options, "--output-dir", results, accept=accept))
    (folder,) = set(results.glob("runs/*")) - before
    fits, memory = _read_log(folder / "log.jsonl")
    return Timed(wall=wall, fits=fits, memory=memory)


def _read_log(path: Path) -> tuple[float, int | None]:
    """The seconds of the stage of fits, and the peak of memory in bytes."""
    entries = {entry["message"]: entry for entry in map(json.loads, path.read_text().splitlines())}
    return entries["timings"]["seconds"]["fits"], entries["ended"]["peak_memory"]
