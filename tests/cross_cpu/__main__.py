"""`python -m tests.cross_cpu sweep | table | seen`, with the host environment's Python (see `docs/portability.md`)."""

import argparse
import json
import re
import sys

from tests.cross_cpu.cpus import EMULATED, EMULATOR, NATIVE, emulator, name_of_this_cpu
from tests.cross_cpu.fits import groups
from tests.cross_cpu.page import page
from tests.cross_cpu.records import compare, culprits
from tests.cross_cpu.sweep import Part, parts_of, run, say
from tests.cross_cpu.table import (
    OPERATORS,
    PAGE,
    PROFILE,
    SEEN,
    differing_groups,
    load,
    operators_json,
    seen_json,
)

SECTIONS = ("fits", "probes", "float32", "sizes", "arrays", "float64")


def main() -> int:
    """Run a command; the exit code is 1 where bits differ that should not, 2 where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.cross_cpu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sweep = commands.add_parser(
        "sweep", help="run on this CPU and on emulated ones; goes on where an earlier one ended"
    )
    sweep.add_argument("--minutes", type=float, default=60)
    sweep.add_argument("--jobs", type=int, default=1, help="processes at a time")
    sweep.add_argument("--samples", type=int, default=16, help="inputs tried for each operator of the database")
    sweep.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    sweep.add_argument("--cpus", nargs="+", default=[NATIVE, *EMULATED], choices=[NATIVE, *EMULATED])
    sweep.add_argument("--without-kernels", action="store_true", help="the variables of the profile alone")
    commands.add_parser("threads", help="run on this CPU with one thread and with two, in both profiles")
    commands.add_parser("table", help="write operators.json, docs/portability.md and the records of this CPU")
    commands.add_parser("seen", help="hold this CPU's records against those of other real CPUs")
    options = parser.parse_args()
    if options.command == "sweep":
        return _sweep(options)
    return {"table": _table, "seen": _seen, "threads": _threads}[options.command]()


def _sweep(options: argparse.Namespace) -> int:
    if emulator() is None and set(options.cpus) != {NATIVE}:
        say(f"{EMULATOR} is not installed: install Debian's qemu-user, or name --cpus {NATIVE}")
        return 2
    settings = "pins" if options.without_kernels else PROFILE
    parts = list(parts_of(options.sections, options.cpus, settings, 1))
    for line in run(parts, minutes=options.minutes, jobs=options.jobs, samples=options.samples):
        say(line)
    native, emulated, found = load()
    for cpu, record in emulated.items():
        wrong = culprits(compare(native.calls, record.calls))
        say(f"{cpu}: {sum(map(len, record.calls.values()))} calls, different: {', '.join(wrong) or 'none'}")
    return int(any(verdict.cpus == "refused" for verdict in found.values()) and not options.without_kernels)


def _threads() -> int:
    parts = [Part("sizes", NATIVE, settings, threads) for settings in (PROFILE, "native") for threads in (1, 2)]
    problems = run(parts, minutes=60)
    for line in problems:
        say(line)
    return int(bool(problems))


def _table() -> int:
    native, emulated, found = load()
    if not native.calls or not any(record.calls for record in emulated.values()):
        say("there are no records yet: run `python -m tests.cross_cpu sweep` first")
        return 2
    version, here = native.starts[-1]["torch"], name_of_this_cpu()
    OPERATORS.write_text(operators_json(version, found))
    SEEN.mkdir(exist_ok=True)
    (SEEN / file_name(here)).write_text(seen_json(here, native, emulated))
    cases = (case.rpartition("/")[2] for record in emulated.values() for case in record.cases if "/float" in case)
    samples = 1 + max((int(case) for case in cases if case.isdigit()), default=0)
    names = [group.name for group in groups()]
    PAGE.write_text(page(version, here, native, emulated, found, samples=samples, groups=names))
    say(f"{len(found)} operators: {OPERATORS}, {PAGE}")
    return 0


def file_name(cpu: str) -> str:
    """What the records of a CPU are called."""
    return "-".join(re.findall(r"\w+", cpu.lower())) + ".json"


def _seen() -> int:
    native, emulated, _ = load()
    if not native.cases:
        say(f"there are no records yet: run `python -m tests.cross_cpu sweep --cpus {NATIVE}` first")
        return 2
    mine = json.loads(seen_json(name_of_this_cpu(), native, emulated))
    wrong = 0
    for path in sorted(SEEN.glob("*.json")):
        theirs = json.loads(path.read_text())
        if (theirs["torch"], theirs["kernels"]) != (mine["torch"], mine["kernels"]):
            say(f"{theirs['cpu']}: another torch or other kernels, not compared")
            continue
        differ = differing_groups(theirs["groups"], mine["groups"])
        wrong += bool(differ)
        both = theirs["groups"].keys() & mine["groups"].keys()
        say(f"{theirs['cpu']}: {len(both)} groups compared, different: {', '.join(differ) or 'none'}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
