"""The short form of `nox -s fuzz_archives`: the same archives and checks, some hundreds of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUN = """\
import sys
sys.path[:0] = sys.argv[1:3]
import fuzz_archives
{spoil}
fuzz_archives.main(["--cases", "{cases}", "--seed", "7"])
"""


def fuzz(*, cases: int, spoil: str = "") -> subprocess.CompletedProcess[str]:
    """A run in a process of its own, which limits its own memory; `spoil` is done to the reader first."""
    script = RUN.format(cases=cases, spoil=spoil)
    command = [sys.executable, "-c", script, str(HERE), str(HERE.parents[1])]
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)


def test_hostile_archives_are_planned_inside_the_tree_or_refused() -> None:
    done = fuzz(cases=100)
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(done.stdout.splitlines()) == 4
    assert all(" taken, " in line for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("reader", "found"),
    [
        ("[('../x', File(0o644, Inline(b'')))]", "AssertionError: .."),
        ("[('x', Symlink('../x'))]", "AssertionError: ../x"),
        ("{}['x']", "KeyError"),
        ("[number for number in iter(int, 1) if number]", "Hang"),
        ("bytes(2 << 30)", "MemoryError"),
        ("[]", "only ever sees one answer"),
    ],
    ids=["path that leads out", "link that leads out", "another exception", "hang", "much memory", "nothing refused"],
)
def test_a_reader_that_is_not_careful_is_found(reader: str, found: str) -> None:
    spoil = (
        "from harness.images.content import Inline; from harness.images.tree import File, Symlink;"
        f"fuzz_archives.PATIENCE_SECONDS = 2; fuzz_archives.read_deb = lambda *_: {reader}"
    )
    done = fuzz(cases=20, spoil=spoil)
    assert done.returncode != 0
    assert found in done.stderr, done.stderr[-4000:]
