"""What the environment of a strict run must hold before its program starts. Standard library only."""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.spec.processor import missing_features, processor_facts
from harness.spec.variables import run_variables
from harness.strict.bootstrap import is_strict_mode
from harness.strict.hook import base_seed


def available_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_environment(environ: Mapping[str, str], *, cores: int) -> None:
    """Refuse an environment in which a strict run would not be strict; best_effort is taken as it is.

    Raises:
        IntegrityError: a variable is missing or has another value than the table's.
        UsageError: `REPRO_MODE` or another setting of the run is missing or not known.
    """
    missing = [name for name in ("REPRO_MODE", "REPRO_SEED") if name not in environ]
    if missing:
        raise UsageError(f"{missing[0]} is not set", hint="Engines set it from the RunSpec: start runs with `harness`.")
    base_seed(environ)
    if not is_strict_mode(environ):
        return
    threads = environ.get("REPRO_THREADS", "1")
    if not threads.isdecimal():
        raise UsageError(f"REPRO_THREADS is {threads!r}", hint="Set it to a whole number from 1.")
    wanted = run_variables(
        mode="strict",
        profile=environ.get("REPRO_PROFILE", "native"),
        variant=environ.get("REPRO_VARIANT", "cpu"),
        seed=int(environ["REPRO_SEED"]),
        version=environ.get("REPRO_VERSION", "v1"),
        threads=int(threads),
        cores=cores,
        libraries=_installed("numpy"),
    )
    for name, value in wanted.items():
        if environ.get(name) != value:
            found = f"is {environ[name]!r}" if name in environ else "is not set"
            raise IntegrityError(
                f"this run would not be strict: {name} {found}, not {value!r}",
                hint="Start it with `harness run` or `harness exec`, which set it; or use REPRO_MODE=best_effort.",
            )


def check_processor(environ: Mapping[str, str]) -> None:
    """Refuse a strict run whose profile asks for what this processor does not have; best_effort is taken as it is.

    It is asked of /proc/cpuinfo, which under an emulator of user programs is that of the machine below.

    Raises:
        PrerequisiteError: the processor lacks instructions that the profile's kernels are made of.
    """
    if not is_strict_mode(environ):
        return
    profile = environ.get("REPRO_PROFILE", "native")
    if missing := missing_features(profile, processor_facts().get("flags", "").split()):
        raise PrerequisiteError(
            f"this processor cannot run the profile {profile}: it has no {', '.join(missing)}",
            hint="Run it on an x86-64 processor with AVX2, or use the profile native.",
        )


def _installed(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
