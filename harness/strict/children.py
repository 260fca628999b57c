"""The Python processes that a strict process starts must be strict too. Standard library only.

What cannot be seen: a program that is not Python (a shell, `timeout`), and what that starts with other variables.
"""

# pathlib would slow every process down.
# ruff: noqa: PTH118, PTH119, PTH120

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.errors import HarnessError, IntegrityError
from harness.spec.variables import TABLE
from harness.strict.replacing import replace

_HERE = os.path.dirname(__file__)
_FOLDERS = (os.path.join(_HERE, "site"), os.path.dirname(os.path.dirname(_HERE)))
_TABLE = tuple(dict.fromkeys(row.name for row in TABLE))
_OWN = ("HARNESS_OUTPUT", "HARNESS_HOOK")
# Asks the driver for the GPU and computes nothing: the hook would only slow it down.
_GPU = os.path.join(_HERE, "gpu.py")
_PYTHON = re.compile(r"python[\d.]*t?")
_ENV_OPTIONS = ("ignore-environment", "unset=", "chdir=", "split-string=", "argv0=", "debug", "null")


def check_program(argv: Sequence[str], environ: Mapping[str, str], parent: Mapping[str, str]) -> None:
    """Refuse a Python program that would not hear of strict, or would hear something else than `parent` did.

    A leading `env` is looked through. Programs that are not Python are accepted.

    Raises:
        IntegrityError: the program's options or its variables `environ` would switch strict off, or change it.
    """
    argv, environ = through_env(argv, environ)
    if not _is_python(argv[0]) or _GPU in argv:
        return
    refuse_deaf_python(argv)
    for name in (*(name for name in _TABLE if name in parent), *_OWN):
        if environ.get(name) != parent.get(name):
            found = f"as {environ[name]!r}" if name in environ else "unset"
            wanted = f"{parent[name]!r}" if name in parent else "unset"
            raise IntegrityError(
                f"this run would not be strict: it starts Python with {name} {found}, not {wanted}",
                hint=f"Start it with the variables that this process began with: leave {name} as it was.",
            )
    if not set(_FOLDERS) <= set(environ.get("PYTHONPATH", "").split(os.pathsep)):
        raise IntegrityError(
            "this run would not be strict: it starts Python without what PYTHONPATH held",
            hint="Add to PYTHONPATH and keep what it holds, or use REPRO_MODE=best_effort.",
        )


def through_env(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Sequence[str], Mapping[str, str]]:
    """What a leading `env` starts and with which variables; anything else as it is."""
    if _name(argv[0]) != "env":
        return argv, environ
    import getopt
    import shlex

    try:
        options, rest = getopt.getopt(list(argv[1:]), "iu:C:S:a:v0", list(_ENV_OPTIONS))
    except getopt.GetoptError:
        return argv, environ
    changed = dict(environ)
    for option, value in options:
        if option in ("-i", "--ignore-environment"):
            changed.clear()
        elif option in ("-u", "--unset"):
            changed.pop(value, None)
        elif option in ("-S", "--split-string"):
            rest = ["env", *shlex.split(value), *rest]
    if rest[:1] == ["-"]:
        changed, rest = {}, rest[1:]
    while rest and "=" in rest[0]:
        name, _, value = rest.pop(0).partition("=")
        changed[name] = value
    return through_env(rest, changed) if rest else (argv, environ)


def refuse_deaf_python(program: Sequence[str]) -> None:
    """Refuse Python options that switch off the hook (`-E`, `-I`, `-S`) or the fixed order of sets (`-R`).

    Raises:
        IntegrityError: the program is Python with such an option.
    """
    if not _is_python(program[0]):
        return
    skip = False
    for argument in program[1:]:
        if skip:
            skip = False
            continue
        if argument == "--check-hash-based-pycs":
            skip = True
            continue
        letters = re.match(r"-(?!-)([^cmWX]*)([cmWX]?)(.*)", argument)
        if letters is None or argument == "-":
            return
        deaf = sorted(set(letters.group(1)) & set("EIRS"))
        if deaf:
            raise IntegrityError(
                f"this run would not be strict: python -{deaf[0]} does not load what makes it so",
                hint=f"Leave -{deaf[0]} out, or use REPRO_MODE=best_effort.",
            )
        if letters.group(2) in ("c", "m"):
            return
        skip = letters.group(2) in ("W", "X") and not letters.group(3)


def watch(environ: Mapping[str, str], stop: Callable[[HarnessError], object]) -> None:
    """From now on call `stop` before this process, which began with `environ`, starts a Python that is refused.

    The few functions by which Python starts programs are wrapped: an audit hook would slow every `id()` and `open()`
    of the process down, and `multiprocessing` raises no event.
    """

    def check(program: Any, arguments: Any, variables: Any) -> None:
        argv = [os.fsdecode(program), *map(os.fsdecode, list(arguments)[1:])]
        given = os.environ if variables is None else variables
        try:
            check_program(argv, {os.fsdecode(name): os.fsdecode(value) for name, value in given.items()}, environ)
        except HarnessError as error:
            stop(error)

    def before(holder: Any, name: str, arguments_of: Callable[..., tuple[Any, Any, Any]]) -> None:
        original = getattr(holder, name, None)
        if original is None:
            return

        def checked(*arguments: Any, **keywords: Any) -> Any:
            check(*arguments_of(*arguments, **keywords))
            return original(*arguments, **keywords)

        replace(holder, name, checked)

    before(os, "execv", lambda path, argv: (path, argv, None))
    before(os, "execve", lambda path, argv, env: (path, argv, env))
    for name in ("posix_spawn", "posix_spawnp"):
        before(os, name, lambda path, argv, env, **_: (path, argv, env))
    import _posixsubprocess

    before(_posixsubprocess, "fork_exec", _forked)
    if "subprocess" in sys.modules:  # it took the function by its name already
        before(sys.modules["subprocess"], "_fork_exec", _forked)


def _forked(argv: Any, executables: Any, *rest: Any) -> tuple[Any, Any, Any]:
    """Program, arguments and variables of `_posixsubprocess.fork_exec`, which `subprocess` and others call."""
    variables = rest[3]
    if variables is not None:
        variables = dict(entry.split(b"=", 1) for entry in variables)
    return executables[0], argv, variables


def _is_python(program: str) -> bool:
    if _PYTHON.fullmatch(_name(program)):
        return True
    return bool(sys.executable) and os.path.realpath(program) == os.path.realpath(sys.executable)


def _name(program: str) -> str:
    return os.path.basename(program.rstrip("/"))
