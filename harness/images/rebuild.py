"""Build one image in a process of its own, under conditions that should not count, and say which there were.

`verify` starts it, with what to do as one JSON argument. On stdout it answers with one JSON document.
"""

import codecs
import locale
import os
import sys
import time
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from isal import isal_zlib

import harness.images.content as content
from harness.errors import HarnessError
from harness.images.build import build, image_state
from harness.locking.imagelock import ImageLock
from harness.store.store import Store

# What a build loads when it first needs it.
_LATE_MODULES = (
    "harness.images.base", "harness.images.plan", "harness.images.readings", "harness.locking.rereading",
    "harness.store.fetch", "email.parser", "stringprep",
)  # fmt: skip
_LATE_ENCODINGS = ("ascii", "cp437", "idna", "latin-1", "unicode_escape", "utf-8-sig")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to build from where, and what a process does to itself: its cores, its user, its inflater, how it lists."""

    name: str
    root: str
    store: str
    cores: tuple[int, ...]
    user: int | None
    other_inflater: bool
    backwards: bool


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came out, and the conditions as the process saw them."""

    lock: ImageLock
    seen: dict[str, str]


def rebuild(order: Order) -> Answer:
    """Build the image that `order` names, with its digests as they come out.

    Raises:
        HarnessError: it cannot be built.
    """
    if order.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order.cores)
    if order.user is not None:
        image_state(order.name, Path(order.root))  # reads spec and locks, and so loads what that needs
        _become(order.user)
    _list_by_name(reverse=order.backwards)
    if order.other_inflater:
        content.isal_zlib = zlib  # the same interface: CPython's own, over the system's library
    seen = _seen(Path(order.root) / "lockfiles" / order.name)
    store = Store(Path(order.store))
    return Answer(lock=build(order.name, root=Path(order.root), store=store, update=True, anew=True), seen=seen)


def _become(user: int) -> None:
    """Go on as another user, who may not be able to read where Python's modules lie: those needed are loaded before."""
    for module in _LATE_MODULES:
        import_module(module)
    for encoding in _LATE_ENCODINGS:
        codecs.lookup(encoding)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def _list_by_name(*, reverse: bool) -> None:
    """Make folders give their entries by name, forwards or backwards; no file system promises either.

    The system's own order is not merely turned round: where that follows from the order in which files were made, which
    differs between the two builds, both would see the same.
    """
    listdir, scandir = os.listdir, os.scandir

    def by_name(*arguments: Any) -> list[Any]:
        return sorted(listdir(*arguments), reverse=reverse)

    class Scan:
        def __init__(self, *arguments: Any) -> None:
            with scandir(*arguments) as entries:
                self._entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=reverse))

        def __iter__(self) -> "Scan":
            return self

        def __next__(self) -> Any:
            return next(self._entries)

        def __enter__(self) -> "Scan":
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def close(self) -> None:
            self._entries = iter(())

    os.listdir, os.scandir = by_name, Scan  # type: ignore[assignment]


def _seen(folder: Path) -> dict[str, str]:
    umask = os.umask(0)
    os.umask(umask)
    try:
        language = locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        language = "C"
    inflater = content.isal_zlib
    return {
        "umask": f"{umask:04o}",
        "time zone": time.strftime("%z"),
        "locale": f"{language}, {locale.getpreferredencoding(False)}",
        "working folder": str(Path.cwd()),
        "home": str(Path.home()),
        "order of files": " ".join(os.listdir(folder)),  # noqa: PTH208 - the order that it gives
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "clock": time.strftime("%Y-%m-%d", time.gmtime()),
        "inflater": "ISA-L" if inflater is isal_zlib else f"zlib {zlib.ZLIB_RUNTIME_VERSION}",
        "hash seed": os.environ.get("PYTHONHASHSEED", "random"),
        "user": str(os.geteuid()),
    }


def main() -> int:
    """Do what the one argument says."""
    try:
        answer = rebuild(msgspec.json.decode(sys.argv[1], type=Order))
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
