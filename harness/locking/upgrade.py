"""Which locked versions may move: everything else stays as it is locked while it still fits what is asked for."""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.errors import UsageError
from harness.spec.documents import suggestion

_FORM = "Write a package's name, or its name and a version: --upgrade numpy, --upgrade numpy==2.4.5."
# What Debian calls a package and PEP 508 does not (`libstdc++6`), and a version of Debian's (`1:3.0-1~deb12u2`).
_DEBIAN = re.compile(r"([a-z0-9][a-z0-9+.-]+)(?:==([0-9][A-Za-z0-9.:~+-]*))?")


class Upgrade(msgspec.Struct, frozen=True):
    """A package that may move: to `version`, older or newer, or where that is null to the newest that fits.

    `debian_version` is the version as it was written, if Debian could call one so.
    """

    name: str
    version: str | None = None
    debian_version: str | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}=={self.version}"


class Upgrades(msgspec.Struct, frozen=True):
    """What may move: `everything`, the packages `chosen` (with what they force to move), or nothing."""

    everything: bool = False
    chosen: tuple[Upgrade, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The normalised names of the packages chosen."""
        return frozenset(upgrade.name for upgrade in self.chosen)


class Replacement(msgspec.Struct, frozen=True):
    """A requirement of an image's spec that a trial put another in the place of."""

    image: str
    before: str
    after: str


KEEP = Upgrades()


def debian_name(name: str) -> str:
    """What an upgrade calls a Debian package: normalised as Python's names are, so that one way fits both."""
    return canonicalize_name(name)


def parse_upgrades(items: Sequence[str], *, everything: bool = False) -> Upgrades:
    """What a user asked for on the command line.

    Raises:
        UsageError: an item is neither a name nor a name and an exact version, a package is there twice, or both
            everything and packages are asked for.
    """
    if everything and items:
        raise UsageError("--upgrade-all leaves nothing for --upgrade to choose", hint="Give one of the two.")
    chosen = tuple(_parse(item) for item in items)
    for upgrade in chosen:
        if [other.name for other in chosen].count(upgrade.name) > 1:
            raise UsageError(f"{upgrade.name} is to be upgraded twice", hint="Name each package once.")
    return Upgrades(everything, chosen)


def check_known(upgrades: Upgrades, locked: Iterable[str], where: str) -> None:
    """Nothing, if every package chosen is locked.

    Raises:
        UsageError: one is not; the hint names those that are called alike.
    """
    known = sorted(set(locked))
    for upgrade in upgrades.chosen:
        if upgrade.name not in known:
            hint = suggestion(upgrade.name, known) if known else "Run `harness lock` without --upgrade first."
            raise UsageError(f"{where} holds no package {upgrade.name}", hint=hint)


def with_local_version(upgrade: Upgrade, locked: str | None) -> Upgrade:
    """`torch==2.14.0` as `torch==2.14.0+cpu` where `locked` is such a build: another build is another library."""
    if upgrade.version is None or locked is None or "+" in upgrade.version or "+" not in locked:
        return upgrade
    return Upgrade(upgrade.name, f"{upgrade.version}+{locked.partition('+')[2]}")


def check_pins(
    requirements: Iterable[str], upgrades: Upgrades, locked: Mapping[str, str], *, where: str, image: str | None
) -> None:
    """Nothing, if the packages chosen may move as far as `requirements`, found in the file `where`, are concerned.

    Raises:
        UsageError: one is pinned there to a version, or to versions that leave out the one asked for.
    """
    asked = _by_name(requirements)
    for wanted in upgrades.chosen:
        upgrade, requirement = with_local_version(wanted, locked.get(wanted.name)), asked.get(wanted.name)
        if requirement is None or upgrade.name not in locked:
            continue
        if upgrade.version is None and _is_pin(requirement):
            hint = _advise(f"{upgrade.name}==VERSION", image)
            raise UsageError(f"{where} pins {requirement}: there is nothing else to take", hint=hint)
        if upgrade.version is not None and not _allows(requirement, upgrade.version):
            hint = _advise(str(upgrade), image)
            raise UsageError(f"{where} asks for {requirement}, which leaves out {upgrade}", hint=hint)


def replace_pins(
    requirements: Sequence[str], upgrades: Upgrades, locked: Mapping[str, str], *, image: str
) -> tuple[tuple[str, ...], tuple[Replacement, ...]]:
    """The requirements with the versions asked for in the place of those that leave them out, and what was replaced."""
    wanted = {upgrade.name: with_local_version(upgrade, locked.get(upgrade.name)) for upgrade in upgrades.chosen}
    changed, replaced = [], []
    for text in requirements:
        requirement = _requirement(text)
        upgrade = wanted.get(canonicalize_name(requirement.name)) if requirement else None
        if requirement and upgrade and upgrade.version and not _allows(requirement, upgrade.version):
            extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            marker = f"; {requirement.marker}" if requirement.marker else ""
            changed.append(f"{upgrade.name}{extras}=={upgrade.version}{marker}")
            replaced.append(Replacement(image, text, changed[-1]))
        else:
            changed.append(text)
    return tuple(changed), tuple(replaced)


def uv_arguments(upgrades: Upgrades, locked: Mapping[str, str]) -> list[str]:
    """What tells uv which of the locked packages may move."""
    chosen = [with_local_version(item, locked[item.name]) for item in upgrades.chosen if item.name in locked]
    return [word for upgrade in chosen for word in ("--upgrade-package", str(upgrade))]


def _parse(item: str) -> Upgrade:
    requirement = _requirement(item)
    debian = _DEBIAN.fullmatch(item.replace(" ", ""))
    if requirement is None and debian is not None:
        return Upgrade(debian_name(debian[1]), None, debian[2])
    if requirement is None or requirement.url or requirement.extras or requirement.marker:
        raise UsageError(f"{item[:100]!r} is not a package that can be upgraded", hint=_FORM)
    name, specifiers = canonicalize_name(requirement.name), list(requirement.specifier)
    if not specifiers:
        return Upgrade(name)
    try:
        version = Version(specifiers[0].version)  # refuses `2.*`
    except InvalidVersion:
        version = None
    if version is None or len(specifiers) > 1 or specifiers[0].operator != "==":
        raise UsageError(f"{item[:100]!r} is not an exact version", hint=_FORM)
    return Upgrade(name, str(version), debian[2] if debian else None)


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None  # what it is refused for, uv says best


def _by_name(requirements: Iterable[str]) -> dict[str, Requirement]:
    found = filter(None, map(_requirement, requirements))
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def _is_pin(requirement: Requirement) -> bool:
    return any(one.operator in ("==", "===") and "*" not in one.version for one in requirement.specifier)


def _allows(requirement: Requirement, version: str) -> bool:
    return not requirement.url and requirement.specifier.contains(version, prereleases=True)


def _advise(upgrade: str, image: str | None) -> str:
    if image is None:
        return "Change it there, then run `harness lock`."
    command = f"harness lock {image}"
    return f"Change it there, then run `{command}`; or try it: `{command} --upgrade {upgrade} --dry-run`."
