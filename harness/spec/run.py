"""RunSpec: the one document that an engine gets, and what it answers.

A run sees its mounts under names, never under paths: an engine makes each mount appear where it can and tells the
process where through `HARNESS_<NAME>` (`HARNESS_CODE`, `HARNESS_DATA`, `HARNESS_TASK`, `HARNESS_OUTPUT`). The mount
called `code` is put on `PYTHONPATH`. So one RunSpec means the same in a container and as a plain process.
"""

from enum import StrEnum

import msgspec

from harness.spec.digest import Digest

SCHEMA = "harness.runspec/1"
KILLED = 128 + 9
"""The exit code of a program that SIGKILL ended."""


class Mode(StrEnum):
    """How much a run promises: bits (`strict`), or seeds (`best_effort`, in which cuDNN times its algorithms)."""

    STRICT = "strict"
    BEST_EFFORT = "best_effort"


class Profile(StrEnum):
    """How numerics are pinned: this CPU class at full speed, or the same bits on every x86-64-v3 CPU."""

    NATIVE = "native"
    X86_64_V3 = "x86-64-v3"


class ImageReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image by its identity: `name` is for people, `manifest` is what is run."""

    name: str
    manifest: Digest
    config: Digest


class Mount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A read-only input: the folder or file `source` on this machine, whose content has `digest`."""

    name: str
    source: str
    digest: Digest


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a run. `cpus` are core numbers; sizes are bytes; `time_limit` is in seconds, null for none."""

    cpus: tuple[int, ...]
    memory: int | None = None
    pids: int = 1024
    shared_memory: int = 1 << 30
    temporary: int = 2 << 30
    time_limit: float | None = None


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to run. `output` is the folder on this machine that the run may write (`HARNESS_OUTPUT`).

    `environment` is the whole of what the process may see beyond what the engine itself adds (`HARNESS_*`, `HOME`,
    `USER`, `LOGNAME`, `PATH`, `PYTHONPATH`). `working_directory` is a path under `output`, or null for `output`.
    """

    schema: str = SCHEMA
    run_id: str
    image: ImageReference | None
    argv: tuple[str, ...]
    environment: dict[str, str]
    mounts: tuple[Mount, ...]
    output: str
    working_directory: str | None = None
    resources: Resources
    hostname: str = "harness"
    randomize_addresses: bool = True
    gpu: bool = False


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. `exit_code` is the process's own (128 + signal where one ended it)."""

    exit_code: int
    wall_seconds: float
    timed_out: bool = False
    out_of_memory: bool = False
    peak_memory: int | None = None

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it and no engine says why: the machine's own memory ran out, or podman missed it."""
        return self.exit_code == KILLED and not self.timed_out and not self.out_of_memory
