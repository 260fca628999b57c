"""Imported first: in strict mode it stops a program that could not be made strict any more.

Settings that a numeric library reads when it loads come too late once it is loaded, and `PYTHONHASHSEED` is read before
the first line of a program runs. Standard library only.
"""

import os
import sys
from collections.abc import Container, Mapping

from harness.errors import IntegrityError, UsageError

NUMERIC_LIBRARIES = ("numpy", "pandas", "scipy", "sklearn", "torch", "lightgbm", "xgboost", "catboost")

# spec.variables.HASH_SEED, whose table no other process needs to read.
_HASH_SEED = "42"

# Left in sys.modules by the first import in a process, so that a later one knows that the check was made in time.
_MARK = "_harness_bootstrapped"


def is_strict_mode(environ: Mapping[str, str] | None = None) -> bool:
    """Whether `REPRO_MODE` asks for strict; unset means `best_effort`.

    Raises:
        UsageError: `REPRO_MODE` is neither `strict` nor `best_effort`.
    """
    mode = (os.environ if environ is None else environ).get("REPRO_MODE", "best_effort")
    if mode not in ("strict", "best_effort"):
        raise UsageError(f"REPRO_MODE is {mode!r}", hint="Set it to strict or best_effort.")
    return mode == "strict"


def check(environ: Mapping[str, str], modules: Container[str]) -> None:
    """Refuse a strict process that cannot be made strict any more; say nothing in `best_effort`.

    Raises:
        IntegrityError: `PYTHONHASHSEED` is not 42, or a numeric library is in `modules`.
        UsageError: `REPRO_MODE` is not known.
    """
    if not is_strict_mode(environ):
        return
    if environ.get("PYTHONHASHSEED") != _HASH_SEED:
        found = f"{environ['PYTHONHASHSEED']!r}, not {_HASH_SEED!r}" if "PYTHONHASHSEED" in environ else "not set"
        raise IntegrityError(
            f"PYTHONHASHSEED is {found}, and this run is to be strict: it decides the order of sets",
            hint="Start the program with `harness exec -- python …`, or set PYTHONHASHSEED=42 before Python starts.",
        )
    loaded = [name for name in NUMERIC_LIBRARIES if name in modules]
    if loaded:
        raise IntegrityError(
            f"{', '.join(loaded)} was imported before harness.strict.bootstrap, so its settings came too late",
            hint="Make `import harness.strict.bootstrap` the program's first import, or use `harness exec`.",
        )


def _bootstrap() -> None:
    if _MARK in sys.modules:
        return
    check(os.environ, sys.modules)
    if is_strict_mode() and (sys.flags.ignore_environment or not _set_before_start()):
        raise IntegrityError(
            "PYTHONHASHSEED was set after Python had started, or Python was told to ignore it (-E, -I)",
            hint="Set it before Python starts, as `harness exec` does.",
        )
    sys.modules[_MARK] = sys.modules[__name__]


def _set_before_start() -> bool:
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib would slow every process down
            variables = file.read().split(b"\0")
    except OSError:
        return True
    return f"PYTHONHASHSEED={_HASH_SEED}".encode() in variables


_bootstrap()
