"""`harness lock`: resolve what specs and `pyproject.toml` ask for, and write what came out."""

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.errors import IntegrityError, UsageError
from harness.locking.archive import KEYRINGS
from harness.locking.debian import DebianLock, MaintainerChange, changed_waivers, read_debian_lock, waiver_problems
from harness.locking.difference import (
    LockChange,
    debian_difference,
    explained,
    python_difference,
    requirements_difference,
)
from harness.locking.imagespec import ImageSpec, debian_inputs, image_names, load_image_spec
from harness.locking.lockfile import encode_lock, read_lock_bytes
from harness.locking.needs import missing_packages
from harness.locking.place import place
from harness.locking.python import PythonLock, encode_python_lock, read_python_lock
from harness.locking.requirements import (
    LockedRequirement,
    RequirementSet,
    locked_requirements,
    requirement_sets,
    resolve_requirements,
    versions_of,
)
from harness.locking.requirers import requirers
from harness.locking.rereading import other_scripts, read_again, stored
from harness.locking.resolve import resolve_debian, resolve_python
from harness.locking.upgrade import KEEP, Upgrade, Upgrades, check_known, check_pins, debian_name
from harness.record.hashing import signature
from harness.spec.digest import Digest
from harness.store.progress import Progress
from harness.store.sources import uv_environment
from harness.store.store import Store

T = TypeVar("T")


class Locking(msgspec.Struct, frozen=True, kw_only=True):
    """What came of locking: the locks that were written, and which packages they hold otherwise than before.

    `scripts` are the waived maintainer scripts that changed.
    """

    written: tuple[Path, ...]
    changes: tuple[LockChange, ...]
    scripts: tuple[MaintainerChange, ...] = ()


class _Before(msgspec.Struct, frozen=True, kw_only=True):
    """The locks as they are: null or missing where there is none, or none that is valid.

    `damaged` are the images whose `debian.lock` is there and not valid.
    """

    requirements: dict[str, str]
    debian: dict[str, DebianLock | None]
    python: dict[str, PythonLock | None]
    damaged: frozenset[str]


class _Planned(msgspec.Struct, frozen=True, kw_only=True):
    """Locks as they are to be: bytes by path below the checkout, what changes, and waived scripts that did."""

    files: dict[str, bytes]
    changes: tuple[LockChange, ...]
    scripts: tuple[MaintainerChange, ...] = ()


def lock(
    root: Path,
    name: str | None,
    store: Store,
    *,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
    upgrades: Upgrades = KEEP,
    reviewed: Collection[str] | None = (),
    announce: Callable[[tuple[LockChange, ...]], None] | None = None,
) -> Locking:
    """Write the locks of the image `name`, or of every image and of the harness's own environments.

    What is locked stays where it still fits what is asked for, but for `upgrades`: with them alone new versions come
    in. Debian's packages come from one release, and so move together: with everything, when others are asked for, or
    when one of them is to be upgraded. A lock whose content comes out as it was is not touched; one that is damaged is
    made anew, if no package was chosen.

    Nothing is written before everything is resolved and `announce` was told what changes; then all of it is, or after
    an error nothing. A waiver is for the scripts that the lock names by digest: where those of a waived package
    changed, or the lock is damaged and nobody can tell, it must be among `reviewed` (null: that is for the caller to
    ask, with `check_reviewed`).

    Raises:
        UsageError: a spec makes no sense, what it asks for does not exist, it does not allow an upgrade, or a waived
            script changed.
        PrerequisiteError: no mirror or index answers, or gpgv is missing.
        ToolError: uv can't resolve the requirements.
        IntegrityError: a signature or digest does not fit, or the lock in which packages were chosen is damaged.
    """
    with store.lock("lock"), tempfile.TemporaryDirectory() as folder:
        sets = requirement_sets(root) if name is None else ()
        specs = [load_image_spec(root, image) for image in (image_names(root) if name is None else (name,))]
        before = _read(root, sets, specs, strict=bool(upgrades.chosen), progress=progress)
        _check(upgrades, sets, specs, before)
        planned = [_plan_set(Path(folder), wanted, before, upgrades, progress, environment) for wanted in sets]
        planned += [_plan_image(spec, store, before, upgrades, progress, environment) for spec in specs]
        changes = tuple(change for each in planned for change in each.changes)
        if announce is not None:
            announce(changes)
        scripts = tuple(change for each in planned for change in each.scripts)
        if reviewed is not None:
            check_reviewed(scripts, reviewed)
        files = {path: data for each in planned for path, data in each.files.items()}
        _remove_leftovers(root / path for path in files)
        return Locking(written=place(root, files), changes=changes, scripts=scripts)


def check_reviewed(scripts: Sequence[MaintainerChange], reviewed: Collection[str]) -> None:
    """Nothing, if somebody says of every waived script that changed that its waiver still fits.

    Raises:
        UsageError: a package of one of `scripts` is not among `reviewed`.
    """
    unread = [change for change in scripts if change.package not in reviewed]
    if unread:
        first, more = unread[0], sorted({change.package for change in unread})
        options = " ".join(f"--reviewed {package}" for package in more)
        changed, restore = f"changed from {first.before} to {first.after}", ""
        if first.before is None:
            changed = "debian.lock, which says what was read when it was, is damaged"
            restore = "Restore debian.lock from version control. Or: "
        raise UsageError(
            f"The {first.script} of {first.package} is waived, but {changed}",
            hint=f"{restore}Read it, see whether the spec's reason still holds, then add {options}.",
        )


def locked_versions(root: Path, image: str) -> dict[str, str]:
    """The version of each wheel that an image's lock holds; nothing where there is no lock.

    Raises:
        IntegrityError: the lock is not valid.
    """
    path = root / "lockfiles" / image / "python.txt"
    return _versions(read_python_lock(path)) if path.exists() else {}


def _plan_set(
    folder: Path,
    wanted: RequirementSet,
    before: _Before,
    upgrades: Upgrades,
    progress: Progress,
    environment: Mapping[str, str],
) -> _Planned:
    """The plan for one of the harness's own locks; it is also put into `folder`, where it binds the next one."""
    text = before.requirements.get(wanted.filename)
    kept = None if upgrades.everything else text
    shown = f"lockfiles/{wanted.filename}"
    with progress.task(f"Resolving {wanted.filename}"):
        data = resolve_requirements(folder, wanted, environment, kept=kept, upgrades=upgrades)
        (folder / "lockfiles").mkdir(exist_ok=True)
        (folder / shown).write_bytes(data)
        after = _entries(data.decode(), shown)
        changes = requirements_difference(shown, _entries(text, shown), after)
        if changes:
            arguments = ["--universal", "--python-version", wanted.python]
            variables = uv_environment(environment, extra=False)
            changes = explained(changes, requirers(arguments, wanted.requirements, versions_of(after), variables))
    return _Planned(files={shown: data}, changes=changes)


def _plan_image(
    spec: ImageSpec,
    store: Store,
    before: _Before,
    upgrades: Upgrades,
    progress: Progress,
    environment: Mapping[str, str],
) -> _Planned:
    old_debian, old_python = before.debian[spec.name], before.python[spec.name]
    folder = f"lockfiles/{spec.name}"
    changes = tuple[LockChange, ...]()
    debian = _kept(old_debian, spec, store, upgrades, progress) if old_debian is not None else None
    if debian is None:
        resolved = resolve_debian(spec, store, progress=progress, keyrings=KEYRINGS, environment=environment)
        debian = resolved.lock
        _check_versions(upgrades, debian)
        asked: dict[str, tuple[str, ...]] = {name: (" > ".join(chain),) for name, chain in resolved.chains.items()}
        changes = explained(debian_difference(f"{folder}/debian.lock", old_debian, debian), asked)
    with progress.task(f"Resolving the requirements of {spec.name}"):
        kept = None if upgrades.everything else old_python
        python = resolve_python(spec, environment, kept=kept, upgrades=upgrades)
        moved = python_difference(f"{folder}/python.txt", old_python, python.lock)
        if moved:
            asked = python.required_by(spec.python.requirements, environment)
            moved = explained(moved, asked, lambda digest: python.sizes.get(digest) or _size(store, digest))
    return _Planned(
        files={f"{folder}/debian.lock": encode_lock(debian), f"{folder}/python.txt": encode_python_lock(python.lock)},
        changes=changes + moved,
        scripts=tuple(changed_waivers(spec, old_debian, debian)) if old_debian or spec.name in before.damaged else (),
    )


def _kept(lock: DebianLock, spec: ImageSpec, store: Store, upgrades: Upgrades, progress: Progress) -> DebianLock | None:
    """The lock as it may stay, or null: with what its scripts do read again, as far as the store has its packages.

    So what somebody wrote into it by hand does not stay, nor what an older version of the harness could not tell.
    """
    if upgrades.everything or _moving(upgrades, lock):
        return None
    kept, path = read_again(lock, stored(store)), f"lockfiles/{spec.name}/debian.lock"
    if other := other_scripts(lock, kept):
        progress.note(f"{path} describes {other[0]} otherwise than it is read: it is put right")
    return kept if _still_fits(kept, spec) else None


def _size(store: Store, digest: Digest) -> int | None:
    return store.path(digest).stat().st_size if store.has(digest) else None


def _moving(upgrades: Upgrades, lock: DebianLock) -> list[Upgrade]:
    """Which of the packages chosen are Debian's."""
    names = {debian_name(package.name) for package in lock.packages}
    return [upgrade for upgrade in upgrades.chosen if upgrade.name in names]


def _check_versions(upgrades: Upgrades, lock: DebianLock) -> None:
    for package in lock.packages:
        for upgrade in upgrades.chosen:
            wanted = upgrade.debian_version
            if upgrade.name == debian_name(package.name) and wanted not in (None, package.version):
                raise UsageError(
                    f"{lock.suite} has {package.name} {package.version}, not {wanted}",
                    hint="A Debian release holds one version of a package: leave the version out.",
                )


def _still_fits(lock: DebianLock, spec: ImageSpec) -> bool:
    asked = lock.inputs == signature(debian_inputs(spec)) and not missing_packages(spec, lock)
    return asked and not waiver_problems(spec, lock)


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
            said = error.message.replace(f"{root}/", "")  # which may be a temporary copy
            progress.note(f"{said}: nothing of it is kept")
            return None

    folder = root / "lockfiles"
    texts = {wanted.filename: read(folder / wanted.filename, _text) for wanted in sets}
    paths = {spec.name: folder / spec.name / "debian.lock" for spec in specs}
    debian = {name: read(path, read_debian_lock) for name, path in paths.items()}
    return _Before(
        requirements={filename: text for filename, text in texts.items() if text is not None},
        debian=debian,
        damaged=frozenset(name for name, path in paths.items() if debian[name] is None and path.exists()),
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
    debian = [package.name for lock in before.debian.values() if lock for package in lock.packages]
    where = f"lockfiles/{specs[0].name}" if len(specs) == 1 and not sets else "Every lock together"
    known = [name for versions in (*own.values(), *images.values()) for name in versions]
    check_known(upgrades, known + [debian_name(name) for name in debian], where)
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


def _remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what a run that was killed while it wrote left beside its locks."""
    for path in paths:
        for leftover in path.parent.glob(f".{path.name}.*"):
            leftover.unlink(missing_ok=True)
