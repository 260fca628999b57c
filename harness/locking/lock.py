"""`harness lock`: resolve what specs and `pyproject.toml` ask for, and write what came out."""

import os
from collections.abc import Mapping
from pathlib import Path

from harness.locking.archive import KEYRINGS
from harness.locking.imagespec import image_names, load_image_spec
from harness.locking.lockfile import encode_lock
from harness.locking.python import encode_python_lock
from harness.locking.requirements import requirement_sets, resolve_requirements
from harness.locking.resolve import resolve_debian, resolve_python
from harness.record.files import write_atomically
from harness.store.progress import Progress
from harness.store.store import Store


def lock(
    root: Path,
    name: str | None,
    store: Store,
    *,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
) -> list[Path]:
    """Write the locks of the image `name`, or of every image and of the harness's own environments.

    A lock whose content comes out as it was is not touched.

    Returns:
        The locks that changed.

    Raises:
        UsageError: a spec makes no sense, or what it asks for does not exist.
        PrerequisiteError: no mirror or index answers, or gpgv is missing.
        ToolError: uv can't resolve the requirements.
        IntegrityError: a signature or digest does not fit.
    """
    changed: list[Path] = []
    with store.lock("lock"):
        if name is None:
            for wanted in requirement_sets(root):
                with progress.task(f"Resolving {wanted.filename}"):
                    data = resolve_requirements(root, wanted, environment)
                changed += _write(root / "lockfiles" / wanted.filename, data)
        for image in image_names(root) if name is None else (name,):
            spec = load_image_spec(root, image)
            debian = resolve_debian(spec, store, progress=progress, keyrings=KEYRINGS, environment=environment)
            with progress.task(f"Resolving the requirements of {image}"):
                python = resolve_python(spec, environment)
            # Both or neither, as far as it can be had: nothing is written before everything is resolved.
            changed += _write(root / "lockfiles" / image / "debian.lock", encode_lock(debian))
            changed += _write(root / "lockfiles" / image / "python.txt", encode_python_lock(python))
    return changed


def _write(path: Path, data: bytes) -> list[Path]:
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)  # of a run that was killed while it wrote
    if path.exists() and path.read_bytes() == data:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return [path]
