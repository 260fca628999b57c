"""What every engine starts for a RunSpec: the command, and the whole of its environment."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from harness.errors import UsageError
from harness.spec.run import RunSpec

USER = "harness"
OUTPUT = "output"
CODE = "code"
BYTECODE = "bytecode"
CHECKPOINTS = "checkpoints"
PLUGINS = "plugins"
INTERPRETER = "/usr/bin/python3"
"""Debian's own, by its path: whatever else an image or its `PATH` holds, no other starts the launcher."""
_MOUNT_NAME = re.compile(r"[a-z][a-z0-9_]*")


def launch_command(spec: RunSpec) -> tuple[str, ...]:
    """An image's interpreter with the strict launcher, and after it the RunSpec's own `argv`.

    Raises:
        UsageError: `argv` is empty.
    """
    if not spec.argv:
        raise UsageError(f"Run {spec.run_id} names no program to start", hint="Give the command after `--`.")
    options = () if spec.randomize_addresses else ("--fixed-addresses",)
    return (INTERPRETER, "-P", "-m", "harness.strict.launch", *options, "--", *spec.argv)


def process_environment(spec: RunSpec, *, locations: Mapping[str, str], path: str, home: str) -> dict[str, str]:
    """The whole environment of a run's process: the RunSpec's variables and the engine's own, nothing inherited.

    `locations` says, by mount name (and `output`), where each mount appears to the process.

    Raises:
        UsageError: a mount's name is unfit or used twice, there is no mount `code`, or the RunSpec sets a variable that
            is the engine's to set.
    """
    names = [mount.name for mount in spec.mounts] + [OUTPUT]
    for name in names:
        if _MOUNT_NAME.fullmatch(name) is None or names.count(name) > 1:
            raise UsageError(f"Mount name {name!r} is not a name of its own in lower-case letters, digits and _")
    if CODE not in names:
        raise UsageError(f"Run {spec.run_id} has no mount called {CODE!r}, so its launcher cannot be found")
    code = locations[CODE]
    python_path = [code, f"{code}/harness/strict/site", *(locations[name] for name in names if name == PLUGINS)]
    own = {
        **{f"HARNESS_{name.upper()}": locations[name] for name in names},
        f"HARNESS_{CHECKPOINTS.upper()}": f"{locations[OUTPUT]}/{CHECKPOINTS}",
        **({"PYTHONPYCACHEPREFIX": locations[BYTECODE]} if BYTECODE in names else {}),
        "PYTHONPATH": ":".join(python_path),
        "HOME": home,
        "USER": USER,
        "LOGNAME": USER,
        "PATH": path,
    }
    for name, value in spec.environment.items():
        if name in own:
            raise UsageError(f"Variable {name} is set by the engine, and run {spec.run_id} asks for another value")
        if not name or "=" in name or "\0" in name + value:
            raise UsageError(f"Variable {name!r} of run {spec.run_id} cannot be set: its name or value is unfit")
    return dict(sorted({**spec.environment, **own}.items()))


def working_directory(spec: RunSpec) -> PurePosixPath:
    """The working folder, relative to the output folder.

    Raises:
        UsageError: it lies outside the output folder.
    """
    path = PurePosixPath(spec.working_directory or ".")
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"Working folder {spec.working_directory!r} of run {spec.run_id} is not under its output folder"
        )
    return path
