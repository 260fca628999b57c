"""The harness's own environments: `host.txt`, `dev.txt` and `inside-test.txt`, in pip's hash-checked format.

They hold the hashes of every platform's files, because the orchestrator runs on any machine.
"""

import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.errors import IntegrityError, ToolError, UsageError
from harness.locking.lockfile import read_lock_bytes
from harness.locking.upgrade import KEEP, Upgrades, uv_arguments
from harness.record.hashing import digest_of_file, signature
from harness.spec.digest import Digest, parse_digest
from harness.store.index import pip_compile
from harness.store.sources import uv_environment

SCHEMA = "harness.requirements-lock/1"
OWN_NAME = "hermetic-training-harness"
# What tests of the rooms that run inside need beside the libraries of an image's lock.
INSIDE_TEST = ("expecttest", "hypothesis", "pytest", "pytest-xdist")

_HEADER = re.compile(rf"# {re.escape(SCHEMA)}\n# inputs: (sha256:[0-9a-f]{{64}})\n")
_REQUIREMENT = re.compile(r"(?P<requirement>[A-Za-z0-9][^\\\n]*?)(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_AGAIN = "Restore it from version control, or write it anew with `harness lock`."


class LockedRequirement(msgspec.Struct, frozen=True):
    """What a lock says of one package. `digest` is over the hashes of all its files, `marker` is empty as a rule."""

    name: str
    marker: str
    version: str
    digest: Digest

    @property
    def key(self) -> str:
        """What it is called where one name may be there twice, for different platforms."""
        return f"{self.name} ; {self.marker}" if self.marker else self.name


class RequirementSet(msgspec.Struct, frozen=True):
    """One lock: its file's name, what is asked for, and the lock whose versions bind it, if there is one."""

    filename: str
    requirements: tuple[str, ...]
    python: str
    bound_by: str | None = None


def requirement_sets(root: Path) -> tuple[RequirementSet, ...]:
    """The environments that the harness's own `pyproject.toml` asks for, in the order in which they bind each other.

    In a user's project there are none: its requirements are those of its images.

    Raises:
        UsageError: the file is not there, or lacks a table.
    """
    path = root / "pyproject.toml"
    if not path.is_file() and not (root / "lockfiles" / "host.txt").exists():
        return ()
    try:
        document = tomllib.loads(path.read_text())
        if canonicalize_name(str(document.get("project", {}).get("name", ""))) != OWN_NAME:
            return ()
        python = document["project"]["requires-python"].removeprefix(">=")
        host, dev = document["project"]["dependencies"], document["dependency-groups"]["dev"]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError(f"{path} is not this project's: {error}") from error
    return (
        RequirementSet("host.txt", tuple(host), python),
        RequirementSet("dev.txt", tuple(dev), python, "host.txt"),
        RequirementSet("inside-test.txt", INSIDE_TEST, python, "dev.txt"),
    )


def inputs_of(root: Path, wanted: RequirementSet) -> Digest:
    """The digest of what a lock is made from: requirements, Python, and the lock that binds it.

    Raises:
        OSError: the binding lock is not there.
    """
    bound = digest_of_file(root / "lockfiles" / wanted.bound_by) if wanted.bound_by else None
    return signature({"requirements": sorted(wanted.requirements), "python": wanted.python, "bound_by": bound})


def resolve_requirements(
    root: Path,
    wanted: RequirementSet,
    environment: Mapping[str, str] = os.environ,
    *,
    kept: str | None = None,
    upgrades: Upgrades = KEEP,
) -> bytes:
    """The bytes of a lock, resolved for every platform.

    What the text of the lock `kept` holds stays, unless it is among `upgrades` or no longer fits what is asked for.

    Raises:
        ToolError: uv can't resolve the requirements.
        IntegrityError: what came out is no plain list of versions and hashes.
    """
    bound = root / "lockfiles" / wanted.bound_by if wanted.bound_by else None
    arguments = ["--universal", "--python-version", wanted.python, "--generate-hashes"]
    arguments += ["--no-emit-index-url", "--no-emit-find-links"]
    if bound is not None:
        arguments += ["--constraint", str(bound)]
    requirements = "".join(f"{requirement}\n" for requirement in wanted.requirements)
    # pip's extra indexes are left out: a local one as a rule holds files for this platform alone.
    variables = uv_environment(environment, extra=False)
    if kept is not None:
        arguments += uv_arguments(upgrades, versions_of(locked_requirements(kept, wanted.filename)))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / wanted.filename
        if kept is not None:
            output.write_text(kept)
        try:
            pip_compile([*arguments, "--output-file", str(output)], requirements, variables)
        except ToolError as error:
            raise ToolError(f"{wanted.filename} cannot be resolved: {error.message}") from error
        body = output.read_text()
    text = f"# {SCHEMA}\n# inputs: {inputs_of(root, wanted)}\n{body}"
    parse_requirements(text, wanted.filename)
    return text.encode()


def read_requirements(path: Path) -> tuple[Digest, tuple[Requirement, ...]]:
    """The inputs' digest and the requirements of the lock in the file `path`.

    Raises:
        UsageError: the file is not there or cannot be read.
        IntegrityError: it holds anything but exact versions with hashes.
    """
    try:
        return parse_requirements(read_lock_bytes(path).decode(), str(path))
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path} is not UTF-8 text", hint=_AGAIN) from error


def locked_requirements(text: str, where: str) -> tuple[LockedRequirement, ...]:
    """What the text of a lock holds, package by package, in its order; `where` is what errors call it.

    Raises:
        IntegrityError: it holds anything but exact versions with hashes.
    """
    _, requirements = parse_requirements(text, where)
    entries = _REQUIREMENT.finditer(text, text.index("\n", text.index("\n") + 1) + 1)
    return tuple(
        LockedRequirement(
            name=canonicalize_name(requirement.name),
            marker=str(requirement.marker or ""),
            version=next(iter(requirement.specifier)).version,
            digest=signature(sorted(_HASH.findall(entry[0]))),
        )
        for requirement, entry in zip(requirements, entries, strict=True)
    )


def versions_of(locked: Iterable[LockedRequirement]) -> dict[str, str]:
    """The version of each package; where platforms have different ones, the last."""
    return {entry.name: entry.version for entry in locked}


def parse_requirements(text: str, where: str) -> tuple[Digest, tuple[Requirement, ...]]:
    """As `read_requirements`, from text; `where` is what errors call it.

    Raises:
        IntegrityError: it holds anything but exact versions with hashes.
    """
    header = _HEADER.match(text)
    if header is None:
        raise IntegrityError(f"{where} does not begin as a {SCHEMA} lock does", hint=_AGAIN)
    position, found = header.end(), []
    while position < len(text):
        entry = _REQUIREMENT.match(text, position)
        line = text.count("\n", 0, position) + 1
        if entry is None:
            raise IntegrityError(f"{where}, line {line}: this is not a version and its hashes", hint=_AGAIN)
        found.append(_requirement(entry["requirement"].strip(), f"{where}, line {line}"))
        position = entry.end()
    keys = [(canonicalize_name(requirement.name), str(requirement.marker)) for requirement in found]
    if len(set(keys)) != len(keys):
        raise IntegrityError(f"{where} holds a requirement twice", hint=_AGAIN)
    return parse_digest(header[1]), tuple(found)


def _requirement(text: str, where: str) -> Requirement:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise IntegrityError(f"{where}: {text[:100]!r} is not a requirement", hint=_AGAIN) from error
    exact = [specifier.operator for specifier in requirement.specifier] == ["=="]
    if requirement.url or not exact or "*" in str(requirement.specifier):
        raise IntegrityError(f"{where}: {text[:100]!r} is not an exact version", hint=_AGAIN)
    return requirement
