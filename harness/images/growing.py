"""A layer that one thread makes and others read, as far as it is there."""

import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple


class Span(NamedTuple):
    """A part of an open file, in bytes."""

    file: BinaryIO
    start: int
    size: int


class Growing:
    """The file of a layer, under its temporary name until it is whole."""

    def __init__(self) -> None:
        self._grown = threading.Condition()
        self._temporary: Path | None = None
        self._size = 0
        self._whole: Future[Path] = Future()

    def grow(self, temporary: Path, size: int) -> None:
        """Say that the file has its first `size` bytes."""
        with self._grown:
            self._temporary, self._size = temporary, size
            self._grown.notify_all()

    def finish(self, path: Path) -> None:
        """Say that the layer is whole, and where."""
        with self._grown:
            self._whole.set_result(path)
            self._grown.notify_all()

    def fail(self, error: BaseException) -> None:
        """Say why there will be no layer."""
        with self._grown:
            self._whole.set_exception(error)
            self._grown.notify_all()

    def ended(self) -> bool:
        """Whether it is whole, or will never be."""
        return self._whole.done()

    def failure(self) -> BaseException | None:
        """Why there is no layer, if that is already known."""
        return self._whole.exception() if self._whole.done() else None

    def path(self) -> Path:
        """The file, once it is whole. Raises what it failed with."""
        return self._whole.result()

    def spans(self, start: int, end: int) -> Generator[Span]:
        """The bytes from `start` to `end`, each part as soon as it is there; nobody has checked them yet.

        Raises what the layer failed with, after as many bytes as there were.
        """
        with ExitStack() as stack:
            file: BinaryIO | None = None
            while start < end:
                with self._grown:
                    while self._size <= start and not self.ended():
                        self._grown.wait()
                    there = self._size
                if there <= start:
                    self.path()
                    there = end
                file = file or stack.enter_context(self._open())
                yield Span(file, start, min(there, end) - start)
                start = min(there, end)

    def _open(self) -> BinaryIO:
        if self._temporary is not None:
            try:
                return self._temporary.open("rb")
            except FileNotFoundError:
                pass  # it has just become whole, or failed
        return self.path().open("rb")
