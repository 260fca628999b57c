"""The attempts of a run that can be resumed: a document in its folder, and what an interrupted attempt leaves behind.

A run writes checkpoints to `work/checkpoints` in its half-made folder. Where it is interrupted, they and the document
`attempts.json` stay as `RESULTS/runs/.<run_name>.interrupted-<random>`, for a week or until they are resumed.
"""

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import HarnessError, IntegrityError, UsageError
from harness.record.checkpoint import verify_checkpoint
from harness.record.files import write_atomically
from harness.record.jsonfile import pretty_json, read_document

SCHEMA = "harness.attempts/1"
ATTEMPTS = "attempts.json"
WORK = "work"
CHECKPOINTS = "checkpoints"
REFUSED = "refused.txt"
"""The file in a run's output folder in which a process that was not strict leaves word."""
IDENTITY = "identity.txt"
"""The file among the checkpoints that tells the processes of the run what must be equal."""

KEPT_SECONDS = 7 * 24 * 3600.0
_INTERRUPTED = ".interrupted-"
_CHECKPOINT = re.compile(r"step-(\d{10,18})\.checkpoint")


class Attempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One attempt. `resumed_from` are the newest checkpoints that it began with, relative to their folder."""

    run_id: str
    run_name: str
    created_at: str
    resumed_from: tuple[str, ...] = ()


class Attempts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All attempts of a run, the last one last. `what` says what is run, `identity` what must be equal to resume it."""

    schema: str = SCHEMA
    what: str
    identity: str
    attempts: tuple[Attempt, ...]


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """What an interrupted attempt left: `size` in bytes, `changed` is when its last checkpoint was written."""

    path: Path
    attempts: Attempts
    newest: tuple[str, ...]
    size: int
    changed: float

    @property
    def name(self) -> str:
        """The name of the run that was interrupted."""
        return self.attempts.attempts[-1].run_name


def write_attempts(folder: Path, attempts: Attempts) -> None:
    """Say in a run's folder which attempt it is."""
    write_atomically(folder / ATTEMPTS, pretty_json(attempts))


def interrupted_runs(runs: Path) -> tuple[Interrupted, ...]:
    """The interrupted attempts in the folder of runs, newest first; what is damaged is passed over."""
    found = []
    for path in _left(runs):
        with contextlib.suppress(HarnessError, OSError):
            found.append(_look(path))
    return tuple(sorted(found, key=lambda one: (-one.changed, one.path.name)))


def keep_interrupted(folder: Path, runs: Path) -> Path | None:
    """Reduce a half-made run to its checkpoints, under a name of its own; None where it has none, or was not strict.

    Whatever stops it half-way leaves a folder that it can be called for again.
    """
    if (folder / WORK / REFUSED).exists():
        return None
    checkpoints = folder / CHECKPOINTS
    if not checkpoints.is_dir() and _has_checkpoints(folder / WORK / CHECKPOINTS):
        (folder / WORK / CHECKPOINTS).rename(checkpoints)
    if not _has_checkpoints(checkpoints) or not (folder / ATTEMPTS).is_file():
        return None
    for path in folder.iterdir():
        if path.name in (CHECKPOINTS, ATTEMPTS):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    kept = runs / f".{_run_name(folder)}{_INTERRUPTED}{secrets.token_hex(6)}"
    folder.rename(kept)
    return kept


def take_checkpoints(interrupted: Interrupted, work: Path) -> None:
    """Move an interrupted attempt's checkpoints into the output folder of the attempt that goes on from them.

    Raises:
        UsageError: another process has taken them meanwhile.
    """
    try:
        (interrupted.path / CHECKPOINTS).rename(work / CHECKPOINTS)
    except FileNotFoundError as error:
        raise UsageError(f"Another process has resumed {interrupted.name} meanwhile") from error
    shutil.rmtree(interrupted.path, ignore_errors=True)


def has_checkpoints(folder: Path) -> bool:
    """Whether the run in the making in `folder` has written a checkpoint."""
    return _has_checkpoints(folder / WORK / CHECKPOINTS)


def remove_interrupted(runs: Path, *, older_than: float = 0.0) -> list[tuple[Path, int]]:
    """Remove what interrupted attempts left more than so many seconds ago; each with its size in bytes."""
    removed = []
    for path in _left(runs):
        size = _size(path)
        if time.time() - _changed(path) >= older_than:
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                removed.append((path, size))
    return removed


def remove_checkpoints_from(folder: Path, step: int) -> int:
    """Remove every checkpoint of `step` or later below `folder`; how many there were."""
    paths = [path for path in folder.rglob("step-*.checkpoint") if (_step(path) or -1) >= step]
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def newest_checkpoints(folder: Path, *, before: int | None = None) -> tuple[str, ...]:
    """The newest checkpoint of each training below `folder`, relative to it, sorted; `before` as if removed from there.

    A fit that has ended is kept as step 0, which going back never removes.
    """
    left = (path for path in _checkpoints(folder) if before is None or (_step(path) or -1) < before)
    newest = {path.parent: path for path in sorted(left, key=lambda one: _step(one) or 0)}
    return tuple(sorted(path.relative_to(folder).as_posix() for path in newest.values()))


def verify_newest(folder: Path, *, before: int | None = None) -> None:
    """Check the checkpoints that the next attempt would begin with; nothing is changed.

    Raises:
        IntegrityError: one is damaged; going back before it is offered where an intact one is there.
        HarnessError: as `verify_checkpoint`.
    """
    for name in newest_checkpoints(folder, before=before):
        path = folder / name
        try:
            verify_checkpoint(path)
        except IntegrityError as error:
            raise IntegrityError(error.message, hint=_offer(path)) from error


def _offer(broken: Path) -> str:
    """What to do where the newest of a training is damaged: the newest earlier one that can be gone on from."""
    at = _step(broken) or 0
    earlier = [path for path in _checkpoints(broken.parent) if path.parent == broken.parent and (_step(path) or 0) < at]
    for path in sorted(earlier, key=lambda one: _step(one) or 0, reverse=True):
        with contextlib.suppress(HarnessError):
            verify_checkpoint(path)
            return f"Add --resume-before {at} to go on from step {_step(path)}."
    return "There is no intact checkpoint before it: leave --resume out to start anew."


def _look(path: Path) -> Interrupted:
    return Interrupted(
        path=path,
        attempts=read_document(path / ATTEMPTS, Attempts, SCHEMA),
        newest=newest_checkpoints(path / CHECKPOINTS),
        size=_size(path),
        changed=_changed(path),
    )


def _left(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    found = (path for path in runs.iterdir() if path.name.startswith(".") and _INTERRUPTED in path.name)
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _has_checkpoints(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and any(True for _ in _checkpoints(folder))


def _checkpoints(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("step-*.checkpoint") if _step(path) is not None)


def _step(path: Path) -> int | None:
    match = _CHECKPOINT.fullmatch(path.name)
    return None if match is None else int(match[1])


def _run_name(folder: Path) -> str:
    """The run's name in that of its half-made folder."""
    return folder.name.removeprefix(".").rpartition(".partial-")[0] or "run"


def _size(folder: Path) -> int:
    size = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                size += Path(parent, name).lstat().st_size
    return size


def _changed(folder: Path) -> float:
    times = [path.lstat().st_mtime for path in _checkpoints(folder)]
    return max(times, default=folder.lstat().st_mtime)
