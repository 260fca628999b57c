"""What a look at locks and environments costs: the difference of two large locks, and a drift check.

The alternative is what people do by hand: `pip freeze` to a file, and `diff`. It sees names and versions alone.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uv

from benchmarks.commands import ROOT, harness, run
from benchmarks.figures import Bound, Figure, Result, Skipped, ratios
from benchmarks.rounds import rounds, seconds
from harness.errors import HarnessError
from harness.locking.difference import python_difference
from harness.locking.python import LockedWheel, PythonLock, encode_python_lock, read_python_lock
from harness.record.hashing import digest_of

PACKAGES = 500
_RELEASE = "benchmark"
_PROGRAM = """
import sys
from pathlib import Path
from harness.locking.difference import python_difference
from harness.locking.python import read_python_lock
for change in python_difference("lock", *(read_python_lock(Path(name)) for name in sys.argv[1:])):
    print(change.package, change.kind.value, change.before, change.after, change.digest_after)
"""


def release_figures(count: int, note: Callable[[str], None]) -> list[Result]:
    """The difference of two locks, then drift checks of the CPU image, kept and fresh, where one can be made here."""
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
        figures: list[Result] = [*_difference(Path(scratch), count, note)]
        try:
            figures += _drift(Path(scratch, "checkout"), Path(scratch), count, note)
        except HarnessError as error:
            figures.append(Skipped(name="release", reason=f"The drift check: {error.message}"))
        return figures


def large_lock(packages: int, *, release: int) -> PythonLock:
    """A lock of that many packages; every third has another version in each release, and every seventh other bytes."""

    def wheel(number: int) -> LockedWheel:
        version = f"1.{release}.{number}" if number % 3 == 0 else f"1.0.{number}"
        name, build = f"package{number:04}", release if number % 7 == 0 else 0
        tags = "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"
        return LockedWheel(
            name, version, f"{name}-{version}-{tags}.whl", digest_of(f"{name} {version} {build}".encode())
        )

    return PythonLock(
        inputs=digest_of(b"large"),
        version="3.11",
        platform="x86_64-manylinux_2_36",
        wheels=tuple(map(wheel, range(packages))),
    )


def _difference(scratch: Path, count: int, note: Callable[[str], None]) -> list[Result]:
    locks, frozen = (scratch / "old.txt", scratch / "new.txt"), (scratch / "old.freeze", scratch / "new.freeze")
    for number, (path, plain) in enumerate(zip(locks, frozen, strict=True)):
        lock = large_lock(PACKAGES, release=number)
        path.write_bytes(encode_python_lock(lock))
        plain.write_text("".join(f"{wheel.name}=={wheel.version}\n" for wheel in lock.wheels))
    arms = {
        "within a process": lambda: seconds(lambda: python_difference("lock", *map(read_python_lock, locks))),
        "as a program": lambda: seconds(lambda: run([sys.executable, "-c", _PROGRAM, *locks])),
        "diff": lambda: seconds(lambda: run(["diff", *frozen], accept=(0, 1))),
    }
    taken = rounds(2 * count, arms, note)
    what = f"difference of two locks of {PACKAGES} packages"
    return [
        Figure(
            name="release",
            statement=f"{what}, reading them too",
            unit="s",
            values=tuple(taken["within a process"]),
            bound=Bound.AT_MOST,
            target=0.1,
        ),
        Figure(name="release", statement=f"{what}, as a program", unit="s", values=tuple(taken["as a program"])),
        Figure(
            name="release",
            statement="that program against `diff` of two frozen lists",
            unit="x",
            values=ratios(taken["as a program"], taken["diff"]),
        ),
    ]


def _drift(checkout: Path, scratch: Path, count: int, note: Callable[[str], None]) -> list[Result]:
    """In a checkout of its own, so that no baseline is left in this one."""
    for folder in ("docker", "lockfiles"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("baselines"))
    shutil.copy2(ROOT / "pyproject.toml", checkout / "pyproject.toml")
    results = scratch / "results"
    note("a baseline of the CPU image, with the quick experiment as its golden run")
    create = ("baseline", "create", "--release", _RELEASE, "--environment", "cpu", "--quick")
    harness(*create, "--output-dir", results, cwd=checkout)
    interpreter = run([sys.executable, "-m", "harness", "host-environment"]).strip()
    frozen = scratch / "frozen.txt"
    freeze = [uv.find_uv_bin(), "pip", "freeze", "--python", interpreter]
    frozen.write_text(run(freeze))

    def check(*options: str) -> Callable[[], float]:
        command = ("drift", "--baseline", _RELEASE, "--candidate", "cpu", "--output-dir", results, *options)
        return lambda: seconds(lambda: harness(*command, cwd=checkout))

    def by_hand() -> None:
        now = scratch / "now.txt"
        now.write_text(run(freeze))
        run(["diff", frozen, now])

    taken = rounds(2 * count, {"kept": check(), "fresh": check("--fresh"), "by hand": lambda: seconds(by_hand)}, note)
    golden = {
        "check": check("--golden"),
        "run": lambda: seconds(lambda: harness("run", "--quick", "--output-dir", results, cwd=checkout)),
    }
    again = rounds(count, golden, note)
    beyond = tuple(whole - run for whole, run in zip(again["check"], again["run"], strict=True))
    found: list[Result] = [
        Figure(
            name="release",
            statement="`harness drift --golden` less the golden run itself, the quick experiment",
            unit="s",
            values=beyond,
            bound=Bound.AT_MOST,
            target=5.0,
        )
    ]
    for arm, said in (("kept", "nothing changed since the last survey"), ("fresh", "surveyed anew")):
        found += [
            Figure(
                name="release",
                statement=f"`harness drift`, one image, no golden runs, {said}",
                unit="s",
                values=tuple(taken[arm]),
                bound=Bound.AT_MOST if arm == "kept" else None,
                target=2.0 if arm == "kept" else None,
            ),
            Figure(
                name="release",
                statement=f"the same, {said}, against `uv pip freeze` and `diff`",
                unit="x",
                values=ratios(taken[arm], taken["by hand"]),
            ),
        ]
    return found
