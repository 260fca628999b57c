"""Which CPUs are compared, and how a process is started on one of them. Standard library only."""

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from harness.spec.variables import run_variables

ROOT = Path(__file__).parents[2]
EMULATOR = "qemu-x86_64"
EMULATED = ("Haswell", "Skylake-Client", "EPYC")
NATIVE = "native"
SETTINGS = ("x86-64-v3", "native", "pins", "bare")
"""What a process gets: strict with a profile, the variables of x86-64-v3 without the hook, or nothing at all."""


def emulator() -> str | None:
    """Where the emulator is, or None where it is not installed (Debian: the package qemu-user)."""
    return shutil.which(EMULATOR)


def command(cpu: str, arguments: Sequence[str], *, python: str = sys.executable) -> list[str]:
    """This environment's Python on `cpu`."""
    found = emulator()
    prefix = [] if cpu == NATIVE else [found or EMULATOR, "-cpu", cpu]
    return [*prefix, python, *arguments]


def environment(settings: str, *, threads: int = 1) -> dict[str, str]:
    """The variables of a process: those of a strict run as an engine sets them, or fewer (see SETTINGS)."""
    own = [str(ROOT), *(entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)]
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(dict.fromkeys(own))}
    if settings == "bare":
        return {**base, "PYTHONHASHSEED": "42", "OMP_NUM_THREADS": str(threads)}
    if threads > 1:  # on a busy machine, threads that spin while they wait take each other's time
        base["OMP_WAIT_POLICY"] = "passive"
    strict = run_variables(
        mode="strict",
        profile="native" if settings == "native" else "x86-64-v3",
        variant="cpu",
        seed=42,
        version="v1",
        threads=threads,
        cores=max(threads, len(os.sched_getaffinity(0))),
        libraries={"numpy": version("numpy")},
    )
    if settings == "pins":
        return {**{name: value for name, value in strict.items() if not name.startswith("REPRO_")}, **base}
    return {
        **strict,
        **base,
        "HARNESS_HOOK": "trainer",  # it seeds by itself, and keeps the harness's modules in reach
        "PYTHONPATH": os.pathsep.join([str(ROOT / "harness" / "strict" / "site"), base["PYTHONPATH"]]),
    }


def name_of_this_cpu() -> str:
    """This machine's CPU by vendor, family, model and name, as the kernel tells them."""
    text = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in text.partition("\n\n")[0].splitlines() if ":" in line)
    values = {name.strip(): value.strip() for name, value in fields.items()}
    family = f"{values.get('vendor_id', '?')} family {values.get('cpu family', '?')} model {values.get('model', '?')}"
    return f"{values.get('model name', '?')} ({family})"
