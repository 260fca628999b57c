"""A trial: locks as they would become, in a temporary checkout, so that nothing is written in the real one."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.locking.imagespec import image_names, load_image_spec, spec_path
from harness.locking.lock import Locking, lock, locked_versions
from harness.locking.upgrade import Replacement, Upgrades, replace_pins
from harness.record.files import write_atomically
from harness.store.progress import Progress
from harness.store.store import Store


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """The temporary checkout `root`, what locking changed in it, and the pins of specs that gave way."""

    root: Path
    locking: Locking
    replaced: tuple[Replacement, ...]


@contextmanager
def trial(
    root: Path,
    name: str | None,
    store: Store,
    *,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
    upgrades: Upgrades,
) -> Iterator[Trial]:
    """What `lock` would do, for the time of a `with` block.

    Where a spec's pin leaves out a version that was asked for, that version takes its place, in the trial alone.

    Raises:
        HarnessError: as `lock` raises it.
    """
    with tempfile.TemporaryDirectory(prefix="harness-trial-") as folder:
        copy = Path(folder) / "checkout"
        _copy(root, copy)
        replaced: tuple[Replacement, ...] = ()
        for image in image_names(root) if name is None else (name,):
            replaced += _replace(copy, image, upgrades)
        # Nobody has to have read scripts for what is not kept: who shows what would be kept asks for that.
        locking = lock(copy, name, store, progress=progress, environment=environment, upgrades=upgrades, reviewed=None)
        yield Trial(root=copy, locking=locking, replaced=replaced)


def _copy(root: Path, copy: Path) -> None:
    """Specs, locks and `pyproject.toml`: all that locking and building read."""
    copy.mkdir()
    for folder in ("docker", "lockfiles"):
        if (root / folder).is_dir():
            shutil.copytree(root / folder, copy / folder)
    if (root / "pyproject.toml").exists():
        shutil.copy2(root / "pyproject.toml", copy / "pyproject.toml")


def _replace(root: Path, image: str, upgrades: Upgrades) -> tuple[Replacement, ...]:
    spec = load_image_spec(root, image)
    requirements, replaced = replace_pins(spec.python.requirements, upgrades, locked_versions(root, image), image=image)
    if replaced:
        changed = msgspec.structs.replace(spec, python=msgspec.structs.replace(spec.python, requirements=requirements))
        write_atomically(spec_path(root, image), msgspec.json.encode(changed))  # JSON is YAML
    return replaced
