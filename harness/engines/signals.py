"""SIGTERM during a run: it ends the way Ctrl-C does, through every `finally`."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_WATCHED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def terminable() -> Iterator[None]:
    """For the time of a `with` block SIGTERM raises `SystemExit(143)`.

    Only in the main thread, and only where nobody else handles SIGTERM (then the other's way is kept).
    """
    if not _in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """For the time of a short `with` block that must not stop half-way, SIGINT and SIGTERM wait for its end."""
    if not _in_main_thread():
        yield
        return
    waiting: list[int] = []
    # Not a signal mask: the kernel would hand the signal to another thread, and Python handles it in this one anyway.
    before = {watched: signal.signal(watched, lambda number, _: waiting.append(number)) for watched in _WATCHED}
    try:
        yield
    finally:
        for watched, handler in before.items():
            signal.signal(watched, handler)
        for number in dict.fromkeys(waiting):
            signal.raise_signal(number)


def _exit(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a handler's signature
    raise SystemExit(128 + number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
