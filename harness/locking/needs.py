"""What a spec and its wheels ask for, held against the locks: a lock may be edited by hand, or merged wrongly.

What Debian's packages need of each other, `harness.images.plan` holds against `debian.lock`: it stands in their files.
"""

from collections.abc import Iterator, Mapping, Sequence

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from harness.locking.architecture import machine_of
from harness.locking.debian import DebianLock
from harness.locking.imagespec import ImageSpec
from harness.locking.python import PythonLock


def holds(marker: Marker | None, lock: PythonLock, extra: str = "") -> bool:
    """Whether a marker holds in the image of a lock, as uv has it for that version and platform; none always does."""
    full = f"{lock.version}.0"
    environment = {
        "extra": extra,
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": machine_of(lock.platform),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full,
        "python_version": lock.version,
        "sys_platform": "linux",
    }
    try:
        return marker is None or marker.evaluate(environment)
    except (UndefinedComparison, UndefinedEnvironmentName):  # what nobody can answer asks for nothing
        return False


def missing_packages(spec: ImageSpec, lock: DebianLock) -> list[str]:
    """The packages that the spec names and `debian.lock` lacks, in the order of the spec."""
    locked = {package.name for package in lock.packages}
    return [name for name in spec.debian.packages if name not in locked]


def unmet_requirements(spec: ImageSpec, lock: PythonLock) -> list[str]:
    """The requirements of the spec that `python.txt` does not meet, in the order of the spec."""
    versions = _versions(lock)
    return [
        text
        for text in spec.python.requirements
        if holds((one := Requirement(text)).marker, lock) and not _met(one, versions)
    ]


def unmet_needs(spec: ImageSpec, lock: PythonLock, needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The wheels whose `needs` (`Requires-Dist`, by name) `python.txt` does not meet, and with each what it lacks.

    Extras count where somebody asks for them, and what the spec leaves out (`python.without`) is not missed.
    """
    versions = _versions(lock)
    asked = [one for text in spec.python.requirements if holds((one := Requirement(text)).marker, lock)]
    waiting = [*((name, "") for name in versions), *_extras(asked)]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop(0)
        applying = [one for one in _parsed(needs.get(name, ())) if holds(one.marker, lock, extra)]
        applying = [one for one in applying if canonicalize_name(one.name) not in spec.python.without]
        yield from ((name, str(one)) for one in applying if not _met(one, versions))
        more = [pair for pair in _extras(applying) if pair not in seen]
        seen.update(more)
        waiting += more


def _versions(lock: PythonLock) -> dict[str, Version]:
    return {canonicalize_name(wheel.name): Version(wheel.version) for wheel in lock.wheels}


def _met(requirement: Requirement, versions: Mapping[str, Version]) -> bool:
    version = versions.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _extras(requirements: Sequence[Requirement]) -> list[tuple[str, str]]:
    pairs = [(canonicalize_name(one.name), canonicalize_name(extra)) for one in requirements for extra in one.extras]
    return sorted(set(pairs))


def _parsed(texts: Sequence[str]) -> Iterator[Requirement]:
    for text in texts:
        try:
            yield Requirement(text)
        except InvalidRequirement:  # of old wheels: pip could not follow it either
            continue
