"""How long work tells how far it is, without knowing who looks: commands draw bars, tests and scripts pass `SILENT`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar."""

    def advance(self, amount: float = 1) -> None:
        """Count `amount` more units as done."""

    def total(self, total: float) -> None:
        """Set or correct how many units there are."""


class Progress(Protocol):
    """Where bars are drawn and notes are said."""

    def task(
        self, description: str, *, total: float | None = None, unit: str = "items"
    ) -> AbstractContextManager[Task]:
        """A bar for the time of a `with` block; `unit` is `items` or `bytes`. Thread-safe."""

    def note(self, message: str) -> None:
        """One line for the person who watches (a decision, a warning)."""


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        pass

    def total(self, total: float) -> None:
        pass


class _Silent:
    @contextmanager
    def task(self, description: str, *, total: float | None = None, unit: str = "items") -> Iterator[Task]:
        del description, total, unit
        yield _SilentTask()

    def note(self, message: str) -> None:
        pass


SILENT: Progress = _Silent()
