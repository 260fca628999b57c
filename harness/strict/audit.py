"""What an audited process touches beyond its declared inputs: files, clock, sockets, programs, variables.

From the interpreter's own audit events (https://docs.python.org/3/library/audit_events.html), and from wrappers for
what raises none: the clock, and reading variables. Native code raises no events: where the machine has strace and
allows it, the launcher has that watch beside this (`harness.strict.launch`). A run is audited where its output folder
holds a file `audit`, so that the program's variables are the same as in any other run. Standard library only.
"""

# What pathlib asks would be noted too, and it is the program's own to change.
# ruff: noqa: PTH100, PTH110, PTH116, PTH120

import gc
import hashlib
import os
import stat
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from harness.strict.imports import when_imported
from harness.strict.replacing import replace
from harness.strict.touched import LIMIT, Key, Recorder, wrapped

MARKER = "audit"
TRACE = "strace.log"
DECLARED = "declared"
"""The kind of those lines of the log that say which folders are a run's own."""

_LARGEST = 1 << 30
_BLOCK = 1 << 20
_RANDOM = ("/dev/random", "/dev/urandom")
_NO_FILES = ("/proc/", "/sys/", "/dev/")
_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
_NOW_UNLESS_GIVEN = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
_MAPPINGS = ("os", "collections.abc", "_collections_abc")
_DATES = {"datetime": ("now", "utcnow", "today"), "date": ("today",)}


def is_audited(output: str) -> bool:
    """Whether whoever started the run asked for an audit."""
    return os.path.exists(f"{output}/{MARKER}")


def declared_folders(environ: Mapping[str, str]) -> list[str]:
    """Folders whose content a run declares: its mounts, its output, the interpreter's libraries, its scratch folder."""
    named = [value for name, value in environ.items() if name.startswith("HARNESS_") and value.startswith("/")]
    installed = [entry for entry in sys.path if "/site-packages" in entry or "/dist-packages" in entry]
    scratch = [environ[name] for name in ("TMPDIR",) if environ.get(name, "").startswith("/")]
    standard = os.path.dirname(os.__file__)
    prefixes = [prefix for prefix in (sys.prefix, sys.base_prefix) if prefix not in ("/usr", "/usr/local", "/")]
    folders = {*named, *installed, *scratch, *prefixes, standard, environ.get("PYTHONPYCACHEPREFIX", standard)}
    return sorted({*folders, *(os.path.realpath(folder) for folder in folders)})


def watch(recorder: Recorder, environ: Mapping[str, str]) -> "Files":
    """Note everything from now on; the audit hook lasts as long as the process."""
    declared = declared_folders(environ)
    recorder.write([((DECLARED, folder, "", "", ""), 1) for folder in declared])
    files = Files(recorder, tuple(f"{folder}/" for folder in declared))
    _watch_variables(recorder)
    _watch_clock(sys.modules["time"], recorder)
    when_imported("datetime", lambda module: _watch_dates(module, recorder))
    sys.addaudithook(_Hook(recorder, files))
    return files


class Files:
    """The files that a process opened, each with its digest from the moment when it was opened first."""

    def __init__(self, recorder: Recorder, declared: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._declared = declared
        self._seen: dict[str, tuple[str, str]] = {}
        self._states: dict[str, tuple[int, ...]] = {}

    def opened(self, given: Any, flags: Any, frame: FrameType | None) -> None:
        """Note a file unless it lies in a declared folder; the system's random bits are no file."""
        if isinstance(given, int):
            return
        path = os.path.abspath(os.fsdecode(given))
        if f"{path}/".startswith(self._declared):
            return
        if path in _RANDOM:
            self._recorder.note("entropy", path, frame)
            return
        writing = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        known = self._seen.get(path)
        if known is None:
            if len(self._seen) >= LIMIT:
                known = "not looked at: there were too many before", ""
            else:
                known = self._seen[path] = ("written", "") if writing else self._read(path)
        self._recorder.note("file", printable(path), frame, *known)

    def finish(self) -> None:
        """Note which of the files that were read are no longer what they were."""
        for path, state in list(self._states.items()):
            try:
                now = _state(os.stat(path))
            except OSError:
                self._tell(path, "gone by the end")
            else:
                if now != state:
                    self._tell(path, "changed while the process ran")
        self._states.clear()

    def _tell(self, path: str, note: str) -> None:
        key: Key = ("file", printable(path), "", note, "")
        self._recorder.write([(key, 0)])

    def _read(self, path: str) -> tuple[str, str]:
        """A note and a digest, of which one is empty."""
        if path.startswith(_NO_FILES):
            return "the system's own, no file on a disk", ""
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return ("a folder that was listed" if stat.S_ISDIR(found.st_mode) else "no plain file"), ""
            if found.st_size > _LARGEST:
                return "larger than 1 GiB", ""
            digest = file_digest(path)
        except OSError as error:
            return f"cannot be read: {error.strerror}", ""
        self._states[path] = _state(found)
        return "", digest


def file_digest(path: str) -> str:
    """The digest of a file's first GiB, read apart from whatever the program does with it.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    # A pipe that took the file's place meanwhile is not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        for _ in range(_LARGEST // _BLOCK):
            block = os.read(descriptor, _BLOCK)
            if not block:
                break
            digest.update(block)
    finally:
        os.close(descriptor)
    return f"sha256:{digest.hexdigest()}"


def printable(text: str) -> str:
    """A name as text that any encoding can hold: bytes that are no UTF-8 become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Hook:
    """The audit hook. What it does itself raises events too, which it passes over."""

    def __init__(self, recorder: Recorder, files: Files) -> None:
        self._recorder = recorder
        self._files = files
        self._busy: set[int] = set()
        self._events = {
            "open": self._open,
            "os.listdir": self._listed,
            "os.scandir": self._listed,
            "ctypes.dlopen": self._loaded,
            "sqlite3.connect": self._loaded,
            "socket.connect": self._reached,
            "socket.bind": self._reached,
            "socket.sendto": self._reached,
            "socket.getaddrinfo": self._asked,
            "socket.gethostbyname": self._asked,
            "socket.gethostbyaddr": self._asked,
            "socket.gethostname": self._asked,
            "subprocess.Popen": self._started,
            "os.exec": self._started,
            "os.posix_spawn": self._started,
            "os.system": self._started,
            "os.fork": self._started,
        }
        # As the process began: what the program does to its modules later does not reach the hook.
        self._thread = sys.modules["_thread"].get_ident
        self._frame = sys._getframe

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        handle = self._events.get(event)
        if handle is None:
            return
        thread = self._thread()
        if thread in self._busy:
            return
        self._busy.add(thread)
        try:
            handle(event, arguments, self._frame(1))
        except BaseException:  # noqa: S110 - whatever goes wrong here is none of the program's business
            pass
        finally:
            self._busy.discard(thread)

    def _open(self, _: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        self._files.opened(arguments[0], arguments[2], frame)

    def _listed(self, _: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        if frame.f_globals.get("__name__") not in ("importlib._bootstrap_external", "zipimport"):
            self._files.opened("." if arguments[0] is None else arguments[0], 0, frame)

    def _loaded(self, _: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        name = arguments[0]
        if isinstance(name, str | bytes) and b"/" in os.fsencode(name):
            self._files.opened(name, 0, frame)

    def _reached(self, event: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        self._recorder.note("socket", f"{event} {_shown(arguments[1])}", frame)

    def _asked(self, event: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        self._recorder.note("socket", f"{event} {_shown(arguments[0])}" if arguments else event, frame)

    def _started(self, event: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        what = _shown(arguments[1] if len(arguments) > 1 else arguments[0]) if arguments else ""
        self._recorder.note("subprocess", f"{event} {what}".rstrip(), frame)


def _shown(value: Any) -> str:
    """A value of an event in words; of lists of arguments the text."""
    if isinstance(value, bytes):
        return printable(os.fsdecode(value))
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple | list):
        return " ".join(_shown(part) for part in value[:20])
    return str(value) if isinstance(value, int | None) else type(value).__name__


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _watch_variables(recorder: Recorder) -> None:
    """Variables that the program's own code reads; those that libraries read are too many to say anything."""
    kind = type(os.environ)
    original = kind.__getitem__

    def read(self: Any, name: str) -> str:
        if self is os.environ and isinstance(name, str):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_globals.get("__name__") in _MAPPINGS:
                frame = frame.f_back
            recorder.note("environment", printable(name), frame, library=False)
        return original(self, name)

    replace(kind, "__getitem__", read)


def _watch_clock(time: Any, recorder: Recorder) -> None:
    def noting(what: str, position: int | None) -> Any:
        def before(frame: FrameType, arguments: tuple[Any, ...], _: Mapping[str, Any]) -> None:
            if position is None or len(arguments) <= position or arguments[position] is None:
                recorder.note("clock", what, frame)

        return before

    names: dict[str, int | None] = {name: None for clock in _CLOCKS for name in (clock, f"{clock}_ns")}
    for name, position in {**names, **_NOW_UNLESS_GIVEN}.items():
        if hasattr(time, name):
            replace(time, name, wrapped(getattr(time, name), noting(f"time.{name}", position)))


def _watch_dates(datetime: Any, recorder: Recorder) -> None:
    """`datetime.now` and its like are methods of closed types: they are replaced in the types' own dictionaries."""
    for kind, names in _DATES.items():
        members = gc.get_referents(vars(getattr(datetime, kind)))[0]
        for name in names:
            if name in members:
                members[name] = classmethod(_dated(members[name], f"datetime.{kind}.{name}", recorder))


def _dated(original: Any, what: str, recorder: Recorder) -> Any:
    def now(cls: Any, *arguments: Any, **keywords: Any) -> Any:
        recorder.note("clock", what, sys._getframe(1))
        return original.__get__(None, cls)(*arguments, **keywords)

    now.__name__ = now.__qualname__ = what.rpartition(".")[2]
    return now
