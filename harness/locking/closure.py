"""The closure of some Debian packages over Depends and Pre-Depends: pure, and the same for every order of asking."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from debian.deb822 import Packages, PkgRelation
from debian.debian_support import Version

from harness.errors import UsageError

_PRIORITIES = ("required", "important", "standard", "optional", "extra")
_OPERATORS: dict[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
}
_NAME = re.compile(r"^Package: *(\S+)$", re.MULTILINE)
_PROVIDES = re.compile(r"^Provides: *(.+(?:\n .+)*)$", re.MULTILINE)

Relation = Mapping[str, Any]


class Candidate:
    """One stanza of a package index, parsed where it is looked at (an index has 60,000)."""

    def __init__(self, stanza: str) -> None:
        self._stanza = stanza

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """The stanza's fields."""
        return cast(Mapping[str, str], Packages(self._stanza))

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fields["Package"]

    @property
    def version(self) -> str:
        """The package's version, with epoch and revision."""
        return self.fields["Version"]

    @cached_property
    def depends(self) -> tuple[Sequence[Relation], ...]:
        """Groups of alternatives of which the package needs one each: Pre-Depends first."""
        return (*self._groups("Pre-Depends"), *self._groups("Depends"))

    @cached_property
    def conflicts(self) -> tuple[Sequence[Relation], ...]:
        """What may not be there beside the package: Conflicts and Breaks."""
        return (*self._groups("Conflicts"), *self._groups("Breaks"))

    @cached_property
    def provides(self) -> Mapping[str, str | None]:
        """The virtual packages that this is, with the version it is them at, or none."""
        return {
            relation["name"]: relation["version"][1] if relation["version"] else None
            for group in self._groups("Provides")
            for relation in group
        }

    def _groups(self, field: str) -> tuple[Sequence[Relation], ...]:
        text = self.fields.get(field, "")
        return tuple(PkgRelation.parse_relations(text)) if text else ()


class PackageIndex:
    """A package list (`Packages`), by name and by what packages provide."""

    def __init__(self, text: str) -> None:
        self._named: dict[str, list[Candidate]] = {}
        self._providers: dict[str, list[Candidate]] = {}
        for stanza in re.split(r"\n{2,}", text):
            found = _NAME.search(stanza)
            if found is None:
                continue
            candidate = Candidate(stanza)
            self._named.setdefault(found[1], []).append(candidate)
            provided = _PROVIDES.search(stanza)
            for item in provided[1].split(",") if provided else ():
                self._providers.setdefault(re.split(r"[\s(:]", item.strip(), maxsplit=1)[0], []).append(candidate)

    def named(self, name: str) -> list[Candidate]:
        """The packages called `name`, newest first."""
        return sorted(self._named.get(name, []), key=lambda candidate: Version(candidate.version), reverse=True)

    def satisfying(self, relation: Relation) -> list[Candidate]:
        """The packages that satisfy a relation, best first: by name, newest first; else by priority, then name."""
        real = [found for found in self.named(relation["name"]) if satisfies(found, relation)]
        return real or sorted(
            (found for found in self._providers.get(relation["name"], []) if satisfies(found, relation)),
            key=lambda found: (_priority(found), found.name),
        )


def satisfies(candidate: Candidate, relation: Relation) -> bool:
    """Whether a package is what a relation asks for, in name (its own or one that it provides) and version."""
    if candidate.name == relation["name"]:
        return _version_fits(candidate.version, relation)
    if relation["name"] not in candidate.provides:
        return False
    version = candidate.provides[relation["name"]]
    # Debian Policy 7.5: an unversioned Provides never satisfies a versioned relation.
    return relation["version"] is None or (version is not None and _version_fits(version, relation))


def closure(index: PackageIndex, packages: Iterable[str]) -> tuple[Candidate, ...]:
    """The packages named, and everything that they need, sorted by name.

    Of several alternatives, one that is there already wins, else the first that can be satisfied; of several providers
    the one of the highest priority, then the first by name.

    Raises:
        UsageError: a package is not there, a dependency can't be satisfied (the chain to it is named), or two of the
            packages exclude each other.
    """
    chosen: dict[str, Candidate] = {}
    chains: dict[str, tuple[str, ...]] = {}
    for name in sorted(set(packages)):
        found = index.named(name)
        if not found:
            raise UsageError(f"There is no package {name} in the package list", hint="Correct debian.packages.")
        chosen[name], chains[name] = found[0], (name,)
    queue = sorted(chosen)
    while queue:
        name = queue.pop(0)
        added = []
        for group in chosen[name].depends:
            needed = _resolve(index, chosen, group, chains[name])
            if needed.name not in chosen:
                chosen[needed.name], chains[needed.name] = needed, (*chains[name], needed.name)
                added.append(needed.name)
        queue += sorted(added)
    for first, second in _conflicts(chosen):
        raise UsageError(f"The packages {first} and {second} exclude each other", hint="Correct debian.packages.")
    return tuple(chosen[name] for name in sorted(chosen))


def _resolve(
    index: PackageIndex, chosen: Mapping[str, Candidate], group: Sequence[Relation], chain: tuple[str, ...]
) -> Candidate:
    for relation in group:
        for name in sorted(chosen):
            if satisfies(chosen[name], relation):
                return chosen[name]
    for relation in group:
        for found in index.satisfying(relation):
            if found.name not in chosen:
                return found
    raise UsageError(
        f"{' needs '.join(chain)} needs {_text(group)}, and no package satisfies that",
        hint="Correct debian.packages, or lock against a mirror whose package list is whole.",
    )


def _conflicts(chosen: Mapping[str, Candidate]) -> Iterator[tuple[str, str]]:
    for name, candidate in sorted(chosen.items()):
        for group in candidate.conflicts:
            for relation in group:
                for other in sorted(chosen):
                    # A package may conflict with what it provides itself (Debian Policy 7.6.2).
                    if other != name and satisfies(chosen[other], relation):
                        yield name, other


def _version_fits(version: str, relation: Relation) -> bool:
    if relation["version"] is None:
        return True
    operator, wanted = relation["version"]
    mine, other = Version(version), Version(wanted)
    return _OPERATORS[operator]((mine > other) - (mine < other))


def _priority(candidate: Candidate) -> int:
    priority = candidate.fields.get("Priority", "extra")
    return _PRIORITIES.index(priority) if priority in _PRIORITIES else len(_PRIORITIES)


def _text(group: Sequence[Relation]) -> str:
    def one(relation: Relation) -> str:
        version = relation["version"]
        return str(relation["name"]) + (f" ({version[0]} {version[1]})" if version else "")

    return " | ".join(one(relation) for relation in group)
