"""Runs parts of the sweep on CPUs, some at a time, within a time limit; what was run before is not run again."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.cross_cpu.cpus import NATIVE, ROOT, command, environment
from tests.cross_cpu.groups import SAMPLES

FOLDER = ROOT / "build" / "cross_cpu"
"""Where records lie: `<settings>-<cpu>-<threads>/<section>.jsonl`."""


class Part(NamedTuple):
    """One section on one CPU, or several joined by `+`, with the settings and the number of threads of its process."""

    section: str
    cpu: str
    settings: str = "x86-64-v3"
    threads: int = 1

    def file(self, folder: Path = FOLDER) -> Path:
        """Where its records lie."""
        return folder / f"{self.settings}-{self.cpu}-{self.threads}" / f"{self.section}.jsonl"


class Problem(NamedTuple):
    """Why a part was not run whole; `failed` where its process ended with an error, not at the time limit."""

    text: str
    failed: bool


def run(
    parts: Sequence[Part],
    *,
    minutes: float,
    jobs: int = 1,
    samples: int = SAMPLES,
    seconds_a_group: int = 150,
    folder: Path = FOLDER,
) -> list[Problem]:
    """Run `parts`, `jobs` at a time, and end at the time limit; what could not be run whole."""
    limit = time.monotonic() + 60 * minutes
    options = ["--samples", str(samples), "--seconds-a-group", str(seconds_a_group)]

    def one(part: Part) -> Problem | None:
        left = limit - time.monotonic()
        if left < 1:
            return Problem(f"{part.section} on {part.cpu}: not begun within the time limit", False)
        file = part.file(folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["-m", "tests.cross_cpu.worker", part.section, str(file), "--seconds", str(int(left)), *options]
        if part.cpu != NATIVE:
            arguments += ["--like", str(part._replace(cpu=NATIVE).file(folder).parent)]
        ended = subprocess.run(
            command(part.cpu, arguments),
            env=environment(part.settings, threads=part.threads),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        file.with_suffix(".log").write_text(ended.stdout)
        if ended.returncode != 0:
            text = f"{part.section} on {part.cpu} ended by code {ended.returncode}: {ended.stdout[-2000:]}"
            return Problem(text, True)
        return None if is_whole(file) else Problem(f"{part.section} on {part.cpu}: not finished in time", False)

    with ThreadPoolExecutor(jobs) as pool:
        return [problem for problem in pool.map(one, parts) if problem]


def is_whole(file: Path) -> bool:
    """Whether a worker came to the end of its section."""
    with file.open() as lines:
        return any(line.startswith('{"whole"') for line in lines)


def parts_of(sections: Sequence[str], cpus: Sequence[str], settings: str, threads: int) -> Iterator[Part]:
    """Every section on every CPU, this one first: section by section, so that each is soon complete."""
    for section in sections:
        for cpu in sorted(cpus, key=lambda name: (name != NATIVE, name)):
            yield Part(section, cpu, settings, threads)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
