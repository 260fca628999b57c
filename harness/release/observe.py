"""Observe an environment: what its locks say, and what it says of itself."""

from pathlib import Path

from harness.locking.check import input_digests
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import BUILDER_FORMAT, SCHEMA, ImageLock
from harness.locking.imagespec import load_image_spec
from harness.locking.lockfile import read_lock
from harness.locking.python import read_python_lock
from harness.release.state import Sources
from harness.spec.variables import image_variables


def sources(root: Path, image: str) -> Sources:
    """What the image of that name is made from, as the checkout `root` says now; offline, in milliseconds.

    Whether its locks fit each other is not looked at.

    Raises:
        UsageError: its spec is missing or makes no sense, or a lock is missing.
        IntegrityError: a lock is not valid.
    """
    spec, folder = load_image_spec(root, image), root / "lockfiles" / image
    locked = folder / "image.lock"
    return Sources(
        spec=spec,
        debian=read_debian_lock(folder / "debian.lock"),
        python=read_python_lock(folder / "python.txt"),
        digests=input_digests(root, image),
        variables=image_variables(spec.variant),
        builder=BUILDER_FORMAT,
        image=read_lock(locked, ImageLock, schema=SCHEMA) if locked.exists() else None,
    )
