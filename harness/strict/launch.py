"""What every engine starts: `python3 -m harness.strict.launch [--fixed-addresses] -- ARGV…`.

It checks that the environment is what the table of variables says for the run's mode and profile, records the
environment, and becomes ARGV: standard output and the exit code are the program's alone. Standard library only.

Exit codes of its own: 4 where a strict run would not be strict, 2 where it was called wrongly or something is missing,
127 where the program does not exist, 126 where it cannot be run.
"""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # `python -m` put the working folder there: a user's random.py is not this program's

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from harness.errors import HarnessError, PrerequisiteError, UsageError
from harness.strict import audit, capture, touched
from harness.strict.bootstrap import is_strict_mode
from harness.strict.children import check_program
from harness.strict.environment import available_cores, check_environment, check_processor
from harness.strict.refusal import stop

_ADDR_NO_RANDOMIZE = 0x0040000  # linux/personality.h
_ASK = 0xFFFFFFFF
_TRACE_OPTIONS = (
    "-f", "-qq", "-y", "-s", "512", "-e", "signal=none", "-e",
    "trace=open,openat,openat2,connect,bind,execve,getrandom",
)  # fmt: skip
_CODE = Path(__file__).resolve().parents[2]
_SITE = Path(__file__).resolve().parent / "site"
_OWN_PROGRAMS = ("harness.training", "harness.training.ensemble", "harness.strict.survey", "harness.strict.warm")


def main(arguments: Sequence[str]) -> NoReturn:
    """Check, record and become the program; a refusal is one sentence on standard error."""
    try:
        fixed, program = parse(arguments)
        check_environment(os.environ, cores=available_cores())
        check_processor(os.environ)
        argv = resolve(program)
        environment = program_environment(os.environ, argv)
        if is_strict_mode():
            check_program(argv, environment, environment)
        if fixed:
            _fix_addresses()
        if output := os.environ.get("HARNESS_OUTPUT"):
            capture.write(capture.static_part(environment), Path(output))
            argv = _traced(argv, output) if audit.is_audited(output) else argv
    except HarnessError as error:
        stop(str(error), error.exit_code)
    except OSError as error:
        stop(f"the environment could not be recorded: {error}", PrerequisiteError.exit_code)
    _become(argv, environment)


def parse(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether addresses are to be fixed, and the program with its arguments.

    Raises:
        UsageError: there is no program, or an option is not known.
    """
    options, separator, program = _split(list(arguments))
    unknown = [option for option in options if option != "--fixed-addresses"]
    if unknown or not separator or not program:
        problem = f"the option {unknown[0]} is not known" if unknown else "no program was given"
        raise UsageError(
            f"harness.strict.launch: {problem}",
            hint="python3 -m harness.strict.launch [--fixed-addresses] -- PROGRAM ARGUMENTS…",
        )
    return bool(options), program


def resolve(program: Sequence[str]) -> list[str]:
    """The program as it is started: `python`, `-m MODULE` and `FILE.py` mean this interpreter."""
    name = program[0]
    if name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        return [sys.executable, *program[1:]]
    if name == "-m" or (name.endswith(".py") and Path(name).is_file()):
        return [sys.executable, *program]
    return list(program)


def program_environment(environ: Mapping[str, str], argv: Sequence[str]) -> dict[str, str]:
    """The program's variables: this process's, with the hook and the inside rooms on `PYTHONPATH`."""
    own = [str(_SITE), str(_CODE)]
    rest = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry not in own]
    environment = {**environ, "PYTHONPATH": os.pathsep.join([*own, *rest])}
    # Where the working folder has a package of that name, its module is a user's program like any other.
    if argv[:2] == [sys.executable, "-m"] and argv[2:3] and argv[2] in _OWN_PROGRAMS and not Path("harness").exists():
        environment["HARNESS_HOOK"] = "trainer"
    return environment


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in arguments:
        return arguments, False, []
    index = arguments.index("--")
    return arguments[:index], True, arguments[index + 1 :]


def _fix_addresses() -> None:
    """Give the program that this process becomes the same addresses in every run: they are drawn when it starts.

    Where the kernel or a sandbox around this one refuses that, the run goes on, and says so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.personality.argtypes = [ctypes.c_ulong]
    if libc.personality(_ASK) & _ADDR_NO_RANDOMIZE:
        return
    # A container's seccomp profile allows this one value: nothing may be added to it.
    if libc.personality(_ADDR_NO_RANDOMIZE) == -1:
        reason = os.strerror(ctypes.get_errno())
        sys.stderr.write(
            f"harness: addresses differ from run to run here: personality(ADDR_NO_RANDOMIZE) was refused ({reason}); "
            "what a program orders by id() will not repeat\n"
        )


def _traced(argv: list[str], output: str) -> list[str]:
    """The program under strace, which sees what native code touches; where that is not possible it is noted why."""
    import shutil  # no other run needs them
    import subprocess

    tracer = shutil.which("strace")
    missing = "" if tracer else "strace is not installed here"
    if tracer and subprocess.run([tracer, "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        missing = "strace is not allowed here"
    if tracer and not missing and shutil.which(argv[0]):
        return [tracer, *_TRACE_OPTIONS, "-o", f"{output}/{audit.TRACE}", "--", *argv]
    if missing:
        recorder = touched.Recorder(f"{output}/{touched.LOG}")
        recorder.write([(("note", f"{missing}: what native code touches was not seen", "", "", ""), 1)])
    return argv


def _become(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606
    except FileNotFoundError:
        stop(f"the program {argv[0]!r} does not exist in this environment", 127)
    except OSError as error:
        stop(f"the program {argv[0]!r} cannot be run: {error.strerror}", 126)


if __name__ == "__main__":
    main(sys.argv[1:])
