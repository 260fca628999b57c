"""The default experiment: strict against what a user would run instead, and the memory it takes."""

from collections.abc import Callable, Sequence

from benchmarks.experiment import ALL_THREADS, ARMS, HOST, RECIPE, SIDE_BY_SIDE, STRICT, Timed, measure, name_of
from benchmarks.figures import Bound, Figure, Result, faster, ratios
from benchmarks.overhead import overhead

_GIB = 1 << 30


def training_figures(count: int, note: Callable[[str], None], *, quick: bool) -> list[Result]:
    """Strict against each alternative, fits and whole command; the container against the host engine; memory."""
    timed = measure(count, tuple(ARMS), note, quick=quick)
    what = name_of(quick=quick)
    fits = {arm: [run.fits for run in runs] for arm, runs in timed.items()}
    walls = {arm: [run.wall for run in runs] for arm, runs in timed.items()}
    return [
        *_speeds(f"{what}, its fits", fits),
        *_speeds(f"{what}, the whole command", walls),
        overhead(f"{what}, the whole command", walls[STRICT], walls[HOST]),
        *_memory(what, timed[STRICT]),
    ]


def memory_figures(note: Callable[[str], None], *, quick: bool) -> list[Result]:
    """The peak of one strict run."""
    return _memory(name_of(quick=quick), measure(1, (STRICT,), note, quick=quick)[STRICT])


def _speeds(what: str, taken: dict[str, list[float]]) -> list[Result]:
    """The speed of strict, the promise being against the faster kind of best_effort."""
    rival = faster({arm: taken[arm] for arm in (ALL_THREADS, SIDE_BY_SIDE)})
    targets = {rival: 0.95, RECIPE: 1.7}
    figures: list[Result] = [
        Figure(
            name="strict",
            statement=f"{what}: speed of strict against {arm}",
            unit="x",
            values=ratios(taken[arm], taken[STRICT]),
            bound=Bound.AT_LEAST if arm in targets else None,
            target=targets.get(arm),
        )
        for arm in (SIDE_BY_SIDE, ALL_THREADS, RECIPE)
    ]
    return [*figures, Figure(name="strict", statement=f"{what}: strict", unit="s", values=tuple(taken[STRICT]))]


def _memory(what: str, runs: Sequence[Timed]) -> list[Result]:
    peaks = [run.memory / _GIB for run in runs if run.memory is not None]
    if not peaks:
        return []
    return [
        Figure(
            name="memory",
            statement=f"{what}: peak memory, page cache included",
            unit="GiB",
            values=tuple(peaks),
            bound=Bound.AT_MOST,
            target=2.0,
        )
    ]
