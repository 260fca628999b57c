"""Other people's scripts: each twice in bare Python and twice under `harness exec`, everything they left compared."""

import functools
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.commands import ROOT, harness
from benchmarks.figures import Check
from harness.errors import ToolError
from harness.record.explain.cause import TIMES, WORDS, Cause, Digests, Facts, Kind
from harness.record.explain.explanation import ScriptRun, explain_runs, read_script_run
from harness.record.layout import runs_folder
from harness.runs.collect import collect
from harness.store.trees import list_tree

FOLDER = ROOT / "examples" / "third_party_style"
_NOT_BARE = ("REPRO_", "PYTHON", "HARNESS_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_")
_LIMIT = 180.0
RULE = (
    "Compared is every file that a script made or changed, its name, its exit code, and all that it printed on stdout. "
    "“Times aside” leaves out a difference only where both values are the clock's (a date or time within its own run) "
    "or a duration that fits into its own run and is labelled as one (a unit, a column, a key). "
    "The same rule holds for both."
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One script: what differed between two runs in bare Python, and between two strict ones."""

    script: str
    bare: tuple[Cause, ...]
    strict: tuple[Cause, ...]
    exit_codes: tuple[int, ...]

    @property
    def bare_identical(self) -> bool:
        """Whether bare Python gave the same, times aside."""
        return all(cause.kind in TIMES for cause in self.bare)

    @property
    def strict_identical(self) -> bool:
        """Whether strict gave the same, times aside."""
        return all(cause.kind in TIMES for cause in self.strict)

    @property
    def holds(self) -> bool:
        """Whether the strict runs succeeded, and whatever differs between them has a cause that was seen."""
        return not any(self.exit_codes) and all(cause.explained for cause in self.strict)


def script_figures(note: Callable[[str], None], *, engine: str, markdown: Path | None) -> list[Check]:
    """A line a script, and how many of them repeat.

    Raises:
        ToolError: a script fails in bare Python.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="harness-scripts-") as folder:
        for command in commands():
            note(" ".join(command))
            rows.append(_row(command, Path(folder), engine))
    if markdown is not None:
        markdown.write_text(page_table(rows, engine))
    return [*(_check(row) for row in rows), _total(rows)]


def commands(folder: Path = FOLDER) -> list[tuple[str, ...]]:
    """How each script of the corpus is started: a file, or a package with `-m`."""
    files = [("python", path.name) for path in sorted(folder.glob("*.py"))]
    return files + [("python", "-m", path.parent.name) for path in sorted(folder.glob("*/__main__.py"))]


def page_table(rows: Sequence[Row], engine: str) -> str:
    """The rows as a Markdown table, with the counts above it."""
    lines = [f"{_total(rows).statement} ({engine} engine).", "", RULE, ""]
    lines += ["| script | bare Python | strict | what differs in strict, and why |", "| --- | --- | --- | --- |"]
    for row in rows:
        causes = "; ".join(_named(cause) for cause in row.strict) or "nothing"
        lines.append(f"| `{row.script}` | {_word(row.bare)} | {_strict_word(row)} | {causes} |")
    return "\n".join(lines) + "\n"


def _row(command: Sequence[str], folder: Path, engine: str) -> Row:
    bare = [_bare(command, folder, number) for number in range(2)]
    strict = _strict(command, folder, engine)
    row = Row(
        script=" ".join(command[1:]),
        bare=explain_runs(*bare),
        strict=explain_runs(*strict),
        exit_codes=tuple(run.exit_code for run in strict),
    )
    for path in folder.iterdir():
        shutil.rmtree(path)
    return row


def _bare(command: Sequence[str], folder: Path, number: int) -> ScriptRun:
    """A script in a fresh copy of its folder, with the same Python and libraries and nothing of the harness."""
    work, kept = folder / "work", folder / f"bare-{number}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(FOLDER, work, ignore=shutil.ignore_patterns("__pycache__", "RESULTS"))
    before = list_tree(work)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_BARE)}
    _bare_python()
    begun, began = datetime.now(UTC), time.monotonic()
    done = subprocess.run(
        [_bare_python(), *command[1:]],
        cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ToolError(f"`{' '.join(command)}` fails in bare Python: {done.stderr.decode(errors='replace')[-600:]}")
    left = collect(before, work, kept)
    files = {name: str(digest) for name, (digest, _) in left.files.items()}
    return ScriptRun(
        folder=kept,
        files=files,
        links=left.links,
        removed=left.removed,
        exit_code=done.returncode,
        stdout=done.stdout,
        stdout_digest=hashlib.sha256(done.stdout).hexdigest(),
        facts=Facts(
            begun=begun,
            seconds=time.monotonic() - began,
            host=socket.gethostname(),
            digests=Digests((name, digest.rpartition(":")[2]) for name, digest in files.items()),
        ),
        touched=(),
    )


@functools.cache
def _bare_python() -> str:
    """The interpreter with the image's libraries, and nothing of the harness."""
    return harness("host-environment").strip().splitlines()[-1]


def _strict(command: Sequence[str], folder: Path, engine: str) -> tuple[ScriptRun, ScriptRun]:
    project, results = folder / "project", folder / "RESULTS"
    shutil.copytree(FOLDER, project, ignore=shutil.ignore_patterns("__pycache__", "RESULTS"))
    runs = []
    for name in ("one", "two"):
        options = ("--engine", engine, "--output-dir", results, "--project", project, "--run-name", name)
        harness("exec", *options, "--", *command, accept=range(256), cwd=ROOT)
        run = read_script_run(runs_folder(results) / name)
        if run is None:
            raise ToolError(f"`{' '.join(command)}` was not kept by harness exec")
        runs.append(run)
    return runs[0], runs[1]


def _check(row: Row) -> Check:
    strict = "; ".join(map(_named, row.strict)) if row.strict else ""
    detail = f"bare Python: {_word(row.bare)}; strict: {_strict_word(row)}{f' ({strict})' if strict else ''}"
    return Check(name="scripts", statement=row.script, holds=row.holds, detail=detail)


def _total(rows: Sequence[Row]) -> Check:
    """How many of the scripts were identical and how many explained; the two never overlap."""
    bare = sum(row.bare_identical for row in rows)
    kept = [row for row in rows if row.holds]
    identical = sum(row.strict_identical for row in kept)
    return Check(
        name="scripts",
        statement=f"bare Python identical {bare} of {len(rows)}; strict identical {identical} and explained "
        f"{len(kept) - identical} of {len(rows)}",
        holds=len(kept) == len(rows),
        detail=f"{len(rows) - len(kept)} neither; times aside, also where they are all that differs",
    )


def _word(causes: Sequence[Cause]) -> str:
    """One word for two runs, or the kinds of what differs."""
    if not causes:
        return "identical"
    if all(cause.kind in TIMES for cause in causes):
        return "identical, times aside"
    kinds = {cause.kind: cause for cause in causes if cause.kind not in TIMES}
    unknown = "" if all(cause.explained for cause in causes) else ", not explained"
    return f"differs: {', '.join(_short(kind) for kind in kinds)}{unknown}"


def _strict_word(row: Row) -> str:
    return f"fails with exit code {max(row.exit_codes)}" if any(row.exit_codes) else _word(row.strict)


def _short(kind: Kind) -> str:
    return WORDS[kind].removeprefix("a ").removeprefix("an ")


def _named(cause: Cause) -> str:
    sources = f" ({', '.join(cause.sources)})" if cause.sources else ""
    return f"{cause.file.removeprefix('outputs/')}, {cause.where}: {WORDS[cause.kind]}{sources}"
