"""`python -m tests.cross_cpu check | sweep | threads | table | forget | seen`, with the host environment's Python.

What each is for is in docs/portability.md, which `table` writes.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cross_cpu.cpus import EMULATED, EMULATOR, NATIVE, emulator, name_of_this_cpu
from tests.cross_cpu.fits import groups
from tests.cross_cpu.forget import forget, moved_groups
from tests.cross_cpu.groups import SAMPLES
from tests.cross_cpu.page import page
from tests.cross_cpu.sources import LIBRARIES, kernels, key
from tests.cross_cpu.sweep import FOLDER, Part, Problem, parts_of, run, say
from tests.cross_cpu.table import (
    OPERATORS,
    PAGE,
    PROFILE,
    SEEN,
    Outcome,
    differing_groups,
    load,
    operators_json,
    other_results,
    seen_json,
    worse,
)

SECTIONS = ("pointwise", "fits", "float32", "float64", "products", "direct", "probes", "arrays", "sizes")
"""The commonest first: where time runs out, the rest is what was not come to."""
LATE = ("probes", "arrays", "sizes")
WITHOUT = ("pointwise", "products")
"""What is run with the variables of the profile alone too: it says which kernels of ours are needed."""
THREADED = ("products", "fits")
"""What is run with two threads on an emulated CPU, and here."""
THREADED_ON = "Haswell"
FITS = [f"fits: {group.name}" for group in groups()]
NOTHING_COMPARED = 3


def main() -> int:
    """Run a command; the exit code is 1 where bits differ that should not, or a part failed.

    It is 2 where something is missing, and 3 where there was nothing to compare, on an emulated CPU or with another
    real one: that is no success.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.cross_cpu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    timed = argparse.ArgumentParser(add_help=False)
    timed.add_argument("--minutes", type=float, default=60)
    timed.add_argument("--jobs", type=int, default=1, help="processes at a time")
    timed.add_argument("--samples", type=int, default=SAMPLES, help="inputs tried for each operator of the database")
    sweep = commands.add_parser(
        "sweep", parents=[timed], help="run on this CPU and on emulated ones; goes on where an earlier one ended"
    )
    sweep.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    sweep.add_argument("--cpus", nargs="+", default=[NATIVE, *EMULATED], choices=[NATIVE, *EMULATED])
    sweep.add_argument("--without-kernels", action="store_true", help="the variables of the profile alone")
    commands.add_parser("threads", parents=[timed], help="run with one thread and two, here and emulated")
    table = commands.add_parser("table", help="write operators.json, docs/portability.md and the records of this CPU")
    table.add_argument("--to", type=Path, help="write them into this folder instead")
    forgotten = commands.add_parser(
        "forget", help="after a change of a kernel and a sweep of this CPU: take what moved out of the others' records"
    )
    forgotten.add_argument("before", type=Path, help="a copy of this CPU's records that the earlier kernels made")
    commands.add_parser("seen", help="hold this CPU's records against those of other real CPUs")
    commands.add_parser(
        "check", parents=[timed], help="all of it, and fail where a verdict is worse than the committed one"
    )
    options = parser.parse_args()
    if options.command == "forget":
        return _forget(options.before)
    if options.command not in ("seen", "table") and emulator() is None:
        say(f"{EMULATOR} is not installed: install Debian's qemu-user")
        return 2
    if options.command == "sweep":
        return _sweep(options)
    if options.command == "threads":
        return int(bool(_run(_threaded(), options)))
    if options.command == "check":
        return _check(options)
    return _table(options.to) if options.command == "table" else _seen()


def _sweep(options: argparse.Namespace) -> int:
    settings = "pins" if options.without_kernels else PROFILE
    problems = _run(list(parts_of(options.sections, options.cpus, settings, 1)), options)
    return judge(_load(), problems, [cpu for cpu in options.cpus if cpu != NATIVE])


def _forget(before: Path) -> int:
    here = Part("", NATIVE).file().parent
    groups = moved_groups(sorted(before.glob("*.jsonl")), sorted(here.glob("*.jsonl")))
    for file in sorted(FOLDER.glob(f"{PROFILE}-*/*.jsonl")):
        if file.parent != here and (count := forget(groups, file)):
            say(f"{file.relative_to(FOLDER)}: {count} of them to run again")
    say(f"{len(groups)} groups moved: {', '.join(sorted(groups)) or 'none'}")
    return 0


def _threaded() -> list[Part]:
    """Two threads against one here, and with two this CPU against an emulated one."""
    parts = [Part("sizes", NATIVE, settings, threads) for settings in (PROFILE, "native") for threads in (1, 2)]
    return [*parts, *(Part(section, cpu, PROFILE, 2) for section in THREADED for cpu in (NATIVE, THREADED_ON))]


def _check(options: argparse.Namespace) -> int:
    everywhere = [NATIVE, *EMULATED]
    parts = [
        *parts_of([section for section in SECTIONS if section not in LATE], everywhere, PROFILE, 1),
        *parts_of(WITHOUT, everywhere, "pins", 1),
        *_threaded(),
        *parts_of(LATE, everywhere, PROFILE, 1),
    ]
    problems = _run(list(dict.fromkeys(parts)), options)
    return _table(FOLDER / "table") or judge(_load(), problems, EMULATED)


def _run(parts: Sequence[Part], options: argparse.Namespace) -> list[Problem]:
    problems = run(parts, minutes=options.minutes, jobs=options.jobs, samples=options.samples)
    for problem in problems:
        say(problem.text)
    return problems


def _load() -> Outcome:
    from tests.cross_cpu.coverage import own_kernels
    from tests.cross_cpu.pointwise import operators

    outcome = load(pointwise=operators(), own=own_kernels())
    if outcome.dropped:
        say(f"{len(outcome.dropped)} files are records of other kernels or libraries and were left out: sweep again")
    return outcome


def judge(outcome: Outcome, problems: Sequence[Problem], cpus: Sequence[str]) -> int:
    """Say what is worse than the committed table, what else differs, and on which of `cpus` nothing was compared."""
    lines = worse(json.loads(OPERATORS.read_text())["operators"], outcome.shown)
    lines += other_results(outcome, FITS)
    for line in lines:
        say(line)
    say(f"{sum(bool(verdict.on) for verdict in outcome.shown.values())} operators compared, {len(lines)} results worse")
    if lines or any(problem.failed for problem in problems):
        return 1
    silent = [cpu for cpu in cpus if not any(cpu in verdict.on for verdict in outcome.shown.values())]
    if silent:
        say(f"nothing was compared on {' and '.join(silent)}")
    return NOTHING_COMPARED if silent else 0


def _table(folder: Path | None) -> int:
    outcome = _load()
    native, emulated = outcome.native, outcome.emulated
    if not native.calls or not any(record.calls for record in emulated.values()):
        say("there are no records of these kernels yet: run `python -m tests.cross_cpu sweep` first")
        return 2
    here = name_of_this_cpu()
    swept = {name: native.starts[-1][name] for name in LIBRARIES}
    operators, people, seen = OPERATORS, PAGE, SEEN
    if folder is not None:
        operators, people, seen = folder / OPERATORS.name, folder / PAGE.name, folder / SEEN.name
    seen.mkdir(parents=True, exist_ok=True)
    operators.write_text(operators_json(swept, kernels(), outcome.found))
    (seen / file_name(here)).write_text(seen_json(here, native, emulated))
    people.write_text(page(swept, here, outcome, groups=FITS))
    say(f"{len(outcome.found)} operators: {operators}, {people}")
    return 0


def file_name(cpu: str) -> str:
    """What the records of a CPU are called."""
    return "-".join(re.findall(r"\w+", cpu.lower())) + ".json"


def _seen() -> int:
    outcome = _load()
    if not outcome.native.cases:
        say(f"there are no records yet: run `python -m tests.cross_cpu sweep --cpus {NATIVE}` first")
        return 2
    return hold(json.loads(seen_json(name_of_this_cpu(), outcome.native, outcome.emulated)), SEEN)


def hold(mine: dict[str, Any], folder: Path) -> int:
    """Hold a CPU's digests against those in `folder`: 1 where groups differ, 3 where there was nothing to compare."""
    wrong, compared = 0, 0
    for path in sorted(folder.glob("*.json")):
        theirs = json.loads(path.read_text())
        if any(theirs.get(name) != mine.get(name) for name in key()):
            say(f"{theirs['cpu']}: other libraries or kernels, not compared")
            continue
        differ = differing_groups(theirs["groups"], mine["groups"])
        wrong += bool(differ)
        both = theirs["groups"].keys() & mine["groups"].keys()
        compared += len(both) * (theirs["cpu"] != mine["cpu"])  # records of this kind of CPU may be its own
        say(f"{theirs['cpu']}: {len(both)} groups compared, different: {', '.join(differ) or 'none'}")
    if not compared and not wrong:
        say("nothing was compared with another CPU")
        return NOTHING_COMPARED
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
