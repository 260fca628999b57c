"""Both modes of `ml-train`: what each costs, and how much of it repeats. Nothing is promised here, only measured."""

import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from benchmarks.commands import run
from benchmarks.experiment import name_of
from benchmarks.figures import Figure, Result, ratios
from benchmarks.rounds import rounds, seconds
from harness.errors import ExitCode

ARMS = ("--deterministic", "--no-deterministic")
_MAY_DIFFER = (ExitCode.OK, ExitCode.DIVERGENT)


class Trained(msgspec.Struct, frozen=True):
    """One run: the whole command and its stage of fits in seconds, and each cell's fingerprint."""

    wall: float
    fits: float
    fingerprints: dict[str, str]


def modes_figures(count: int, note: Callable[[str], None], *, quick: bool) -> list[Result]:
    """The speed of `--deterministic` against `--no-deterministic`, and how many cells of each gave the same bits.

    Cells are compared between the runs of two rounds that follow each other.
    """
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
        note("getting ready")
        _train(Path(scratch, "first"), "--deterministic", quick=True)
        arms = {arm: lambda arm=arm: _train(Path(scratch, arm.strip("-")), arm, quick=quick) for arm in ARMS}
        trained = rounds(max(count, 2), arms, note)  # one run alone repeats nothing
    return figures(trained, name_of(quick=quick))


def figures(trained: Mapping[str, list[Trained]], what: str) -> list[Result]:
    """The table's lines for the runs of both modes."""
    strict, free = (trained[arm] for arm in ARMS)
    made: list[Result] = [
        Figure(
            name="modes",
            statement=f"{what}, {part}: speed of --deterministic against --no-deterministic",
            unit="x",
            values=ratios([getattr(one, key) for one in free], [getattr(one, key) for one in strict]),
        )
        for part, key in (("its fits", "fits"), ("the whole command", "wall"))
    ]
    for arm in ARMS:
        runs = trained[arm]
        made.append(
            Figure(
                name="modes",
                statement=f"{what}: cells with the same bits in two runs, {arm}",
                unit=f"of {len(runs[0].fingerprints)}",
                values=tuple(
                    float(_equal(one.fingerprints, other.fingerprints)) for one, other in itertools.pairwise(runs)
                ),
            )
        )
    return made


def _equal(one: Mapping[str, str], other: Mapping[str, str]) -> int:
    return sum(one[cell] == other.get(cell) for cell in one)


def _train(results: Path, arm: str, *, quick: bool) -> Trained:
    printed: list[str] = []
    command = [sys.executable, "-m", "harness.cli.ml_train", arm, "--json", "--output-dir", results]
    options = ["--quick"] if quick else []
    accept = (ExitCode.OK,) if arm == "--deterministic" else _MAY_DIFFER
    wall = seconds(lambda: printed.append(run([*command, *options], accept=accept)))
    report = json.loads(printed[0])
    log = [json.loads(line) for line in Path(report["folder"], "log.jsonl").read_text().splitlines()]
    (fits,) = (entry["seconds"]["fits"] for entry in log if entry["message"] == "timings")
    cells = {
        " ".join(filter(None, (cell["target"], cell["view"], cell["symbol"], cell["family"]))): cell["fingerprint"]
        for cell in report["cells"]
    }
    return Trained(wall=wall, fits=fits, fingerprints=cells)
