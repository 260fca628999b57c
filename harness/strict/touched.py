"""What a user's program asks the system for: random bits and threads always, everything else where a run is audited.

Each process appends lines to `$HARNESS_OUTPUT/touched.log`: one when it first touches something at some place, so that
a process that is killed has told it too, and one with how often when it ends. `harness.runs.touched` makes the run's
`touched.json` of them, outside. Nothing here changes what the program gets: an exception while noting is dropped, no
descriptor stays open, and what a process keeps in memory is bounded. Standard library only, and nothing is imported
once the program has begun, so that what the program finds imported stays the same.
"""

# pathlib would slow every process down, and is the program's own to change.
# ruff: noqa: PTH100, PTH109, PTH120

import _codecs
import os
import sys
from types import FrameType
from typing import Any

from harness.strict.imports import when_imported
from harness.strict.replacing import replace

LOG = "touched.log"
LIMIT = 5000
"""How many different things a process notes of one kind; the others are counted together, under the name `…`."""

_LONGEST = 4096
_DEEPEST = 200
_OTHERS = "…"
_CODE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_STANDARD = os.path.dirname(os.__file__)
_INSTALLED = ("/site-packages/", "/dist-packages/")
_ASKS_FOR_BITS = frozenset({"random", "secrets", "uuid"})
# The program itself where it was given with -c; otherwise text that a library runs.
_TYPED = "<string>" if "-c" in sys.orig_argv[:8] else "<stdin>"
# What these draw names and keys from reaches no result; NumPy draws at its import, before it is seeded.
_HARMLESS = ("tempfile", "multiprocessing.process", "numpy.random")

Key = tuple[str, str, str, str, str]
"""Kind, what, where (`file:line` of the program's own, or nothing), a note, a digest."""


class Recorder:
    """Counts what this process touches, and tells it."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._folder = os.getcwd()
        self._counts: dict[Key, int] = {}
        self._kinds: dict[str, int] = {}
        self._own: dict[str, bool] = {}
        self._pid = os.getpid()
        self.paused = 0

    def note(
        self, kind: str, what: str, frame: FrameType | None, note: str = "", digest: str = "", *, library: bool = True
    ) -> None:
        """Count one touch; `frame` is that of whoever asked. Without `library` only the program's own code counts."""
        if self.paused:
            return
        try:
            caller, place = self.place(frame)
            if caller and not library:
                return
            key = (kind, what, place, note or (f"from {caller}" if caller else ""), digest)
            if self._pid != os.getpid():
                self.forget()
            known = self._counts.get(key)
            if known is None:
                if self._kinds.get(kind, 0) >= LIMIT:
                    key = (kind, _OTHERS, "", "", "")
                    known = self._counts.get(key)
                else:
                    self._kinds[kind] = self._kinds.get(kind, 0) + 1
            if known is None:
                self._counts[key] = 0
                self.write([(key, 1)])
            else:
                self._counts[key] = known + 1
        except Exception:  # noqa: S110 - whatever goes wrong here is none of the program's business
            pass

    def forget(self) -> None:
        """Begin anew, as a forked child does: what was counted so far is its parent's to tell."""
        self._counts, self._kinds, self._pid = {}, {}, os.getpid()

    def close(self) -> None:
        """Tell the rest; what this process touches from now on is not the program's doing."""
        self.flush()
        self.paused += 1

    def flush(self) -> None:
        """Tell how often each thing was touched since it was told first."""
        if self._pid != os.getpid():
            self.forget()
        counts = [(key, count) for key, count in list(self._counts.items()) if count]
        for key, _ in counts:
            self._counts[key] = 0
        self.write(counts)

    def write(self, lines: list[tuple[Key, int]]) -> None:
        """Append lines to the log, each whole: fields apart by tabs, anything but ASCII escaped."""
        data = b"".join(
            b"\t".join([*(_escaped(field) for field in key), str(count).encode()]) + b"\n" for key, count in lines
        )
        if not data:
            return
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:  # no descriptor left, or the folder is gone: the outside says what is missing, not the program
            return
        try:
            os.write(log, data)
        except OSError:
            pass
        finally:
            os.close(log)

    def place(self, frame: FrameType | None) -> tuple[str, str]:
        """The library that asked (nothing if the program's own code did), and the nearest line of the program's own."""
        caller = ""
        first = True
        for _ in range(_DEEPEST):
            if frame is None:
                break
            name = frame.f_code.co_filename
            if self._is_own(name):
                return caller, f"{self._absolute(name)}:{frame.f_lineno}"
            if first and not name.startswith(_CODE):
                module = frame.f_globals.get("__name__")
                caller = module if isinstance(module, str) else "?"
                first = False
            frame = frame.f_back
        return caller, ""

    def _is_own(self, name: str) -> bool:
        own = self._own.get(name)
        if own is None:
            own = name == _TYPED or not (
                name.startswith(("<", _STANDARD, _CODE)) or any(part in name for part in _INSTALLED)
            )
            if len(self._own) < LIMIT:
                self._own[name] = own
        return own

    def _absolute(self, name: str) -> str:
        return name if name.startswith(("/", "<")) else f"{self._folder}/{name}"


def watch(output: str) -> Recorder:
    """Note random bits and threads from now on, in this process and those that it forks."""
    recorder = Recorder(f"{output}/{LOG}")
    _watch_random_bits(recorder)
    when_imported("threading", lambda module: _watch_threads(module, recorder))
    when_imported("uuid", lambda module: _watch_uuid(module, recorder))
    _flush_before_exit(recorder)
    return recorder


def wrapped(original: Any, before: Any) -> Any:
    """A function that calls `before(frame of the caller, arguments, keywords)` and then `original`."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        before(sys._getframe(1), arguments, keywords)
        return original(*arguments, **keywords)

    call.__doc__ = original.__doc__
    call.__wrapped__ = original  # type: ignore[attr-defined]
    return call


def _watch_random_bits(recorder: Recorder) -> None:
    import random

    def asked(name: str) -> Any:
        def before(frame: FrameType, *_: Any) -> None:
            what, caller = _named(name, frame)
            module = "" if caller is None else str(caller.f_globals.get("__name__", ""))
            if not module.startswith(_HARMLESS) and "importlib" not in module:
                recorder.note("entropy", what, caller)

        return before

    for name in ("urandom", "getrandom"):
        replace(os, name, wrapped(getattr(os, name), asked(f"os.{name}")))
    random._urandom = os.urandom  # type: ignore[attr-defined]


def _named(what: str, frame: FrameType | None) -> tuple[str, FrameType | None]:
    """By which function of the standard library random bits were asked for (`uuid.uuid4`), and who called that."""
    while frame is not None and frame.f_globals.get("__name__") in _ASKS_FOR_BITS:
        module = frame.f_globals["__name__"]
        what = f"{'random.SystemRandom' if module == 'random' else module}.{frame.f_code.co_name}"
        frame = frame.f_back
    return what, frame


def _watch_uuid(module: Any, recorder: Recorder) -> None:
    """`uuid1` is made of clock and hardware address, and `getnode` is that address: neither asks for random bits."""
    for name in ("uuid1", "getnode"):
        what = f"uuid.{name}"
        before = _noting(recorder, "entropy", what)
        replace(module, name, wrapped(getattr(module, name), before))


def _watch_threads(module: Any, recorder: Recorder) -> None:
    start = wrapped(module.Thread.start, _noting(recorder, "thread", "threading.Thread.start"))
    replace(module.Thread, "start", start)


def _noting(recorder: Recorder, kind: str, what: str) -> Any:
    def before(frame: FrameType, *_: Any) -> None:
        recorder.note(kind, what, frame)

    return before


def _flush_before_exit(recorder: Recorder) -> None:
    """Forked workers end by `os._exit`, where nothing else that was registered is called."""
    replace(os, "_exit", wrapped(os._exit, lambda *_: recorder.flush()))
    os.register_at_fork(after_in_child=recorder.forget)


def _escaped(text: str) -> bytes:
    return _codecs.unicode_escape_encode(text[:_LONGEST])[0]
