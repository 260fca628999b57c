"""Runs one part of the sweep in this process and writes what each call took and gave, a line a case.

Groups run in forked children, so that a crash, or an operator that never ends, costs one group alone. A file that
exists is gone on with: groups that ended are left out.
"""

import argparse
import gc
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cross_cpu.groups import Group
from tests.cross_cpu.sections import SECTIONS

BATCH = 12
"""Groups that one child runs: a fork copies the page tables of a process that loaded torch."""


def main() -> None:
    """`python -m tests.cross_cpu.worker SECTION FILE [OPTIONS]`: see `--help`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("section", choices=sorted(SECTIONS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds-a-group", type=int, default=120)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()
    prepare()
    note(options.file, {"start": started_as()})
    part, _, parts = options.shard.partition("/")
    limit = time.monotonic() + options.seconds
    done = ended_groups(options.file)
    groups = [
        group
        for index, group in enumerate(SECTIONS[options.section](options.samples))
        if index % int(parts) == int(part) and (group.name in options.only or not options.only)
    ]
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
        note(options.file, {"whole": f"{options.section} {options.shard}"})


def prepare() -> None:
    """Make torch repeat, and its refusals known from an earlier sweep silent: this one finds out anew.

    Memory that nobody wrote is filled, so that what an operator leaves in it is the same everywhere.
    """
    if "REPRO_MODE" in os.environ:
        from harness.strict.kernels import installation

        installation.read_table = lambda: ("", {})
    import torch

    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = True


def started_as() -> dict[str, str]:
    """What decides the bits of this process, apart from its CPU: versions, threads, and the kernels of the profile."""
    import torch

    from harness.strict import kernels

    hasher = hashlib.sha256()
    for path in sorted(Path(kernels.__file__).parent.glob("*.py")):
        hasher.update(path.read_bytes())
    registered = vars(torch).get("_harness_kernels")
    replaced = sorted({name.partition(".")[0] for name, _ in registered._replaced}) if registered else []
    return {
        "profile": os.environ.get("REPRO_PROFILE", "none"),
        "threads": str(torch.get_num_threads()),
        "torch": str(torch.__version__),
        "kernels": hasher.hexdigest(),
        "replaced": " ".join(replaced),
    }


def ended_groups(file: Path) -> set[str]:
    """The groups that a file of records holds to their end."""
    if not file.exists():
        return set()
    return {entry["end"] for entry in map(_line, _marks(file)) if "end" in entry}


def _marks(file: Path) -> list[str]:
    """The lines that say where a group begins and ends: few among those of its cases."""
    with file.open() as lines:
        return [line for line in lines if line.startswith(('{"begin"', '{"end"'))]


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
