"""`python3 -m harness.strict.survey`: import every library that has a probe, verify its settings, probe it, capture.

What it finds goes to `$HARNESS_OUTPUT/environment.json`. Importing is nearly all of its time, and torch takes as long
as all the others, so it gets a process of its own. Standard library and what is installed.
"""

import harness.strict.bootstrap  # noqa: F401 - before anything that could import NumPy; isort: skip

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness.errors import HarnessError, ToolError, UsageError
from harness.strict import capture
from harness.strict.bootstrap import is_strict_mode
from harness.strict.probe import KNOWN, probe
from harness.strict.refusal import stop
from harness.strict.seeds import seed_all
from harness.strict.verify import verify_settings, verify_torch_switches

PYTHON = "python"
"""The probe's name for what needs no library: the functions of the C library."""
_APART = "torch"


def main(arguments: Sequence[str]) -> None:
    """Survey the libraries that `arguments` name, or all that are installed; a refusal is one sentence on stderr."""
    try:
        output = _output()
        share, rest = divided(tuple(arguments) or installed())
        helper = start(rest) if rest else None
        capture.add(examine(share), output)
        if helper is not None and (code := helper.wait()) != 0:
            sys.stderr.flush()
            os._exit(code)  # it has said why
    except HarnessError as error:
        stop(str(error), error.exit_code)
    except OSError as error:
        stop(f"the environment could not be surveyed: {error}", ToolError.exit_code)


def installed() -> tuple[str, ...]:
    """The probe's libraries that are installed here."""
    return tuple(name for name in KNOWN if name == PYTHON or importlib.util.find_spec(name) is not None)


def divided(libraries: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What this process surveys, and what another one does meanwhile, if there is anything for it."""
    rest = tuple(name for name in libraries if name != _APART)
    return ((_APART,), rest) if _APART in libraries and rest else (tuple(libraries), ())


def start(libraries: Sequence[str]) -> subprocess.Popen[bytes]:
    """Another process like this one, for `libraries`."""
    return subprocess.Popen([sys.executable, "-m", "harness.strict.survey", *libraries])


def examine(libraries: Sequence[str]) -> dict[str, dict[str, str]]:
    """Seed, import the libraries, check before and after use that the settings took effect, and probe.

    Raises:
        IntegrityError: a setting did not take effect.
        ToolError: a library is installed and cannot be imported.
        UsageError: a library has no probe.
    """
    seed_all(1)
    modules = [name for name in libraries if name != PYTHON]
    for name in modules:
        _import(name)
    verify_settings(modules)
    probes = probe(libraries)
    # SciPy, for one, loads its BLAS when that is first used.
    verify_settings(modules)
    if "torch" in modules and is_strict_mode():
        verify_torch_switches(sys.modules["torch"])
    return probes


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(name, error) from error
        raise ToolError(
            f"{name} is not in this environment",
            hint="Name an image that has it (--image), or leave out what needs it (--families).",
        ) from error
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> ToolError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return ToolError(
        f"{name} is installed in this environment and cannot be imported: {reason}",
        hint="Look at what the image's spec asks for: a Debian package may be missing.",
    )


def _output() -> Path:
    folder = os.environ.get("HARNESS_OUTPUT")
    if not folder:
        raise UsageError("HARNESS_OUTPUT is not set", hint="Surveys are started by `harness drift`.")
    return Path(folder)


def _end() -> NoReturn:
    """Leave without the libraries' own farewells, which take a tenth of a second."""
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
    _end()
