"""A few third-party scripts as a person runs them: twice under `harness exec`, the second identical or explained.

`python -m benchmarks scripts` runs all of them, in bare Python too.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.scripts import FOLDER, commands

CHECKOUT = Path(__file__).parents[2]


def exec_twice(tmp_path: Path, *program: str, seeds: tuple[str, str] = ("42", "42")) -> tuple[str, Path]:
    """What the second run said on stderr, and the folder that both are kept in."""
    command = [
        sys.executable,
        "-m",
        "harness",
        "exec",
        "--engine=host",
        f"--output-dir={tmp_path}",
        f"--project={FOLDER}",
    ]
    for number, seed in enumerate(seeds):
        done = subprocess.run(
            [*command, "--seed", seed, "--run-name", str(number), "--", *program],
            cwd=FOLDER, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return done.stderr, tmp_path / "runs"


def test_every_script_of_the_corpus_is_listed_with_what_is_in_it_and_nothing_else_is() -> None:
    listed = re.findall(r"^\| `(.+?)` \| .{8,} \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert listed == [" ".join(command[1:]) for command in commands()]
    assert len(listed) >= 24
    assert f"{len(listed)} small programs" in (FOLDER / "README.md").read_text()


ROW = re.compile(r"^\| `(\w+\.py|-m \w+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
COUNTS = re.compile(
    r"of (\d+) scripts bare\s+Python gave the same (\d+) times\. "
    r"Strict was identical (\d+) times, in (\d+) of them times aside; in the other (\d+) every "
)
IN_THE_README = re.compile(
    r"\[Of (\d+) such scripts\]\(docs/scripts\.md\) bare\s+Python\s+repeats (\d+); "
    r"strict repeats (\d+) \((\d+) of them times aside\), and names the cause of every difference in the other (\d+)\."
)


def rows_of(page: str) -> list[tuple[str, str, str]]:
    """The table's scripts, and what is said of bare Python and of strict."""
    return ROW.findall(page)


def not_accounted_for(page: str) -> list[str]:
    """The scripts whose strict column says neither identical nor a cause for all that differs."""
    return [
        script
        for script, _, strict in rows_of(page)
        if not strict.startswith(("identical", "differs: ")) or "not explained" in strict
    ]


def test_the_committed_table_has_a_row_for_every_script_and_none_that_is_not_explained() -> None:
    page = (CHECKOUT / "docs" / "scripts.md").read_text()
    assert [script for script, _, _ in rows_of(page)] == [" ".join(command[1:]) for command in commands()]
    assert not_accounted_for(page) == []


def test_the_committed_counts_are_those_of_the_table() -> None:
    page = (CHECKOUT / "docs" / "scripts.md").read_text()
    rows = rows_of(page)
    bare, strict = (sum(row[column].startswith("identical") for row in rows) for column in (1, 2))
    aside = sum(row[2] == "identical, times aside" for row in rows)
    for said in (COUNTS.findall(page), IN_THE_README.findall((CHECKOUT / "README.md").read_text())):
        (counts,) = said
        assert tuple(map(int, counts)) == (len(rows), bare, strict, aside, len(rows) - strict)


def test_a_row_that_is_not_explained_or_failed_is_found() -> None:
    page = "".join(
        f"| `{name}.py` | differs: number, not explained | {strict} | nothing |\n"
        for name, strict in {
            "a": "identical", "b": "identical, times aside", "c": "differs: number",
            "d": "differs: text, not explained", "e": "fails with exit code 1",
        }.items()
    )  # fmt: skip
    assert not_accounted_for(page) == ["d.py", "e.py"]


def test_an_unseeded_script_that_orders_by_addresses_is_identical(tmp_path: Path) -> None:
    said, runs = exec_twice(tmp_path, "python", "graph_by_identity.py")
    assert said.startswith("identical"), said
    assert (runs / "0/exec/stdout.txt").read_bytes() == (runs / "1/exec/stdout.txt").read_bytes()


def test_a_pools_tasks_draw_the_same_whichever_worker_takes_them_and_their_order_is_explained(tmp_path: Path) -> None:
    said, runs = exec_twice(tmp_path, "python", "pool_pi.py")
    assert (runs / "0/exec/stdout.txt").read_bytes() == (runs / "1/exec/stdout.txt").read_bytes()
    one, other = (sorted((runs / number / "exec/outputs/parts.csv").read_text().splitlines()) for number in "01")
    assert one == other
    assert said.startswith("identical") or ("parts.csv, line" in said and "another order" in said)


def test_no_two_tasks_of_a_pool_draw_the_same(tmp_path: Path) -> None:
    text = "import random, multiprocessing as mp\ndef draw(_): return random.random()\n"
    text += "if __name__ == '__main__':\n"
    text += "    with mp.Pool(3) as pool: print(*pool.map(draw, range(8), 1), *pool.map(draw, range(8)))"
    _, runs = exec_twice(tmp_path, "python", "-c", text)
    one, other = ((runs / number / "exec/stdout.txt").read_bytes().split() for number in "01")
    assert one == other
    assert len(set(one)) == 16


def test_another_seed_gives_other_numbers(tmp_path: Path) -> None:
    said, runs = exec_twice(tmp_path, "python", "pool_pi.py", seeds=("42", "7"))
    assert said.startswith("unverified"), said
    assert (runs / "0/exec/stdout.txt").read_bytes() != (runs / "1/exec/stdout.txt").read_bytes()


def test_what_asks_the_system_for_names_is_explained_with_the_line(tmp_path: Path) -> None:
    said, runs = exec_twice(tmp_path, "python", "experiment_tracker.py")
    assert said.startswith("divergent")
    assert "; uuid.uuid4 at experiment_tracker.py:13" in said
    assert "Every difference has a cause that was seen." in said
    explanation = json.loads((runs / "1/exec/explanation.json").read_bytes())
    assert explanation["explained"] is True
    found = {(cause["kind"], cause["where"]) for cause in explanation["causes"]}
    assert {("time", "$.started"), ("process", "$.pid"), ("token", "$.id")} <= found
    assert "number" not in {cause["kind"] for cause in explanation["causes"]}, "its losses are the same"


def test_a_seed_from_the_clock_is_named_with_the_line(tmp_path: Path) -> None:
    said, _ = exec_twice(tmp_path, "python", "time_seeded.py")
    assert said.startswith("divergent")
    assert "path.npy, element [0]: a number" in said
    assert "numpy.random.seed(the time) at time_seeded.py:9, random.seed(the time) at time_seeded.py:8, which" in said
