"""The host engine's interpreter: a virtual environment of its own, with the wheels of the CPU image's lock."""

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import uv
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from harness.errors import PrerequisiteError
from harness.locking.python import LockedWheel, PythonLock, read_python_lock
from harness.record.files import sync_folder
from harness.record.hashing import digest_of, digest_of_file
from harness.spec.digest import hexadecimal
from harness.store.artifact import Wheel
from harness.store.fetch import fetch
from harness.store.process import run
from harness.store.progress import Progress
from harness.store.store import Store

IMAGE = "cpu"
_DOCKER = "Use the Docker engine (--engine docker)."


def ensure_environment(root: Path, store: Store, progress: Progress) -> Path:
    """The interpreter of the environment that `lockfiles/cpu/python.txt` describes, made first if need be.

    It lies in the store's folder under the digest of the lock and the version of this machine's Python, and is whole or
    not there. Two processes may ask at once: one makes it.

    Raises:
        PrerequisiteError: this machine cannot take the lock's wheels, or one cannot be fetched from anywhere.
        IntegrityError: the lock or a wheel is not what it should be.
        ToolError: uv failed.
    """
    path = root / "lockfiles" / IMAGE / "python.txt"
    lock = read_python_lock(path)
    base, version = _base_interpreter(lock)
    place = hexadecimal(digest_of(f"{base}\n{version}".encode()))[:8]
    name = f"{hexadecimal(digest_of_file(path))}-{version}-{place}"
    interpreter = store.home / "environments" / name / "bin" / "python3"
    if store.use(interpreter.parents[1]) and interpreter.exists():
        return interpreter
    _check(lock, path)
    waiting = "Another process is making the host environment: waiting for it"
    with store.lock(f"environment-{name[:32]}", waiting=lambda: progress.note(waiting)):
        if not (store.use(interpreter.parents[1]) and interpreter.exists()):
            wheels = [Wheel(wheel.name, wheel.version, wheel.filename, wheel.digest) for wheel in lock.wheels]
            fetch(store, wheels, progress=progress)
            with progress.task("Making the host environment, once"):
                _make(interpreter.parents[1], base=base, lock=lock, requirements=path, store=store)
    return interpreter


def unfit_wheels(wheels: Iterable[LockedWheel], tags: Iterable[Tag]) -> list[str]:
    """The file names of the wheels that do not run where `tags` are supported."""
    supported = frozenset(tags)
    return [wheel.filename for wheel in wheels if parse_wheel_filename(wheel.filename)[3].isdisjoint(supported)]


def _check(lock: PythonLock, path: Path) -> None:
    major, minor = (int(part) for part in lock.version.split("."))
    tags = [*cpython_tags((major, minor)), *compatible_tags((major, minor), f"cp{major}{minor}")]
    unfit = unfit_wheels(lock.wheels, tags)
    if unfit:
        machine = f"{sys.platform} {os.uname().machine}"
        raise PrerequisiteError(
            f"This machine ({machine}) cannot take {len(unfit)} wheels of {path}, {unfit[0]} first", hint=_DOCKER
        )


def _base_interpreter(lock: PythonLock) -> tuple[Path, str]:
    """The Python to build on, outside any virtual environment, and its full version."""
    if sys.implementation.name == "cpython" and f"{sys.version_info.major}.{sys.version_info.minor}" == lock.version:
        base = Path(getattr(sys, "_base_executable", sys.executable))
        return base.resolve(), ".".join(str(part) for part in sys.version_info[:3])
    found = shutil.which(f"python{lock.version}")
    question = (
        "import platform, sys; print(platform.python_implementation(), platform.python_version(), sys.executable)"
    )
    if found is not None:
        kind, version, base_text = run([found, "-c", question]).stdout.decode().split(maxsplit=2)
        if kind == "CPython":
            return Path(base_text.strip()).resolve(), version
    raise PrerequisiteError(
        f"The host engine needs CPython {lock.version}, and python{lock.version} is not on PATH",
        hint=f"Install Python {lock.version}. {_DOCKER}",
    )


def _make(target: Path, *, base: Path, lock: PythonLock, requirements: Path, store: Store) -> None:
    target.parent.mkdir(exist_ok=True)
    with store.temporary_folder() as folder:
        links, made = folder / "wheels", folder / "environment"
        links.mkdir()
        for wheel in lock.wheels:
            (links / wheel.filename).symlink_to(store.verified_path(wheel.digest))
        # Nothing of the caller's uv is let in: no configuration, no index, no cache.
        environment = {"PATH": os.defpath, "HOME": str(folder), "UV_CACHE_DIR": str(folder / "cache")}
        program = uv.find_uv_bin()
        options = ("--no-config", "--offline", "--quiet")
        run(
            [program, "venv", *options, "--relocatable", "--python", str(base), "--no-project", str(made)],
            environment=environment,
        )
        run(
            [program, "pip", "install", *options, "--python", str(made / "bin" / "python"), "--no-index", "--no-deps",
             "--require-hashes", "--only-binary", ":all:", "--compile-bytecode", "--link-mode", "hardlink",
             "--find-links", str(links), "--requirement", str(requirements.resolve())],
            environment=environment,
        )  # fmt: skip
        with store.explaining():
            made.rename(target)
            sync_folder(target.parent)
