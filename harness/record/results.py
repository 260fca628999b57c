"""Publishing a run: its folder is made under a temporary name and renamed once it is complete."""

import contextlib
import difflib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import HarnessError, PrerequisiteError, UsageError
from harness.record.attempts import keep_interrupted
from harness.record.files import sync_folder, write_atomically
from harness.record.layout import MANIFEST, run_folder, runs_folder

_PARTIAL = ".partial-"
_ABANDONED_AFTER = 7 * 24 * 3600.0


class RunFolder:
    """A run in the making: `RESULTS/runs/.<run_name>.partial-<random>`, which becomes `RESULTS/runs/<run_name>`.

    A context manager: leaving the block without `publish()` removes the folder with all that is in it but checkpoints
    (`record.attempts`); `kept` is then where these are. While the process lives it holds a lock on the folder, so that
    what a killed one left can be told from what is in use.
    """

    def __init__(self, path: Path, final: Path, lock: int) -> None:
        self.path = path
        self.final = final
        self.kept: Path | None = None
        self._lock: int | None = lock

    @classmethod
    def create(cls, results: Path, run_name: str) -> Self:
        """A new, empty folder for the run of that name; makes `results` itself if its parent is there.

        Raises:
            UsageError: the name is unsafe, taken by a run, or another process is making a run of that name.
            PrerequisiteError: the folder cannot be made: no parent, read-only, disk full.
        """
        final = run_folder(results, run_name)
        _make_results(results)
        _refuse_taken(final)
        if any(_is_locked(other) for other in _partials(results, run_name)):
            raise UsageError(
                f"Another process is making the run {run_name}", hint="Wait for it, or choose another name."
            )
        while True:
            path = final.with_name(f".{run_name}{_PARTIAL}{secrets.token_hex(6)}")
            with writing(path):
                path.mkdir()
            if (lock := _lock(path)) is not None:
                return cls(path, final, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, relative: str | Path, data: bytes) -> Path:
        """Write a file of the run, with the folders above it; returns its path.

        Raises:
            UsageError: the path leads out of the run, by itself or through a link that was put there.
            PrerequisiteError: it cannot be written: read-only, disk full.
        """
        path = self.path / relative
        if ".." in Path(relative).parts or not path.is_relative_to(self.path) or path == self.path:
            raise UsageError(f"{str(relative)!r} is no path inside a run")
        if any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(self.path)):
            raise UsageError(f"{path} leads through a link, out of the run")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        return path

    def publish(self) -> Path:
        """Write everything through to the disk and give the run its name; returns the run's folder.

        Raises:
            UsageError: it has no manifest, or the name was taken meanwhile; the folder is then still there.
            PrerequisiteError: the disk is full or the folder cannot be written.
        """
        if not (self.path / MANIFEST).is_file():
            raise UsageError(f"{self.path} has no {MANIFEST}: it is not complete")
        with writing(self.path):
            _sync_tree(self.path)
        _refuse_taken(self.final)
        try:
            self.path.rename(self.final)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise _taken(self.final) from error
            raise refusal(error, self.final) from error
        sync_folder(self.final.parent)
        self._release()
        return self.final

    def discard(self) -> None:
        """Remove the folder, unless it was published, and keep its checkpoints; safe to call twice."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self.kept = keep_interrupted(self.path, self.final.parent)
            shutil.rmtree(self.path, ignore_errors=True)
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def locate_run(run: str, results: Path) -> Path:
    """The folder of a complete run that is given by its path, or by its name under `results`.

    Raises:
        UsageError: there is none.
    """
    # A text that is too long for a path is no path.
    with contextlib.suppress(OSError):
        for folder in (Path(run), runs_folder(results) / run):
            if (folder / MANIFEST).is_file():
                return folder
        if run and Path(run).is_dir():
            raise UsageError(f"{run} is not a complete run: it has no {MANIFEST}", hint="Give a folder under runs/.")
    names = _run_names(results)
    close = difflib.get_close_matches(run, names, n=3) or names[-3:]
    hint = f"There is {', '.join(close)}." if close else "Make one: harness run."
    raise UsageError(f"There is no run {run[:100]!r}, neither as a folder nor in {runs_folder(results)}", hint=hint)


def _run_names(results: Path) -> list[str]:
    try:
        return sorted(path.parent.name for path in runs_folder(results).glob(f"[!.]*/{MANIFEST}"))
    except OSError:
        return []


def leftovers(results: Path) -> tuple[Path, ...]:
    """Half-made runs that no process works on any more, sorted."""
    return tuple(path for path in _partials(results) if not _is_locked(path))


def remove_leftovers(results: Path) -> tuple[Path, ...]:
    """Remove what killed runs left behind but checkpoints, and nothing that is in use; returns what was removed.

    Checkpoints go where those of other interrupted attempts are (`record.attempts`).
    """
    removed = []
    for path in _partials(results):
        lock = _try_lock(path)
        if lock is None:
            continue
        try:
            with contextlib.suppress(OSError):
                keep_interrupted(path, runs_folder(results))
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
        if not path.exists():
            removed.append(path)
    return tuple(removed)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an error that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        raise refusal(error, path) from error


def refusal(error: OSError, path: Path) -> HarnessError:
    """What a failed write into the results means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PrerequisiteError(f"The disk is full: {path} cannot be written", hint="Free some space, then run again.")
    reason = (error.strerror or str(error)).lower()
    hint = "Choose a folder that you may write with --output-dir."
    return PrerequisiteError(f"{path} cannot be written: {reason}", hint=hint)


def _make_results(results: Path) -> None:
    if not results.parent.is_dir():
        hint = "Create it, or choose another folder with --output-dir."
        raise PrerequisiteError(f"The folder {results.parent} for the results does not exist", hint=hint)
    with writing(results):
        results.mkdir(exist_ok=True)
        runs_folder(results).mkdir(exist_ok=True)


def _refuse_taken(final: Path) -> None:
    if os.path.lexists(final):
        raise _taken(final)


def _taken(final: Path) -> UsageError:
    return UsageError(
        f"There is a run {final.name} already, in {final.parent}", hint="Choose another name for the run."
    )


def _partials(results: Path, run_name: str | None = None) -> tuple[Path, ...]:
    runs = runs_folder(results)
    if not runs.is_dir():
        return ()
    found = (path for path in runs.iterdir() if path.name.startswith(".") and path.is_dir() and not path.is_symlink())
    names = ((path, path.name[1:].rpartition(_PARTIAL)) for path in found)
    return tuple(sorted(path for path, (name, mark, _) in names if mark and run_name in (None, name)))


def _lock(path: Path) -> int | None:
    """An open, locked descriptor of a folder just made; nothing where a cleaner took it first."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        # Some network file systems cannot lock a folder: then its age alone says that it is abandoned.
        return descriptor
    if path.is_dir() and os.path.samestat(os.fstat(descriptor), path.stat()):
        return descriptor
    os.close(descriptor)
    return None


def _try_lock(path: Path) -> int | None:
    """An open, locked descriptor of a folder that nobody works on; nothing where somebody may."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
            return descriptor
    else:
        return descriptor
    os.close(descriptor)
    return None


def _is_locked(path: Path) -> bool:
    lock = _try_lock(path)
    if lock is None:
        return path.exists()
    os.close(lock)
    return False


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            descriptor = os.open(Path(parent) / name, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(parent))
