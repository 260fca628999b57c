"""Asking uv where wheels are, so that no address of an index stands in the code."""

import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from uv import find_uv_bin

from harness.errors import ToolError
from harness.spec.digest import Digest, digest_from_hex
from harness.store.artifact import Wheel
from harness.store.process import run
from harness.store.sources import uv_environment

_TIMEOUT = 300.0
_UNREACHED = "error sending request"  # uv's words where an index did not answer at all
_INTERPRETER = re.compile(r"-cp3(\d+)-(?!abi3)")


class Address(msgspec.Struct, frozen=True):
    """Where an index says that a file is, and the digest that it promises."""

    address: str
    filename: str
    digest: Digest
    size: int | None


def pip_compile(
    arguments: Sequence[str],
    requirements: str,
    environment: Mapping[str, str],
    *,
    cwd: Path | None = None,
    annotate: bool = False,
) -> bytes:
    """What `uv pip compile` prints for the text of a requirements file; `annotate` adds who asks for each package.

    Raises:
        PrerequisiteError: uv is not there.
        ToolError: the requirements can't be resolved, or no index answers.
    """
    style = ["--annotation-style", "split"] if annotate else ["--no-annotate"]
    argv = [find_uv_bin(), "pip", "compile", "--quiet", "--no-header", *style, *arguments, "-"]
    # For a target's Python that is not here, uv would look for one to download, which resolving to wheels never needs.
    variables = {"UV_PYTHON_DOWNLOADS": "never", **environment}
    return run(argv, stdin=requirements.encode(), environment=variables, cwd=cwd, timeout=_TIMEOUT).stdout


def resolve(
    arguments: Sequence[str],
    requirements: str,
    environment: Mapping[str, str],
    *,
    kept: Mapping[str, str] | None = None,
    without: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """The packages of the `pylock.toml` (PEP 751) that uv writes for some requirements.

    uv runs in an empty folder, so that no project's settings get in. `kept` are versions by name that it should stay
    with, where the requirements allow it and an index still has them. `without` are names that are left out, whoever
    asks for them.

    Raises:
        PrerequisiteError: uv is not there.
        ToolError: the requirements can't be resolved, or no index answers.
    """
    kept = dict(kept or {})
    found = _compile(arguments, requirements, environment, without, preferred=kept)
    versions = {str(package["name"]): str(package["version"]) for package in found}
    moved = sorted(name for name, version in kept.items() if versions.get(name, version) != version)
    # Where the first of several indexes has a version for other platforms alone, uv rules a preferred version out,
    # although another index has the wheel. As a constraint it is looked for in all of them: so what moved is put back,
    # all at once or in halves, wherever that is a solution too.
    fixed = {name: version for name, version in (versions | kept).items() if name not in moved}
    pending = [moved] if moved else []
    while pending:
        names = pending.pop()
        again = fixed | {name: kept[name] for name in names}
        try:
            found = _compile(arguments, requirements, environment, without, fixed=again)
            fixed = again
        except ToolError as error:
            if _UNREACHED in error.message:
                raise
            half = len(names) // 2
            pending += [names[half:], names[:half]] if half else []
    return found


def _compile(
    arguments: Sequence[str],
    requirements: str,
    environment: Mapping[str, str],
    without: Iterable[str],
    *,
    preferred: Mapping[str, str] | None = None,
    fixed: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The packages that uv finds: at the versions `preferred` if it can, at those `fixed` or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pylock.toml"
        if preferred:
            output.write_text(_versions(preferred))
        if fixed:
            (Path(folder) / "fixed.txt").write_text("".join(f"{name}=={fixed[name]}\n" for name in fixed))
            arguments = [*arguments, "--constraint", "fixed.txt"]
        if excluded := "".join(f"{name}\n" for name in without):
            (Path(folder) / "excluded.txt").write_text(excluded)
            arguments = [*arguments, "--excludes", "excluded.txt"]
        arguments = [*arguments, "--format", "pylock.toml", "--output-file", str(output)]
        pip_compile(arguments, requirements, environment, cwd=Path(folder))
        packages: list[dict[str, Any]] = tomllib.loads(output.read_text()).get("packages", [])
        return packages


def _versions(kept: Mapping[str, str]) -> str:
    """A `pylock.toml` that says no more than versions; no name or version has a character that TOML would escape."""
    entries = [f'[[packages]]\nname = "{name}"\nversion = "{version}"\n' for name, version in kept.items()]
    return "\n".join(['lock-version = "1.0"\ncreated-by = "harness"\n', *entries])


def addresses_of(package: Mapping[str, Any]) -> list[Address]:
    """The files of one package of a `pylock.toml`; those without an address or sha256 are left out."""
    found = []
    for item in [*package.get("wheels", ()), *filter(None, [package.get("sdist"), package.get("archive")])]:
        address = item.get("url") or (Path(item["path"]).absolute().as_uri() if "path" in item else None)
        sha256 = item.get("hashes", {}).get("sha256")
        if address and sha256:
            filename = item.get("name") or unquote(urlsplit(address).path).rpartition("/")[2]
            found.append(Address(address, filename, digest_from_hex(sha256), item.get("size")))
    return found


def find_wheels(
    wheels: Sequence[Wheel], environment: Mapping[str, str] = os.environ
) -> tuple[dict[Digest, list[Address]], dict[str, str]]:
    """Where the indexes that pip and uv are configured with have the wheels; and, by file name, why they have not.

    Asked first as pip is configured, then without its extra indexes, then with PyTorch's own index for local versions
    (`+cpu`), each time for what is still missing.
    """
    found: dict[Digest, list[Address]] = {}
    reasons: dict[str, str] = {}
    attempts: list[tuple[dict[str, str], list[str]]] = [(uv_environment(environment), [])]
    if uv_environment(environment, extra=False) != attempts[0][0]:
        attempts.append((uv_environment(environment, extra=False), []))
    attempts.append((uv_environment(environment, extra=False), ["--torch-backend", "cpu"]))
    for variables, arguments in attempts:
        missing = [wheel for wheel in wheels if wheel.digest not in found]
        # Apart, because an index that holds local versions is rare, and one unknown version spoils a whole answer.
        local = [wheel for wheel in missing if "+" in wheel.version]
        public = [wheel for wheel in missing if wheel not in local and not arguments]
        answers = _ask(public, variables, arguments, reasons) + _ask(local, variables, arguments, reasons)
        for packages in answers:
            for package in packages:
                for address in addresses_of(package):
                    found.setdefault(address.digest, []).append(address)
                    reasons.setdefault(address.filename, f"the index has it with another digest, {address.digest}")
    return found, reasons


def _ask(
    wheels: Sequence[Wheel], variables: Mapping[str, str], arguments: Sequence[str], reasons: dict[str, str]
) -> list[list[dict[str, Any]]]:
    """One answer for all wheels, or, where one of them spoils it, answers for parts of them.

    An index that does not answer is not asked for parts: uv waits seconds each time before it gives up.
    """
    if not wheels:
        return []
    requirements = "".join(f"{wheel.name}=={wheel.version}\n" for wheel in wheels)
    python = min([int(minor) for wheel in wheels for minor in _INTERPRETER.findall(wheel.filename)] or [11])
    options = ["--universal", "--no-deps", "--python-version", f"3.{python}", "--only-binary", ":all:", *arguments]
    try:
        return [resolve(options, requirements, variables)]
    except ToolError as error:
        if len(wheels) == 1 or _UNREACHED in error.message:
            lines = error.message.strip().splitlines()
            reasons |= {wheel.filename: f"uv: {lines[-1].strip() if lines else 'no answer'}" for wheel in wheels}
            return []
    half = len(wheels) // 2
    return _ask(wheels[:half], variables, arguments, reasons) + _ask(wheels[half:], variables, arguments, reasons)
