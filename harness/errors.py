"""One base for every error that a user can meet, and the exit codes that commands answer with."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command answers (README, "Exit codes")."""

    OK = 0
    DIVERGENT = 1
    USAGE = 2
    INCOMPARABLE = 3
    INTEGRITY = 4


_PRECEDENCE = (ExitCode.INTEGRITY, ExitCode.USAGE, ExitCode.DIVERGENT, ExitCode.INCOMPARABLE, ExitCode.OK)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The code of several answers together: the first of 4, 2, 1, 3, 0 that occurs; 0 for none."""
    found = set(codes)
    return next((code for code in _PRECEDENCE if code in found), ExitCode.OK)


class HarnessError(Exception):
    """An error in one sentence that names what was wrong and where; `hint` says what to do about it."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(HarnessError):
    """The caller asked for something that makes no sense: a bad option, key, name or file."""


class PrerequisiteError(HarnessError):
    """Something that the machine must have is missing: an engine, a tool, an artifact, disk space."""


class ToolError(HarnessError):
    """A tool or service that the harness relies on failed: the daemon, uv, a user's program."""


class OutdatedLockError(HarnessError):
    """A lockfile no longer matches its spec or inputs."""

    exit_code = ExitCode.DIVERGENT


class IncomparableError(HarnessError):
    """Two things that cannot be held against each other: another architecture, say."""

    exit_code = ExitCode.INCOMPARABLE


class IntegrityError(HarnessError):
    """Bytes are not what their digest or signature says, or a strict run was not strict."""

    exit_code = ExitCode.INTEGRITY


@contextmanager
def advising(kind: type[HarnessError], hint: str) -> Iterator[None]:
    """Give errors of a kind that say nothing about what to do a `hint` that fits all of them.

    For a `with` block, or for a function as its decorator.
    """
    try:
        yield
    except kind as error:
        error.hint = error.hint or hint
        raise
