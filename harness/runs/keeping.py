"""Runs and images that are kept for an audit or a rollback: no tidying up takes them, nor what they were made from.

A run is marked in its results folder (`RESULTS/kept/<run_name>.json`), so that whoever tidies that folder up sees it,
on any machine. The store holds a pin for each kept run and image (`kept/`): the digests of everything behind it.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness.engines.host_environment import IMAGE as HOST_IMAGE
from harness.errors import UsageError
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import SCHEMA as IMAGE_SCHEMA
from harness.locking.imagelock import ImageLock
from harness.locking.imagespec import check_image_name
from harness.locking.lockfile import read_lock
from harness.locking.python import read_python_lock
from harness.record.files import write_atomically
from harness.record.hashing import digest_of_file
from harness.record.jsonfile import pretty_json, read_document
from harness.record.layout import KEPT, runs_folder
from harness.record.manifest import Manifest, read_manifest
from harness.record.results import locate_run, writing
from harness.record.snapshot import SCHEMA as SNAPSHOT_SCHEMA
from harness.record.snapshot import Snapshot, timestamp
from harness.spec.digest import Digest, digest_from_hex, hexadecimal
from harness.spec.run import ImageReference
from harness.store.gc import digests_named
from harness.store.roots import LOCKS, documents, noted_checkouts, read_bounded
from harness.store.store import Store

PIN_SCHEMA = "harness.pin/1"
MARK_SCHEMA = "harness.kept-run/1"
_IMAGE_FILE = re.compile(r"(?:.*/)?docker/([^/]+)\.yaml")


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that is kept. `image` is `NAME@DIGEST`, null for a run without one; `folder` is a run's, as it was."""

    schema: str = PIN_SCHEMA
    what: str
    name: str
    kept_at: str
    note: str
    image: str | None
    run_id: str | None
    folder: str | None
    digests: tuple[Digest, ...]

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"{self.what} {self.name}"


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A run that stays in its results folder."""

    schema: str = MARK_SCHEMA
    run_name: str
    run_id: str
    kept_at: str
    note: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What came of keeping: the store does not hold `missing`; `problem` says what is not known, where anything is."""

    pin: Pin
    missing: tuple[Digest, ...]
    problem: str | None


def keep(name: str, *, root: Path, results: Path, store: Store, note: str = "") -> Kept:
    """Keep a run (its name, or its folder) or an image (its name, or `docker/NAME.yaml`); again changes the note.

    Raises:
        UsageError: there is neither, or there are both; the run is in no results folder.
        IntegrityError: the run's manifest, or a lock of the image, is damaged.
    """
    now = timestamp(datetime.now(UTC))
    if (folder := _run_of(name, root, results)) is not None:
        return _keep_run(folder, now, note, root, store)
    return _keep_image(_image_name(name), now, note, root, store)


def let_go(name: str, *, results: Path, store: Store) -> tuple[str, ...]:
    """Keep a run (its name or folder) or an image (`NAME`, `NAME@DIGEST`) no longer; what was let go, in words.

    Raises:
        UsageError: nothing of that name is kept.
        HarnessError: a pin or mark cannot be read.
    """
    match = _IMAGE_FILE.fullmatch(name)
    names = {name, match[1] if match else name}
    folder = Path(name).resolve() if "/" in name else None
    gone = []
    for pin in pins(store):
        if {pin.name, pin.image} & names or (folder is not None and pin.folder == str(folder)):
            if pin.folder is not None:
                _unmark(Path(pin.folder).parents[1], pin.run_id)
            _pin_path(store, pin).unlink(missing_ok=True)
            gone.append(pin.title)
    results, run_name = (results, name) if folder is None else (folder.parents[1], folder.name)
    for mark in marks(results).values():
        if mark.run_name == run_name:
            _unmark(results, mark.run_id)
            gone.append(f"run {run_name}")
    if not gone:
        raise UsageError(f"Nothing called {name[:100]!r} is kept", hint="`harness keep --list` shows what is.")
    return tuple(dict.fromkeys(gone))


def pins(store: Store) -> tuple[Pin, ...]:
    """What is kept in a store, sorted by kind and name.

    Raises:
        HarnessError: a pin cannot be read, so that what it keeps is not known.
    """
    folder = store.home / KEPT
    paths = sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []
    found = [read_document(path, Pin, PIN_SCHEMA) for path in paths]
    return tuple(sorted(found, key=lambda pin: (pin.what, pin.name, pin.image or "", pin.run_id or "")))


def marks(results: Path) -> dict[str, Mark]:
    """The runs that are kept in a results folder, by their ids, which no other run has.

    Raises:
        HarnessError: a mark cannot be read.
    """
    folder = results / KEPT
    paths = sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []
    found = [read_document(path, Mark, MARK_SCHEMA) for path in paths]
    return {mark.run_id: mark for mark in found}


@contextlib.contextmanager
def guarded(results: Path) -> Iterator[None]:
    """Keep everybody else from marking runs of a results folder, or removing any, for the time of the block."""
    descriptor = os.open(results, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _keep_run(folder: Path, now: str, note: str, root: Path, store: Store) -> Kept:
    folder = folder.resolve()
    results = folder.parents[1]
    if folder.parent != runs_folder(results):
        raise UsageError(f"{folder} is in no results folder", hint="Give a run under RESULTS/runs/.")
    manifest = read_manifest(folder)
    image = manifest.run_spec.image
    required = {mount.digest for mount in manifest.run_spec.mounts}
    if image is not None:
        behind, known, problem = _behind(image, store)
    else:
        behind, known, problem = _behind_host(_libraries(folder, manifest), {root, *_checkouts(store)}, store)
    named, required = required | behind, required | known
    pin = Pin(
        what="run",
        name=manifest.run_name,
        kept_at=now,
        note=note,
        image=None if image is None else f"{image.name}@{image.manifest}",
        run_id=manifest.run_id,
        folder=str(folder),
        digests=tuple(sorted(named)),
    )
    mark = Mark(run_name=folder.name, run_id=manifest.run_id, kept_at=now, note=note)
    with guarded(results), writing(results / KEPT):
        if not folder.is_dir():
            raise UsageError(f"{folder} was removed meanwhile")
        (results / KEPT).mkdir(exist_ok=True)
        write_atomically(_mark_path(results, folder.name), pretty_json(mark))
    return Kept(pin=pin, missing=_pin(store, pin, required), problem=problem)


def _unmark(results: Path, run_id: str | None) -> None:
    for mark in marks(results).values():
        if mark.run_id == run_id:
            with guarded(results):
                _mark_path(results, mark.run_name).unlink(missing_ok=True)


def _keep_image(name: str, now: str, note: str, root: Path, store: Store) -> Kept:
    image, required = _of_lock(root / LOCKS / name)
    pin = Pin(
        what="image",
        name=name,
        kept_at=now,
        note=note,
        image=f"{name}@{image.manifest}",
        run_id=None,
        folder=None,
        digests=tuple(sorted(required | {image.manifest, image.config} | _named_in(root / "docker" / f"{name}.yaml"))),
    )
    return Kept(pin=pin, missing=_pin(store, pin, required), problem=None)


def _of_lock(folder: Path) -> tuple[ImageLock, set[Digest]]:
    """The lock of the image in a folder of locks, and what it is made of: its layers, and the artifacts behind them."""
    image = read_lock(folder / "image.lock", ImageLock, schema=IMAGE_SCHEMA)
    packages, wheels = read_debian_lock(folder / "debian.lock").packages, read_python_lock(folder / "python.txt").wheels
    made_of = [each.digest for each in packages] + [each.digest for each in wheels]
    return image, {*(layer.digest for layer in image.layers), *made_of}


def _behind(image: ImageReference, store: Store) -> tuple[set[Digest], set[Digest], str | None]:
    """What an image of some day is made from, by the checkouts that use the store and by what was kept before.

    Returns:
        Every digest that may be behind it; those that are known to be; and why none is known, where none is.
    """
    named: set[Digest] = {image.manifest, image.config}
    required: set[Digest] = set()
    sources = 0
    for pin in pins(store):
        if pin.what == "image" and pin.image == f"{image.name}@{image.manifest}":
            named |= set(pin.digests)
            sources += 1
    for root in _checkouts(store):
        for path in documents(root, [LOCKS]):
            if image.manifest not in (found := _named_in(path)):
                continue
            sources += 1
            if path.name == "image.lock":
                required |= _of_lock(path.parent)[1]
            else:  # a baseline, which holds whole locks
                named |= found
    problem = (
        f"no checkout that uses the store {store.home} has a lock of its image {image.name}@{image.manifest}, so what "
        "that is made from is not kept: check out the commit of the run, and keep the image there"
    )
    return named | required, required, None if sources else problem


def _libraries(folder: Path, manifest: Manifest) -> dict[str, str]:
    """The versions of what was installed where a run took place, by name."""
    snapshot = read_document(folder / manifest.cells[0].snapshot, Snapshot, SNAPSHOT_SCHEMA)
    return {name: library.version for name, library in snapshot.environment.libraries.items()}


def _behind_host(
    libraries: dict[str, str], roots: Iterable[Path], store: Store
) -> tuple[set[Digest], set[Digest], str | None]:
    """What the host environment of a run was made from, by the checkouts' locks that have those very libraries.

    Returns:
        As of `_behind`; among the first, the locks' own digests, by which environments are known.
    """
    named: set[Digest] = set()
    required: set[Digest] = set()
    for root in sorted(roots):
        path = root / LOCKS / HOST_IMAGE / "python.txt"
        if path.is_file() and {each.name: each.version for each in read_python_lock(path).wheels} == libraries:
            required |= {each.digest for each in read_python_lock(path).wheels}
            named.add(digest_of_file(path))
    for digest in named:
        for environment in (store.home / "environments").glob(f"{hexadecimal(digest)}-*"):
            store.use(environment)
    problem = (
        f"no checkout that uses the store {store.home} has a {LOCKS}/{HOST_IMAGE}/python.txt with its libraries, so "
        "the wheels of its host environment are not kept: check out the commit of the run, and keep it there"
    )
    return named | required, required, None if named else problem


def _checkouts(store: Store) -> list[Path]:
    return sorted({each.root for each in noted_checkouts(store) if each.present})


def _named_in(path: Path) -> set[Digest]:
    return {digest_from_hex(name) for name in digests_named(read_bounded(path))}


def _pin(store: Store, pin: Pin, required: set[Digest]) -> tuple[Digest, ...]:
    """Write a pin; which of the `required` digests the store does not hold."""
    path = _pin_path(store, pin)
    with store.explaining():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, pretty_json(pin))
    held = {digest for digest in pin.digests if _held(store, digest)}
    return tuple(sorted(required - held))


def _held(store: Store, digest: Digest) -> bool:
    """Whether the store holds it, as object or tree; it is then marked as used, so that no one takes it before."""
    tree = store.home / "trees" / hexadecimal(digest)
    return store.use(store.path(digest)) or store.use(tree)


def _mark_path(results: Path, run_name: str) -> Path:
    return results / KEPT / f"{run_name}.json"


def _pin_path(store: Store, pin: Pin) -> Path:
    name = f"run-{pin.run_id}" if pin.what == "run" else f"image-{pin.name}-{(pin.image or '')[-64:][:12]}"
    return store.home / KEPT / f"{name}.json"


def _run_of(name: str, root: Path, results: Path) -> Path | None:
    """The run of that name, or null where it is an image's.

    Raises:
        UsageError: it is both, or neither.
    """
    is_image = _IMAGE_FILE.fullmatch(name) is not None or (root / LOCKS / name / "image.lock").is_file()
    try:
        folder = locate_run(name, results)
    except UsageError as error:
        if is_image:
            return None
        raise UsageError(f"{error.message}, nor an image of that name in {root}", hint=error.hint) from error
    if is_image and "/" not in name:
        raise UsageError(f"{name} is a run and an image", hint=f"Give {folder}, or docker/{name}.yaml.")
    return folder


def _image_name(name: str) -> str:
    match = _IMAGE_FILE.fullmatch(name)
    return check_image_name(match[1] if match else name)
