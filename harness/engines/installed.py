"""Whether the wheels that are installed somewhere are still, file for file, what their own lists say."""

import base64
import csv
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import IntegrityError

_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})
_BATCH = 64
_READ = 1 << 18


def check_installed(folder: Path) -> None:
    """Read every file that a RECORD names in the virtual environment `folder`, and hold it to its hash.

    A gigabyte in twenty thousand files takes about 1.5 s of a core, and every core that may be used takes part.
    Bytecode and whatever else no RECORD names is not looked at; of the lists themselves a run reports the digests.

    Raises:
        IntegrityError: a file is another or gone, or a RECORD cannot be read.
    """
    hint = f"Remove {folder}: it is made anew, each wheel checked by its hash. And find out who wrote there."
    named: dict[str, set[str]] = {}  # the same path twice, where two wheels bring the same file
    for record in sorted(folder.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        try:
            for path, stated in _rows(record):
                named.setdefault(path, set()).add(stated)
        except (OSError, ValueError, csv.Error) as error:
            raise IntegrityError(f"{record} cannot be read: {error}", hint=hint) from error
    items = sorted(named.items())
    batches = [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        different = [problem for found in pool.map(_problems, batches) for problem in found]
    if different:
        more = f" ({len(different) - 1} more files are not as they were)" if len(different) > 1 else ""
        raise IntegrityError(f"The host environment was altered: {different[0]}{more}", hint=hint)


def _rows(record: Path) -> Iterator[tuple[str, str]]:
    """Path and hash of each file that has one; the list itself has none."""
    site = record.parents[1]
    for row in csv.reader(record.read_text(encoding="utf-8").splitlines()):
        if len(row) != 3:
            raise ValueError(f"a row of {len(row)} fields, not 3")
        path, stated, _ = row
        if stated:
            if stated.partition("=")[0] not in _ALGORITHMS:
                raise ValueError(f"{path} has the hash {stated[:20]!a}, which is of no known kind")
            yield os.path.normpath(site / path), stated


def _problems(batch: list[tuple[str, set[str]]]) -> list[str]:
    return [problem for path, stated in batch if (problem := _problem(path, stated)) is not None]


def _problem(path: str, stated: set[str]) -> str | None:
    """What is wrong with a file, in a few words; null where it is one of those that were stated."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - twenty thousand times, as what follows
            return f"{path} is not there"
        for algorithm in {item.partition("=")[0] for item in stated}:
            digest = base64.urlsafe_b64encode(_digest(path, algorithm)).rstrip(b"=").decode()
            if f"{algorithm}={digest}" in stated:
                return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    return f"{path} is not the file that its wheel's RECORD lists"


def _digest(path: str, algorithm: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        start = file.read(_READ)
        if len(start) < _READ:
            return hashlib.new(algorithm, start).digest()
        file.seek(0)
        return hashlib.file_digest(file, algorithm).digest()
