"""Prove that an image is a function of its inputs: build it twice under conditions that should not count, and compare.

Each build is a process of its own, with a store of its own in which there are artifacts and nothing else.
"""

import glob
import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

import harness
from harness.errors import ToolError
from harness.images.build import artifact_reader, base_layers, image_inputs, open_image
from harness.images.difference import first_difference
from harness.images.rebuild import Answer, Order
from harness.locking.imagelock import ImageLock
from harness.locking.imagespec import spec_path
from harness.spec.digest import Digest
from harness.store.process import run
from harness.store.progress import SILENT, Progress
from harness.store.store import Store

_NOBODY = 65534
_DATE = "2001-02-03 04:05:06"
_CLOCKS = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1",
           "/usr/local/lib/faketime/libfaketimeMT.so.1")  # fmt: skip
_BUILDER = (sys.executable, "-m", "harness.images.rebuild")


class Condition(msgspec.Struct, frozen=True):
    """Something that should not count, as the two builds saw it. If both saw the same, `why` says what was missing."""

    name: str
    first: str
    second: str
    why: str = ""

    @property
    def in_effect(self) -> bool:
        """Whether the two builds saw different things."""
        return self.first != self.second


class Finding(msgspec.Struct, frozen=True):
    """The first difference: between which two, in which layer, at which member, in which field."""

    between: str
    layer: str
    member: str
    field: str
    problem: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What two builds came to. `expected` is the digest in `image.lock`."""

    image: str
    expected: Digest
    first: Digest
    second: Digest
    conditions: tuple[Condition, ...]
    finding: Finding | None

    @property
    def holds(self) -> bool:
        """Whether both builds came to the locked image."""
        return self.first == self.second == self.expected

    @property
    def untried(self) -> tuple[Condition, ...]:
        """The conditions that this machine could not make different."""
        return tuple(condition for condition in self.conditions if not condition.in_effect)


def verify(
    name: str, *, root: Path, store: Store, progress: Progress = SILENT, builder: Sequence[str] = _BUILDER
) -> Proof:
    """Build the image `name` twice, under conditions as different as this machine allows, and compare digests.

    What the store lacks is fetched first; nothing in it is changed. `builder` is the program that builds, which gets
    one argument (an `Order`).

    Raises:
        UsageError, OutdatedLockError, IntegrityError: as for `open_image`.
        ToolError: a build failed under its conditions.
    """
    _, lock = image_inputs(name, root)
    _provide(name, root, store, progress)
    with _workspace(store) as work, progress.task("builds", total=2) as task:
        plain = _Builder(work / "first", lock, root, store, second=False)
        other = _Builder(work / "second", lock, root, store, second=True)
        answers = []
        for number, one in enumerate((plain, other), 1):
            progress.note(f"Build {number} of 2 of {name}, from its artifacts")
            answers.append(one.build(builder))
            task.advance()
        conditions = tuple(
            Condition(what, seen, answers[1].seen[what], "" if seen != answers[1].seen[what] else other.why(what))
            for what, seen in answers[0].seen.items()
        )
        return Proof(
            image=name,
            expected=lock.manifest,
            first=answers[0].lock.manifest,
            second=answers[1].lock.manifest,
            conditions=conditions,
            finding=_compare(lock, answers, (plain.store, other.store), store),
        )


class _Builder:
    """One of the two builds: its folders, its variables, its user."""

    def __init__(self, folder: Path, lock: ImageLock, root: Path, store: Store, *, second: bool) -> None:
        self._second = second
        self._name = lock.name
        self._reasons: dict[str, str] = {}
        self._folder = folder
        self._root = folder / "checkout"
        self.home = folder / ("a home with spaces" if second else "home")
        for path in (self.home, self._root / "docker", self._root / "lockfiles" / lock.name, self._root / "below"):
            path.mkdir(parents=True)
        files = [spec_path(root, lock.name), *(root / "lockfiles" / lock.name / name for name in _LOCKS)]
        for path in files[:: -1 if second else 1]:
            shutil.copyfile(path, self._root / path.relative_to(root))
        inputs, _ = image_inputs(lock.name, root)
        digests = [*(file.digest for file in inputs.debian.packages), *(file.digest for file in inputs.python.wheels)]
        digests += [layer.digest for layer in base_layers(lock)]
        self.store = Store(folder / "store")
        place = _copy if second and self._user() is not None else _link  # a store's objects are one user's own
        for digest in digests[:: -1 if second else 1]:
            place(store.path(digest), self.store.path(digest))
        if lock.base is not msgspec.UNSET and inputs.spec.base is not None:
            _bring_base(inputs.spec.base, root, self._root)

    def build(self, builder: Sequence[str]) -> Answer:
        """Build, and say what came out.

        Raises:
            ToolError: the build failed.
        """
        user = self._user() if self._second else None
        if user is not None:
            _give(self._folder, user)
        order = Order(
            name=self._name,
            root=str(self._root),
            store=str(self.store.home),
            cores=self._cores(),
            user=user,
            other_inflater=self._second,
            backwards=self._second,
        )
        done = run(
            [*builder, msgspec.json.encode(order).decode()],
            cwd=self._root / "below" if self._second else self._root,
            environment=self._variables(),
            umask=0o077 if self._second else 0o022,
            check=False,
        )
        if done.returncode != 0:
            tail = done.stderr.decode(errors="replace").strip()[-2000:]
            raise ToolError(f"The {'second' if self._second else 'first'} build of {self._name} failed: {tail}")
        return msgspec.json.decode(done.stdout, type=Answer)

    def why(self, condition: str) -> str:
        """Why a condition was the same in both builds."""
        return self._reasons.get(condition, "this machine gives both builds the same")

    def _user(self) -> int | None:
        """Another user to build as, if this one may."""
        if os.geteuid() == 0:
            return _NOBODY
        self._reasons["user"] = "only root may build as another user"
        return None

    def _cores(self) -> tuple[int, ...]:
        if not hasattr(os, "sched_getaffinity"):
            self._reasons["cores"] = "this system does not bind processes to cores"
            return ()
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 1:
            self._reasons["cores"] = "there is one core"
        return tuple(cores if self._second else cores[:1])

    def _variables(self) -> dict[str, str]:
        """The whole environment of the build: nothing of the caller's but where programs are."""
        variables = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "PYTHONPATH": str(Path(harness.__file__).resolve().parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if not self._second:
            ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
            return {**variables, **ascii_only, "TZ": "EAST-14", "PYTHONHASHSEED": "1"}
        variables |= {"TZ": "WEST+9:30", "LC_ALL": _another_locale(), "PYTHONHASHSEED": "2"}
        clock = next((path for pattern in _CLOCKS for path in sorted(glob.glob(pattern))), None)  # noqa: PTH207 - absolute
        if clock is None:
            self._reasons["clock"] = "libfaketime is not installed (Debian: apt-get install libfaketime)"
            return variables
        return {**variables, "LD_PRELOAD": clock, "FAKETIME": f"@{_DATE}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


_LOCKS = ("debian.lock", "python.txt")


def _provide(name: str, root: Path, store: Store, progress: Progress) -> None:
    """Have every artifact, and a base's layers, in the store."""
    inputs, lock = image_inputs(name, root)
    artifact_reader(inputs, store, progress)
    with open_image(name, root=root, store=store, progress=progress) as image:
        for layer in base_layers(lock):
            image.blob(layer.digest)


@contextmanager
def _workspace(store: Store) -> Iterator[Path]:
    """A folder for both builds: where other users get to if this is root, else beside the store's objects."""
    if os.geteuid() != 0:
        with store.temporary_folder() as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="harness-verify-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _link(source: Path, target: Path) -> None:
    """The same file again; a copy where that cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o444)


def _bring_base(text: str, root: Path, copy: Path) -> None:
    """Put a base that lies in the project where the copy of the project looks for it."""
    place = text.rpartition("@")[0].partition(":")[2]
    source = root / place
    if place and not Path(place).is_absolute() and source.exists():
        if source.is_dir():
            shutil.copytree(source, copy / place, copy_function=lambda one, other: _link(Path(one), Path(other)))
        else:
            _link(source, copy / place)


def _give(folder: Path, user: int) -> None:
    """Give a user the folders and all of the store, which is copies; the files beside it need only be read."""
    for path, _, _ in os.walk(folder):
        os.chown(path, user, user)
    for file in (folder / "store").rglob("*"):
        os.chown(file, user, user)


def _another_locale() -> str:
    """A locale whose rules differ from C's, if the system has one: Turkish above all, where i is not upper-case I."""
    for name in ("tr_TR.UTF-8", "de_DE.UTF-8", "en_US.UTF-8"):
        before = locale.setlocale(locale.LC_ALL)
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        finally:
            locale.setlocale(locale.LC_ALL, before)
        return name
    return "C.UTF-8"


def _compare(lock: ImageLock, answers: Sequence[Answer], stores: tuple[Store, Store], own: Store) -> Finding | None:
    """The first difference between the two builds; if there is none, between them and the lock."""
    first, second = (answer.lock for answer in answers)
    return _first(first, second, stores, "the first and the second build") or _first(
        lock, first, (own, stores[0]), "the lock and both builds"
    )


def _first(one: ImageLock, other: ImageLock, stores: tuple[Store, Store], between: str) -> Finding | None:
    names, others = [layer.name for layer in one.layers], [layer.name for layer in other.layers]
    if names != others:
        return Finding(between, "", "", "layers", f"the layers are {', '.join(names)} and {', '.join(others)}")
    for left, right in zip(one.layers, other.layers, strict=True):
        if left.digest == right.digest:
            continue
        problem = f"layer {left.name} is {left.digest} and {right.digest}"
        if not stores[0].has(left.digest):
            return Finding(between, left.name, "", "digest", f"{problem} (the former is not in the store)")
        found = first_difference(stores[0].verified_path(left.digest), stores[1].verified_path(right.digest))
        if found is None:
            return Finding(between, left.name, "", "end", f"{problem}: what follows the members differs")
        return Finding(between, left.name, found.member, found.field, f"{problem}: {found}")
    if one.manifest != other.manifest:
        return Finding(between, "", "", "config", f"the layers are alike, the configs are {one.config}, {other.config}")
    return None
