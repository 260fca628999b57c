"""What a container costs against a plain process, which the host engine starts with the same variables."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.commands import harness
from benchmarks.experiment import HOST, STRICT, measure, name_of
from benchmarks.figures import Bound, Figure, Result, differences
from benchmarks.rounds import rounds, seconds


def overhead_figures(count: int, note: Callable[[str], None]) -> list[Result]:
    """For a program that does nothing, and for few and short fits."""
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
        project = Path(scratch, "project")
        project.mkdir()

        def nothing(engine: str) -> Callable[[], float]:
            where = ("--output-dir", Path(scratch, engine), "--project", project)
            return lambda: seconds(lambda: harness("exec", "--engine", engine, *where, "--", "true"))

        arms = {engine: nothing(engine) for engine in ("docker", "host")}
        for arm in arms.values():  # what is made once, is made before
            arm()
        taken = rounds(2 * count, arms, note)
    timed = measure(2 * count, (STRICT, HOST), note, quick=True)
    walls = {arm: [run.wall for run in runs] for arm, runs in timed.items()}
    what = name_of(quick=True)
    return [
        overhead("`true` under `harness exec`", taken["docker"], taken["host"]),
        Figure(name="overhead", statement="`true` in a container", unit="s", values=tuple(taken["docker"])),
        overhead(what, walls[STRICT], walls[HOST]),
        Figure(name="overhead", statement=f"{what} in a container", unit="s", values=tuple(walls[STRICT])),
    ]


def overhead(what: str, container: Sequence[float], host: Sequence[float]) -> Figure:
    """Container less host engine, pair by pair."""
    return Figure(
        name="overhead",
        statement=f"{what}: container less host engine",
        unit="s",
        values=differences(container, host),
        bound=Bound.AT_MOST,
        target=1.0,
    )
