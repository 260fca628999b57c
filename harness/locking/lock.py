"""`harness lock`: resolve what specs and `pyproject.toml` ask for, and write what came out."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.errors import IntegrityError
from harness.locking.archive import KEYRINGS
from harness.locking.debian import DebianLock, read_debian_lock, waiver_problems
from harness.locking.difference import (
    LockChange,
    debian_difference,
    python_difference,
    requirements_difference,
)
from harness.locking.imagespec import ImageSpec, debian_inputs, image_names, load_image_spec
from harness.locking.lockfile import encode_lock, read_lock_bytes
from harness.locking.python import PythonLock, encode_python_lock, read_python_lock
from harness.locking.requirements import (
    LockedRequirement,
    RequirementSet,
    locked_requirements,
    requirement_sets,
    resolve_requirements,
    versions_of,
)
from harness.locking.resolve import resolve_debian, resolve_python
from harness.locking.upgrade import KEEP, Upgrades, check_known, check_pins
from harness.record.files import write_atomically
from harness.record.hashing import signature
from harness.store.progress import Progress
from harness.store.store import Store

T = TypeVar("T")


class Locking(msgspec.Struct, frozen=True, kw_only=True):
    """What came of locking: the locks that were written, and which packages they hold otherwise than before."""

    written: tuple[Path, ...]
    changes: tuple[LockChange, ...]


class _Before(msgspec.Struct, frozen=True, kw_only=True):
    """The locks as they are: null or missing where there is none, or none that is valid."""

    requirements: dict[str, str]
    debian: dict[str, DebianLock | None]
    python: dict[str, PythonLock | None]


def lock(
    root: Path,
    name: str | None,
    store: Store,
    *,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
    upgrades: Upgrades = KEEP,
) -> Locking:
    """Write the locks of the image `name`, or of every image and of the harness's own environments.

    What is locked stays where it still fits what is asked for, but for `upgrades`: with them alone new versions come
    in. Debian's packages come from one release, and so move together, with everything or when others are asked for. A
    lock whose content comes out as it was is not touched; one that is damaged is made anew, if no package was chosen.

    Raises:
        UsageError: a spec makes no sense, what it asks for does not exist, or it does not allow an upgrade.
        PrerequisiteError: no mirror or index answers, or gpgv is missing.
        ToolError: uv can't resolve the requirements.
        IntegrityError: a signature or digest does not fit, or the lock in which packages were chosen is damaged.
    """
    with store.lock("lock"):
        sets = requirement_sets(root) if name is None else ()
        specs = [load_image_spec(root, image) for image in (image_names(root) if name is None else (name,))]
        before = _read(root, sets, specs, strict=bool(upgrades.chosen), progress=progress)
        _check(upgrades, sets, specs, before)
        found = [_lock_set(root, wanted, before, upgrades, progress, environment) for wanted in sets]
        found += [_lock_image(root, spec, store, before, upgrades, progress, environment) for spec in specs]
    return Locking(
        written=tuple(path for each in found for path in each.written),
        changes=tuple(change for each in found for change in each.changes),
    )


def locked_versions(root: Path, image: str) -> dict[str, str]:
    """The version of each wheel that an image's lock holds; nothing where there is no lock.

    Raises:
        IntegrityError: the lock is not valid.
    """
    path = root / "lockfiles" / image / "python.txt"
    return _versions(read_python_lock(path)) if path.exists() else {}


def _lock_set(
    root: Path,
    wanted: RequirementSet,
    before: _Before,
    upgrades: Upgrades,
    progress: Progress,
    environment: Mapping[str, str],
) -> Locking:
    text = before.requirements.get(wanted.filename)
    kept = None if upgrades.everything else text
    with progress.task(f"Resolving {wanted.filename}"):
        data = resolve_requirements(root, wanted, environment, kept=kept, upgrades=upgrades)
    shown = f"lockfiles/{wanted.filename}"
    changes = requirements_difference(shown, _entries(text, shown), _entries(data.decode(), shown))
    return Locking(written=_write(root / shown, data), changes=changes)


def _lock_image(
    root: Path,
    spec: ImageSpec,
    store: Store,
    before: _Before,
    upgrades: Upgrades,
    progress: Progress,
    environment: Mapping[str, str],
) -> Locking:
    old_debian, old_python = before.debian[spec.name], before.python[spec.name]
    if old_debian is not None and not upgrades.everything and _still_fits(old_debian, spec):
        debian = old_debian
    else:
        debian = resolve_debian(spec, store, progress=progress, keyrings=KEYRINGS, environment=environment)
    with progress.task(f"Resolving the requirements of {spec.name}"):
        kept = None if upgrades.everything else old_python
        python = resolve_python(spec, environment, kept=kept, upgrades=upgrades)
    # Both or neither, as far as it can be had: nothing is written before everything is resolved.
    folder = f"lockfiles/{spec.name}"
    written = _write(root / folder / "debian.lock", encode_lock(debian))
    written += _write(root / folder / "python.txt", encode_python_lock(python))
    changes = debian_difference(f"{folder}/debian.lock", old_debian, debian)
    changes += python_difference(f"{folder}/python.txt", old_python, python)
    return Locking(written=written, changes=changes)


def _still_fits(lock: DebianLock, spec: ImageSpec) -> bool:
    return lock.inputs == signature(debian_inputs(spec)) and not waiver_problems(spec, lock)


def _read(
    root: Path, sets: tuple[RequirementSet, ...], specs: list[ImageSpec], *, strict: bool, progress: Progress
) -> _Before:
    """The locks before: a damaged one is an error where `strict`, and else as if it were not there."""

    def read(path: Path, reader: Callable[[Path], T]) -> T | None:
        try:
            return reader(path) if path.exists() else None
        except IntegrityError as error:
            if strict:
                raise
            progress.note(f"{error.message}: nothing of it is kept")
            return None

    folder = root / "lockfiles"
    texts = {wanted.filename: read(folder / wanted.filename, _text) for wanted in sets}
    return _Before(
        requirements={filename: text for filename, text in texts.items() if text is not None},
        debian={spec.name: read(folder / spec.name / "debian.lock", read_debian_lock) for spec in specs},
        python={spec.name: read(folder / spec.name / "python.txt", read_python_lock) for spec in specs},
    )


def _text(path: Path) -> str:
    try:
        text = read_lock_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path} is not UTF-8 text") from error
    locked_requirements(text, str(path))
    return text


def _check(upgrades: Upgrades, sets: tuple[RequirementSet, ...], specs: list[ImageSpec], before: _Before) -> None:
    """Whether every package chosen is locked somewhere, and may move wherever it is."""
    own = {filename: versions_of(_entries(text, filename)) for filename, text in before.requirements.items()}
    images = {name: _versions(lock) for name, lock in before.python.items()}
    where = f"lockfiles/{specs[0].name}/python.txt" if len(specs) == 1 and not sets else "Every lock together"
    check_known(upgrades, (name for versions in (*own.values(), *images.values()) for name in versions), where)
    for wanted in sets:
        locked = own.get(wanted.filename, {})
        check_pins(wanted.requirements, upgrades, locked, where="pyproject.toml", image=None)
    for spec in specs:
        requirements, name = spec.python.requirements, spec.name
        check_pins(requirements, upgrades, images[name], where=f"docker/{name}.yaml", image=name)


def _entries(text: str | None, where: str) -> tuple[LockedRequirement, ...]:
    return locked_requirements(text, where) if text is not None else ()


def _versions(lock: PythonLock | None) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in lock.wheels} if lock else {}


def _write(path: Path, data: bytes) -> tuple[Path, ...]:
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)  # of a run that was killed while it wrote
    if path.exists() and path.read_bytes() == data:
        return ()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return (path,)
