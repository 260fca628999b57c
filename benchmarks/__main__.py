"""`python -m benchmarks [NAME …] [--runs N] [--json FILE]`."""

import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks.figures import Check, Result
from benchmarks.image import image_figures
from benchmarks.modes import modes_figures
from benchmarks.numerics import numerics_figures
from benchmarks.overhead import overhead_figures
from benchmarks.release import release_figures
from benchmarks.scripts import script_figures
from benchmarks.table import table
from benchmarks.training import memory_figures, training_figures
from harness.errors import HarnessError
from harness.record.files import write_atomically
from harness.record.jsonfile import pretty_json
from harness.runs.opening import EngineName

NAMES = ("image", "training", "overhead", "memory", "modes", "release", "scripts", "numerics")
_DEFAULT = ("image", "overhead", "training", "release")  # training measures memory on the way


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All results of one run of the benchmarks, and the machine that they are of. `load` is before and after."""

    machine: dict[str, str | int]
    load: tuple[tuple[float, float, float], tuple[float, float, float]]
    results: tuple[Result, ...]


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help=f"Of {', '.join(NAMES)}.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Rounds; every round measures each alternative once.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="The quick experiment in place of the default one.")] = False,
    engine: Annotated[EngineName, typer.Option(help="For scripts: where they run strictly.")] = EngineName.DOCKER,
    markdown: Annotated[Path | None, typer.Option(help="For scripts: write their table there too.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the results there too.")] = None,
    require: Annotated[bool, typer.Option("--require", help="Exit with 1 where a check does not hold.")] = False,
) -> None:
    """Measure, and print a table. A missed target is shown as missed and is no failure: the exit code is 0."""
    if unknown := sorted(set(names or ()) - set(NAMES)):
        raise typer.BadParameter(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    progress = Console(stderr=True)

    def note(text: str) -> None:
        progress.print(text, style="dim", highlight=False, markup=False)

    before = os.getloadavg()
    results: list[Result] = []
    try:
        for name in names or _DEFAULT:
            note(f"== {name}")
            if name == "scripts":
                results += script_figures(note, engine=engine.value, markdown=markdown)
            else:
                results += _measure(name, runs, note=note, quick=quick)
    except HarnessError as error:
        progress.print(f"benchmarks: {error}", style="red", highlight=False, markup=False)
        raise typer.Exit(int(error.exit_code)) from error
    report = Report(machine=_machine(), load=(before, os.getloadavg()), results=tuple(results))
    console.print(table(report.results))
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    loads = " → ".join(f"{load[0]:.2f}" for load in report.load)
    console.print(f"{machine}; load average {loads} (ours included)", highlight=False)
    if json is not None:
        write_atomically(json, pretty_json(report))
    if require and not all(result.holds for result in results if isinstance(result, Check)):
        raise typer.Exit(1)


def _measure(name: str, runs: int, *, note: Callable[[str], None], quick: bool) -> list[Result]:
    match name:
        case "image":
            return image_figures(max(runs, 2), note)  # one image alone cannot differ
        case "overhead":
            return overhead_figures(runs, note)
        case "numerics":
            return numerics_figures(runs, note, quick=quick)
        case "release":
            return release_figures(runs, note)
        case "modes":
            return modes_figures(runs, note, quick=quick)
        case "memory":
            return memory_figures(note, quick=quick)
        case _:
            return training_figures(runs, note, quick=quick)


def _machine() -> dict[str, str | int]:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
    }


if __name__ == "__main__":
    typer.run(main)
