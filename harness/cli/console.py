"""What a person sees while work goes on: bars on a terminal, plain lines elsewhere, always on stderr."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.text import Text

from harness.store.progress import Task


class _Console(Console):
    """A console whose reader may go away: that is trouble; rich would answer 1, which here means divergent."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


stdout = _Console(soft_wrap=True)
stderr = _Console(stderr=True, soft_wrap=True)
if not stdout.is_terminal:
    stdout.width = 240  # a file or a pipe has no width: nothing is wrapped there


class _Amount(ProgressColumn):
    """`3/72` for items, `1.2/262.0 MB 40 MB/s` for bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = (DownloadColumn(), TransferSpeedColumn())
        self._items = MofNCompleteColumn()

    def render(self, task: Bar) -> Text:
        if task.fields["unit"] == "bytes":
            return Text.assemble(self._bytes[0].render(task), " ", self._bytes[1].render(task))
        return self._items.render(task)


class _BarTask:
    """A bar on a terminal."""

    def __init__(self, bars: Bars, identifier: TaskID) -> None:
        self._bars = bars
        self._identifier = identifier

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._identifier, amount)

    def total(self, total: float) -> None:
        self._bars.update(self._identifier, total=total)


class _LineTask:
    """A task where nobody watches a terminal: its start alone is a line, so that logs stay short."""

    def advance(self, amount: float = 1) -> None:
        pass

    def total(self, total: float) -> None:
        pass


class ConsoleProgress:
    """`harness.store.progress.Progress` for people. A context manager: bars live inside its `with` block."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            TimeElapsedColumn(),
            console=stderr,
            transient=True,
            disable=quiet or not stderr.is_terminal,
        )
        self._said = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @contextmanager
    def task(self, description: str, *, total: float | None = None, unit: str = "items") -> Iterator[Task]:
        """A bar on a terminal; elsewhere one line when the task starts."""
        if self._bars.disable:
            self.note(description)
            yield _LineTask()
            return
        identifier = self._bars.add_task(description, total=total, unit=unit)
        try:
            yield _BarTask(self._bars, identifier)
        finally:
            self._bars.remove_task(identifier)

    def note(self, message: str) -> None:
        """One line on stderr, above the bars."""
        if not self._quiet:
            with self._said:
                stderr.print(message, style="dim", markup=False, highlight=False)
