"""Runs one part of the sweep in this process and writes what each call took and gave, a line a case.

Groups run in forked children, so that a crash, or an operator that never ends, costs one group alone. A file that
exists is gone on with: groups that ended are left out.
"""

import argparse
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tests.cross_cpu.groups import SAMPLES, Group
from tests.cross_cpu.kinds import moves
from tests.cross_cpu.sections import SECTIONS
from tests.cross_cpu.sources import kernels, libraries

BATCH = 100
"""Groups that one child runs: a fork copies the page tables of a process that loaded torch."""


def main() -> None:
    """`python -m tests.cross_cpu.worker SECTION FILE [OPTIONS]`: see `--help`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", type=lambda text: text.split("+"), help=" + ".join(SECTIONS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds-a-group", type=int, default=120)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--like", type=Path, help="a folder of records of another CPU: a cover of its operators first")
    options = parser.parse_args()
    prepare()
    begin(options.file, started_as())
    part, _, parts = options.shard.partition("/")
    limit = time.monotonic() + options.seconds
    done = ended_groups(options.file)
    groups = [
        group
        for index, group in enumerate(_groups(options.sections, options.samples))
        if index % int(parts) == int(part) and (group.name in options.only or not options.only)
    ]
    if options.like and options.like.exists():
        groups = order(groups, operators_by_group(options.like))
    left = [group for group in groups if group.name not in done]
    gc.freeze()  # forked children share these pages
    while left and time.monotonic() < limit - 1:
        batch = left[:BATCH]
        if int(os.environ.get("OMP_NUM_THREADS", "1")) > 1:  # libgomp's threads do not outlive a fork
            run_groups(batch, options.file, options.seconds_a_group, limit)
        else:
            run_apart(batch, options.file, options.seconds_a_group, limit)
        done = ended_groups(options.file)
        left = [group for group in left if group.name not in done]
    if not left and not options.only:
        for name in options.sections:
            note(options.file, {"whole": f"{name} {options.shard}"})


def prepare() -> None:
    """Make torch repeat, and its refusals known from an earlier sweep silent: this one finds out anew.

    Memory that nobody wrote is filled, because all that a call was given and gave is recorded: what an operator leaves
    unwritten in it would be of this process alone. That none computes with such memory is shown where it is not
    filled, as in a run: tests/strict/test_unwritten_memory.py.
    """
    if "REPRO_MODE" in os.environ:
        from harness.strict.kernels import installation

        installation.read_table = lambda: installation.Table({}, {})
    import torch

    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = True


def started_as() -> dict[str, str]:
    """What decides the bits of this process, apart from its CPU: versions, threads, and which kernels are ours."""
    import torch

    registered = vars(torch).get("_harness_kernels")
    replaced = sorted({name.partition(".")[0] for name, _ in registered._replaced}) if registered else []
    return {
        "profile": os.environ.get("REPRO_PROFILE", "none"),
        "threads": str(torch.get_num_threads()),
        **libraries(),
        **kernels(),
        "replaced": " ".join(replaced),
    }


def _groups(sections: Sequence[str], samples: int) -> Iterator[Group]:
    for name in sections:
        yield from SECTIONS[name](samples)


COVERED = ("float32: ", "float64: ")
"""Sections of the database, in which many groups call the same operators: a few of them meet all."""
ELSEWHERE = {"float32: ": ("pointwise: ", "products: ", "fits: "), "float64: ": ("pointwise: ", "products: ")}
"""The sections that meet operators for these as well, with the same type of number."""
LAST = ("pointwise: special_", "arrays: ", "sizes: ")


def cover(operators: Mapping[str, Set[str]], prefix: str) -> list[str]:
    """The fewest groups of a section that together meet every operator of it that computes, as far as no other does."""
    known = {name for group, names in operators.items() if group.startswith(ELSEWHERE[prefix]) for name in names}
    met = {
        group: {name for name in names - known if not moves(name)}
        for group, names in operators.items()
        if group.startswith(prefix)
    }
    left = set().union(*met.values())
    chosen: list[str] = []
    while left:
        best = max(met, key=lambda group: len(met[group] & left))
        chosen.append(best)
        left -= met[best]
    return chosen


def order(groups: Sequence[Group], operators: Mapping[str, Set[str]]) -> list[Group]:
    """What to run when time is short: small sections, then of the database a cover of all operators, then the rest."""
    chosen = [name for prefix in COVERED for name in cover(operators, prefix)]
    place = {name: index for index, name in enumerate(chosen)}
    end = len(place)

    def key(group: Group) -> tuple[int, int]:
        if group.name in place:
            return 1, place[group.name]
        late = 3 if group.name.startswith(LAST) else 2 if group.name.startswith(COVERED) else 0
        return late, end

    return sorted(groups, key=key)


def operators_by_group(folder: Path) -> dict[str, set[str]]:
    """The operators of torch that each group called, in all records of a folder."""
    found: dict[str, set[str]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        with file.open() as lines:
            for entry in map(_line, lines):
                if "case" in entry:
                    names = found.setdefault(entry["case"].rpartition("/")[0], set())
                    names.update(call[0] for call in entry["calls"] if call[0].startswith("aten::"))
    return found


SOURCES = ("kernels", "replaced")
"""What of a start may differ within an edition of the kernels, which is raised with what can move a bit."""


def begin(file: Path, start: dict[str, str]) -> None:
    """Note how this process was started; what is there of other kernels or of another library is thrown away."""
    if file.exists():
        before = [entry["start"] for entry in map(_line, _marks(file)) if "start" in entry]
        same = {name: start[name] for name in SOURCES if name in start}
        if any({**known, **same} != start for known in before):
            file.unlink()
    note(file, {"start": start})


def ended_groups(file: Path) -> set[str]:
    """The groups that a file of records holds to their end."""
    if not file.exists():
        return set()
    return {entry["end"] for entry in map(_line, _marks(file)) if "end" in entry}


def _marks(file: Path) -> list[str]:
    """The lines that say how a process was started and where a group begins and ends: few among those of its cases."""
    with file.open() as lines:
        return [line for line in lines if line.startswith(('{"start"', '{"begin"', '{"end"'))]


def _line(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:  # the last line of a process that was ended
        return {}
    return found if isinstance(found, dict) else {}


def run_apart(groups: Sequence[Group], path: Path, seconds: int, limit: float) -> None:
    """Run groups in one forked child, each for at most `seconds`; where the child ends early, note in which group.

    Groups that the child did not come to are not noted: they are still to be run.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            run_groups(groups, path, seconds, limit)
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        how = "stopped at its time limit" if status == -signal.SIGALRM else f"ended by code {status}"
        unfinished = last_begun(path)
        if unfinished is not None and not (status == -signal.SIGALRM and time.monotonic() > limit - 1):
            note(path, {"end": unfinished, "how": how, "seconds": seconds})


def run_groups(groups: Sequence[Group], path: Path, seconds: int, limit: float) -> None:
    """Run groups here, one after the other; past its time limit a group ends this process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for group in groups:
        left = limit - time.monotonic()
        if left < 1:
            break
        signal.alarm(int(min(seconds, left)) or 1)
        began = time.monotonic()
        note(path, {"begin": group.name})
        try:
            run(group, path)
            how = "ended"
        except Exception as error:
            how = f"raised {type(error).__name__}: {error}"
        note(path, {"end": group.name, "how": how, "seconds": round(time.monotonic() - began, 2)})
    signal.alarm(0)


def last_begun(path: Path) -> str | None:
    """The group that was begun last and did not end."""
    begun: str | None = None
    for entry in map(_line, _marks(path)):
        begun = entry.get("begin", None if "end" in entry else begun)
    return begun


def note(path: Path, entry: dict[str, Any]) -> None:
    """Add one line, after the rest of a line that a process was ended in."""
    with path.open("a") as file:
        file.write("\n" + json.dumps(entry, separators=(",", ":")) + "\n")


def run(group: Group, path: Path) -> None:
    """Run a group here, and write each case as it ends."""

    def emit(case: str, calls: list[Any], result: str) -> None:
        note(path, {"case": f"{group.name}/{case}", "calls": [list(call) for call in calls], "result": result})

    group.run(emit)


if __name__ == "__main__":
    main()
