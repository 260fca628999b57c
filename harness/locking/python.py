"""`python.txt`: the wheels of an image, in pip's hash-checked requirements format with exactly one hash each.

One hash means one file: the wheel that fits the image's platform best. So an image is a function of this file alone,
and pip and uv can install the same set with `--require-hashes`.
"""

import re
from pathlib import Path

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from harness.errors import IntegrityError
from harness.locking.architecture import fits
from harness.locking.lockfile import read_lock_bytes
from harness.spec.digest import Digest, digest_from_hex, hexadecimal, parse_digest

SCHEMA = "harness.python-lock/1"

_HEADER = re.compile(
    rf"# {re.escape(SCHEMA)}\n# inputs: (?P<inputs>sha256:[0-9a-f]{{64}})\n"
    r"# python: (?P<version>3\.[0-9]+)\n# platform: (?P<platform>[a-z0-9_-]+)\n"
)
_ENTRY = re.compile(
    r"\n# (?P<filename>[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl)\n"
    r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[0-9A-Za-z.+!]+) \\\n"
    r"    --hash=sha256:(?P<hash>[0-9a-f]{64})\n"
)
_AGAIN = "Restore it from version control, or write it anew with `harness lock`."


class LockedWheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One wheel. `name` is normalised (PEP 503), `filename` is the wheel's own."""

    name: str
    version: str
    filename: str
    digest: Digest


class PythonLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The wheels of an image, sorted by name. `inputs` is the digest of what the spec asked for."""

    inputs: Digest
    version: str
    platform: str
    wheels: tuple[LockedWheel, ...]


def encode_python_lock(lock: PythonLock) -> bytes:
    """The bytes of a lock: pip's requirements format, each requirement below a comment with its file's name."""
    lines = [f"# {SCHEMA}", f"# inputs: {lock.inputs}", f"# python: {lock.version}", f"# platform: {lock.platform}"]
    for wheel in sorted(lock.wheels, key=lambda wheel: wheel.name):
        lines += ["", f"# {wheel.filename}", f"{wheel.name}=={wheel.version} \\"]
        lines += [f"    --hash=sha256:{hexadecimal(wheel.digest)}"]
    return ("\n".join(lines) + "\n").encode()


def read_python_lock(path: Path) -> PythonLock:
    """The lock in the file `path`.

    Raises:
        UsageError: the file is not there or cannot be read.
        IntegrityError: it is not a valid lock: anything but one hash for each requirement, an option, an address, a
            package or file twice, a file name that is not that wheel's, a wheel for another Python or platform.
    """
    try:
        text = read_lock_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path} is not UTF-8 text", hint=_AGAIN) from error
    header = _HEADER.match(text)
    if header is None:
        raise IntegrityError(f"{path} does not begin as a {SCHEMA} lock does", hint=_AGAIN)
    position, wheels = header.end(), []
    while position < len(text):
        entry = _ENTRY.match(text, position)
        if entry is None:
            line = text.count("\n", 0, position) + 1
            raise IntegrityError(
                f"{path}, at line {line}: this is not a file name, a requirement and exactly one hash", hint=_AGAIN
            )
        wheels.append(_wheel(entry, path, header))
        position = entry.end()
    lock = PythonLock(
        inputs=parse_digest(header["inputs"]),
        version=header["version"],
        platform=header["platform"],
        wheels=tuple(wheels),
    )
    _check(lock, path)
    return lock


def _wheel(entry: re.Match[str], path: Path, header: re.Match[str]) -> LockedWheel:
    wheel = LockedWheel(entry["name"], entry["version"], entry["filename"], digest_from_hex(entry["hash"]))
    try:
        name, version, _, tags = parse_wheel_filename(wheel.filename)
        same = name == canonicalize_name(wheel.name) and version == Version(wheel.version)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise IntegrityError(f"{path}: {wheel.filename} is not the name of a wheel: {error}", hint=_AGAIN) from error
    if not same:
        raise IntegrityError(f"{path}: {wheel.filename} is not {wheel.name}=={wheel.version}", hint=_AGAIN)
    if not fits(tags, header["version"], header["platform"]):
        raise IntegrityError(
            f"{path}: {wheel.filename} is not for Python {header['version']} on {header['platform']}", hint=_AGAIN
        )
    return wheel


def _check(lock: PythonLock, path: Path) -> None:
    names = [wheel.name for wheel in lock.wheels]
    if names != sorted(set(names)):
        raise IntegrityError(f"{path}: the requirements are not sorted, or one is there twice", hint=_AGAIN)
    if len({wheel.digest for wheel in lock.wheels}) != len(names):
        raise IntegrityError(f"{path}: two wheels have the same hash", hint=_AGAIN)
