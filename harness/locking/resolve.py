"""From requirements to locks: what the network is asked for, once, when a person runs `harness lock`."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from harness.errors import ToolError, UsageError
from harness.locking.architecture import target_tags
from harness.locking.archive import KEYRINGS, read_package_index, read_release
from harness.locking.closure import find_closure
from harness.locking.debian import DebianLock, DebianPackage, waiver_problems
from harness.locking.imagespec import ImageSpec, debian_inputs, python_inputs
from harness.locking.python import LockedWheel, PythonLock
from harness.locking.requirers import requirers
from harness.locking.scripts import read_scripts
from harness.locking.upgrade import KEEP, Upgrades, uv_arguments
from harness.record.hashing import signature
from harness.spec.digest import Digest, digest_from_hex
from harness.store.artifact import DebianFile
from harness.store.fetch import fetch, fetch_path
from harness.store.index import Address, addresses_of, resolve
from harness.store.progress import Progress
from harness.store.sources import uv_environment
from harness.store.store import Store


class ResolvedDebian(msgspec.Struct, frozen=True):
    """A lock, and the way to each of its packages: from one that the spec names to the package itself."""

    lock: DebianLock
    chains: dict[str, tuple[str, ...]]


class ResolvedPython(msgspec.Struct, frozen=True, kw_only=True):
    """A lock, the sizes in bytes of files as far as an index told, and uv's arguments that led to it."""

    lock: PythonLock
    sizes: dict[Digest, int]
    arguments: tuple[str, ...]

    def required_by(self, requirements: Sequence[str], environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """What asks for each package, by name."""
        versions = {wheel.name: wheel.version for wheel in self.lock.wheels}
        return requirers(self.arguments, requirements, versions, uv_environment(environment))


def resolve_debian(
    spec: ImageSpec,
    store: Store,
    *,
    progress: Progress,
    keyrings: Sequence[Path] = KEYRINGS,
    environment: Mapping[str, str] = os.environ,
) -> ResolvedDebian:
    """The closure of a spec's packages as a signed release has them; their files are in the store afterwards.

    Raises:
        UsageError: the packages can't be resolved, or one has a maintainer script that is not known and that the spec
            does not waive.
        PrerequisiteError: no mirror has the suite or a file, or gpgv is missing.
        IntegrityError: a signature or digest does not fit.
    """
    debian = spec.debian
    with progress.task(f"Reading the package list of {debian.suite}"):
        release = read_release(debian.suite, keyrings=keyrings, environment=environment)
        index = read_package_index(release, component=debian.component, architecture=debian.architecture)
    found = find_closure(index, debian.packages)
    candidates = found.candidates
    files = [
        DebianFile(
            path=candidate.fields["Filename"],
            digest=digest_from_hex(candidate.fields["SHA256"]),
            size=int(candidate.fields["Size"]),
            suite=debian.suite,
            snapshot=release.snapshot,
        )
        for candidate in candidates
    ]
    fetch(store, files, progress=progress, environment=environment)
    packages = []
    for candidate, file in zip(candidates, files, strict=True):
        path = fetch_path(store, file, progress=progress, environment=environment)
        scripts = read_scripts(path, candidate.name, debian.architecture)
        fields = candidate.fields
        packages.append(
            DebianPackage(
                candidate.name, candidate.version, fields["Architecture"], file.path, file.size, file.digest, scripts
            )
        )
    lock = DebianLock(
        inputs=signature(debian_inputs(spec)),
        suite=debian.suite,
        component=debian.component,
        architecture=debian.architecture,
        snapshot=release.snapshot,
        packages=tuple(packages),
    )
    if problems := waiver_problems(spec, lock):
        for problem in problems:
            progress.note(problem)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UsageError(
            f"docker/{spec.name}.yaml: {problems[0]}{more}",
            hint="No maintainer script is run: read it, declare what it does (links, files), and say so in postinst.",
        )
    return ResolvedDebian(lock, found.chains)


def resolve_python(
    spec: ImageSpec,
    environment: Mapping[str, str] = os.environ,
    *,
    kept: PythonLock | None = None,
    upgrades: Upgrades = KEEP,
) -> ResolvedPython:
    """The wheels that a spec's requirements resolve to, one each: that which fits its platform best.

    What `kept` holds stays, version and file, unless it is among `upgrades` or no longer fits what is asked for.

    Raises:
        ToolError: uv can't resolve them.
        UsageError: a distribution has no wheel for the platform.
    """
    python = spec.python
    arguments = ["--python-version", python.version, "--python-platform", python.platform, "--only-binary", ":all:"]
    requirements = "".join(f"{requirement}\n" for requirement in python.requirements)
    variables = uv_environment(environment)
    versions = {wheel.name: wheel.version for wheel in kept.wheels} if kept else {}
    moving = uv_arguments(upgrades, versions)
    staying = {name: version for name, version in versions.items() if name not in upgrades.names}
    try:
        packages = resolve([*arguments, *moving], requirements, variables, kept=staying, without=python.without)
    except ToolError as error:
        if "+cpu" not in requirements:
            raise
        # Local versions of torch are on PyTorch's own index, which uv knows by this name.
        arguments += ["--torch-backend", "cpu"]
        try:
            packages = resolve([*arguments, *moving], requirements, variables, kept=staying, without=python.without)
        except ToolError as second:
            raise error from second  # what the configured indexes lack is what a person can mend
    files = _files_to_keep(kept, spec, upgrades)
    wheels, sizes = [], {}
    for package in packages:
        if file := files.get((canonicalize_name(package["name"]), package["version"])):
            wheels.append(file)
            continue
        best = best_wheel(addresses_of(package), python=python.version, platform=python.platform)
        if best is None:
            raise UsageError(f"{package['name']} {package['version']} has no wheel for {python.platform}")
        name = canonicalize_name(package["name"])
        wheels.append(LockedWheel(name, package["version"], best.filename, best.digest))
        if (size := _size(best)) is not None:
            sizes[best.digest] = size
    lock = PythonLock(
        inputs=signature(python_inputs(spec)),
        version=python.version,
        platform=python.platform,
        wheels=tuple(sorted(wheels, key=lambda wheel: wheel.name)),
    )
    return ResolvedPython(lock=lock, sizes=sizes, arguments=tuple(arguments))


def _size(address: Address) -> int | None:
    if address.size is not None or not address.address.startswith("file://"):
        return address.size
    try:
        return Path(unquote(urlsplit(address.address).path)).stat().st_size
    except OSError:
        return None


def _files_to_keep(kept: PythonLock | None, spec: ImageSpec, upgrades: Upgrades) -> dict[tuple[str, str], LockedWheel]:
    """The locked wheels that stand for their name and version, whatever other file of them an index has by now."""
    if kept is None or (kept.version, kept.platform) != (spec.python.version, spec.python.platform):
        return {}
    return {(wheel.name, wheel.version): wheel for wheel in kept.wheels if wheel.name not in upgrades.names}


def best_wheel(addresses: Iterable[Address], *, python: str, platform: str) -> Address | None:
    """Of some files that which an installer on the platform would take; None if none fits.

    The order is that of PEP 425's tags, then the higher build number, then the file name.
    """
    ranks = {tag: rank for rank, tag in enumerate(target_tags(python, platform))}
    fitting = []
    for address in addresses:
        try:
            _, _, build, tags = parse_wheel_filename(address.filename)
        except InvalidWheelFilename:
            continue
        known = [ranks[tag] for tag in tags if tag in ranks]
        if known:
            number, suffix = build or (-1, "")
            fitting.append(((min(known), -number, suffix, address.filename), address))
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else None
