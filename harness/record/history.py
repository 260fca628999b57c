"""`history.jsonl`: every verdict ever given in a results folder, one JSON line each, only ever added to."""

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from harness.record.cells import RunLabel
from harness.record.layout import HISTORY
from harness.record.results import writing
from harness.record.verdicts import CellVerdict
from harness.spec.digest import Digest


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict. `at` is when it was given (UTC, as `timestamp` writes it), `fingerprint` the cell's."""

    at: str
    run: RunLabel
    verdict: CellVerdict
    fingerprint: Digest


class History(msgspec.Struct, frozen=True):
    """What a history holds, oldest first; `problems` names the lines that cannot be read."""

    entries: tuple[HistoryEntry, ...]
    problems: tuple[str, ...]


def append_history(results: Path, entries: Sequence[HistoryEntry]) -> None:
    """Add verdicts, all or (after a crash) the first few and a part of one; processes may do so at once.

    Raises:
        PrerequisiteError: the history cannot be written: read-only, disk full.
    """
    if not entries:
        return
    with writing(results / HISTORY):
        _append(results / HISTORY, entries)


def _append(path: Path, entries: Sequence[HistoryEntry]) -> None:
    lines = b"".join(msgspec.json.encode(entry, order="sorted") + b"\n" for entry in entries)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _write_all(descriptor, (b"\n" if _is_torn(descriptor) else b"") + lines)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_history(results: Path) -> History:
    """All verdicts that can be read; a torn or damaged line is named, never fatal, and no history is an empty one.

    Raises:
        OSError: the history is there, but cannot be read.
    """
    path = results / HISTORY
    entries: list[HistoryEntry] = []
    problems: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            entries.append(msgspec.json.decode(line, type=HistoryEntry))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(f"{path}, line {number}, cannot be read: {error}")
    return History(tuple(entries), tuple(problems))


def _lines(path: Path) -> Iterable[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
