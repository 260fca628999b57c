"""Checkpoints of a training: one file each, written whole or not at all, checked by digest, read without running code.

A file is one line of text, `harness.checkpoint/1 sha256:<64 hex digits> <20 digits>`, with the digest and the length of
all that follows it; then the length of a JSON tree (8 bytes, little-endian), the tree, and the raw bytes of all arrays,
each from a multiple of 64 bytes on. Nothing is compressed, so no declared size can be larger than the file.

Standard library only at import; NumPy and torch are needed for states that hold their arrays.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import HarnessError, IncomparableError, IntegrityError, PrerequisiteError, UsageError
from harness.record.checkpoint import HEAD_LENGTH, SCHEMA, read_body, unreadable
from harness.record.files import sync_folder
from harness.strict.state_tree import Arrays, BrokenTreeError, Tree, decode, encode

_NAME = re.compile(r"step-(\d{10,18})\.checkpoint")
_TEMPORARY = ".step-"
_LAST_STEP = 10**18 - 1


class Checkpoint(NamedTuple):
    """A checkpoint as it was read: after how many steps it was written, the state, and its file."""

    step: int
    state: dict[str, Any]
    path: Path


class Checkpoints:
    """The checkpoints of one training in a folder, which is made when the first is saved.

    `identity` says what must be equal for a training to go on (code, data, task, seed, environment), one fact a line
    as a rule; what another identity wrote is refused. The newest `keep` checkpoints are kept.

    A state may hold None, bool, int of any size, float, str, bytes, list, tuple, dict (also OrderedDict and Counter),
    NumPy arrays and scalars, and torch tensors; all come back with their type, bits and order of axes in memory. A
    tensor is saved by value: one that requires gradients comes back without, two that share memory as two, one on a
    GPU on the CPU unless `load` is asked otherwise.
    """

    def __init__(self, folder: Path, *, identity: str, keep: int = 2) -> None:
        """Nothing is read or written yet.

        Raises:
            UsageError: fewer than two would be kept: a corrupt one could then not be made good.
        """
        if keep < 2:
            raise UsageError(f"{keep} checkpoints are to be kept", hint="Keep 2 or more: one may turn out damaged.")
        self.folder = Path(folder)
        self.identity = identity
        self.keep = keep

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the state after `step` steps, then remove all but the newest `keep`; returns the file.

        The file gets its name once it is on the disk: who is killed before then leaves the earlier ones as they were.

        Raises:
            UsageError: the state holds what no checkpoint can, the step is out of range, or there is a later one.
            PrerequisiteError: the folder cannot be written, or the disk is full; nothing is left behind.
        """
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= _LAST_STEP:
            raise UsageError(f"{step!r} is no step of a training", hint="A step is a whole number from 0.")
        path = self.folder / f"step-{step:010d}.checkpoint"
        arrays = Arrays()
        tree = encode(dict(state), arrays)
        with _writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder) as alone:
                self._refuse_later(step)
                if alone:
                    _remove_temporaries(self.folder)
                self._write(path, step, tree, arrays)
                for old in self.paths()[: -self.keep]:
                    old.unlink(missing_ok=True)
        return path

    def load(self, *, before: int | None = None, on_saved_devices: bool = False) -> Checkpoint | None:
        """The newest checkpoint; None where there is none.

        With `before`, checkpoints from that step on are removed first: the way to go on where the newest is damaged.
        Tensors come back on the CPU, or with `on_saved_devices` on the device that they were on.

        Raises:
            IntegrityError: the newest is truncated or otherwise not what was written; the one before it is offered.
            IncomparableError: it was written by a training with another identity.
            PrerequisiteError: the folder or the file cannot be read.
        """
        paths = self.paths()
        if before is not None:
            for path in [path for path in paths if step_of(path) >= before]:
                with _writing(path):
                    path.unlink(missing_ok=True)
                paths.remove(path)
        if not paths:
            return None
        try:
            return self._read(paths[-1], on_saved_devices=on_saved_devices)
        except IntegrityError as error:
            raise IntegrityError(error.message, hint=self._offer(paths)) from error

    def paths(self) -> list[Path]:
        """The files of the folder that are checkpoints by name, oldest first.

        Raises:
            PrerequisiteError: the folder cannot be read.
        """
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(self.folder, error) from error
        found = [name for name in names if (match := _NAME.fullmatch(name)) and f"{int(match[1]):010d}" == match[1]]
        return sorted((self.folder / name for name in found), key=step_of)

    def _refuse_later(self, step: int) -> None:
        paths = self.paths()
        if paths and step_of(paths[-1]) > step:
            raise UsageError(
                f"{self.folder} holds a checkpoint of step {step_of(paths[-1])}, later than step {step}",
                hint="Load it and go on from there, or choose another folder: another process may be at work in this.",
            )

    def _write(self, path: Path, step: int, tree: Tree, arrays: Arrays) -> None:
        head = {"step": step, "identity": self.identity, "arrays": arrays.table, "state": tree}
        text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode("ascii")
        descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b" " * HEAD_LENGTH)
                digest, length = hashlib.sha256(), 0
                for piece in (len(text).to_bytes(8, "little"), text, *arrays.pieces(8 + len(text))):
                    file.write(piece)
                    digest.update(piece)
                    length += memoryview(piece).nbytes
                file.seek(0)
                file.write(f"{SCHEMA} sha256:{digest.hexdigest()} {length:020d}\n".encode())
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(self.folder)

    def _read(self, path: Path, *, on_saved_devices: bool = False) -> Checkpoint:
        body = read_body(path)
        try:
            size = int.from_bytes(body[:8], "little")
            head = json.loads(bytes(body[8 : 8 + size]), object_pairs_hook=_object, parse_constant=_refuse_constant)
            step, identity, table, tree = (head[key] for key in ("step", "identity", "arrays", "state"))
            if len(body) < 8 + size or type(step) is not int or type(identity) is not str:
                raise BrokenTreeError("its tree is not whole")
            if identity != self.identity:
                raise IncomparableError(
                    f"{path} belongs to another training: {_first_difference(identity, self.identity)}",
                    hint="Go on with what it was made with, or start anew in another folder.",
                )
            arrays = Arrays.read(table, body, 8 + size)
            state = decode(tree, arrays, on_saved_devices=on_saved_devices)
        except (ValueError, TypeError, KeyError, LookupError, RecursionError, OverflowError) as error:
            raise IntegrityError(f"{path} is damaged: what it holds is no state ({_reason(error)})") from error
        if step != step_of(path):
            raise IntegrityError(f"{path} was renamed: it holds step {step}")
        if type(state) is not dict:
            raise IntegrityError(f"{path} is damaged: what it holds is no state")
        return Checkpoint(step, state, path)

    def _offer(self, paths: list[Path]) -> str:
        """What to do where the newest is damaged: the newest earlier one that can be gone on from."""
        broken = paths[-1]
        for path in reversed(paths[:-1]):
            with contextlib.suppress(HarnessError):
                step = self._read(path).step
                return (
                    f"Remove it to go on from step {step}, or say before={step_of(broken)} "
                    f"(`--resume-before {step_of(broken)}` on the command line)."
                )
        return f"There is no intact checkpoint before it: remove {broken.parent} to start anew."


def step_of(path: Path) -> int:
    """The step in a checkpoint's file name.

    Raises:
        UsageError: the file is not named like a checkpoint.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise UsageError(f"{path} is not named like a checkpoint", hint="Its name is step-<10 digits>.checkpoint.")
    return int(match[1])


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Save alone: another process waits. False where the file system knows no locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _remove_temporaries(folder: Path) -> None:
    """Remove what killed processes had begun to write: who holds the folder's lock is the only one who writes."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "Free some space, or make the folder writable; earlier checkpoints are as they were."
        raise PrerequisiteError(f"The checkpoint {path} cannot be written: {reason}", hint=hint) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise BrokenTreeError("a key is there twice")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise BrokenTreeError(f"{name} is no JSON")


def _reason(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def _first_difference(theirs: str, ours: str) -> str:
    """The first line that differs between two identities, theirs and ours."""
    one, other = theirs.splitlines(), ours.splitlines()
    for number in range(max(len(one), len(other))):
        there, here = (lines[number] if number < len(lines) else "nothing" for lines in (one, other))
        if there != here:
            return f"it says {there[:200]!r}, and here it is {here[:200]!r}"
    return "its identity ends otherwise"
