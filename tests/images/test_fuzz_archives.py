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
    assert len(done.stdout.splitlines()) == 6
    assert all(" taken, " in line for line in done.stdout.splitlines())


REAL = "[(path, {}) for path, entry in real(*arguments, **options).entries]"
OTHER_BYTES = "entry if path.endswith('RECORD') else File(0o644, Inline(b'other'))"
CARELESS = {
    "path that leads out": ("read_deb", "[('../x', File(0o644, Inline(b'')))]", "AssertionError: .."),
    "link that leads out": ("read_deb", "[('x', Symlink('../x'))]", "AssertionError: ../x"),
    "another exception": ("read_deb", "{}['x']", "KeyError"),
    "hang": ("read_deb", "[number for number in iter(int, 1) if number]", "Hang"),
    "much memory": ("read_deb", "bytes(2 << 30)", "MemoryError"),
    "nothing refused": ("read_deb", "[]", "packages, by structure: a run that only ever sees one answer"),
    "wheel's path that leads out": (
        "read_wheel",
        "InstalledWheel([('../x', File(0o644, Inline(b'')))], ())",
        "AssertionError: ..",
    ),
    "wheel's link that leads out": (
        "read_wheel",
        "InstalledWheel([('x', Symlink('../x'))], ())",
        "AssertionError: ../x",
    ),
    "wheel with other bytes than its RECORD says": (
        "read_wheel",
        f"InstalledWheel({REAL.format(OTHER_BYTES)}, ())",
        "assert value == base64",
    ),
    "wheel with a file that is not in its RECORD": (
        "read_wheel",
        f"InstalledWheel([('usr/more', File(0o644, Inline(b''))), *{REAL.format('entry')}], ())",
        "assert set(listed) == set(contents)",
    ),
    "wheel that is read with another exception": ("read_wheel", "{}['x']", "KeyError"),
    "script of which a lock cannot hold what it does": (
        "read_scripts",
        "(MaintainerScript('postinst', NONE, folders=(Folder('/a/', '0755'),)),)",
        "ValidationError",
    ),
    "script that is read with another exception": ("read_scripts", "{}['x']", "KeyError"),
    "no script refused": ("read_scripts", "()", "scripts, by structure: a run that only ever sees one answer"),
}


@pytest.mark.parametrize(("reader", "answer", "found"), CARELESS.values(), ids=CARELESS.keys())
def test_a_reader_that_is_not_careful_is_found(reader: str, answer: str, found: str) -> None:
    spoil = (
        "from harness.images.content import Inline; from harness.images.tree import File, Symlink;"
        "from harness.images.wheel import InstalledWheel;"
        "from harness.locking.debian import Folder, MaintainerScript; from fuzz_archives import NONE;"
        f"fuzz_archives.PATIENCE_SECONDS = 2; real = fuzz_archives.{reader};"
        f"fuzz_archives.{reader} = lambda *arguments, **options: {answer}"
    )
    done = fuzz(cases=20, spoil=spoil)
    assert done.returncode != 0
    assert found in done.stderr, done.stderr[-4000:]
