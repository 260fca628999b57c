"""The closure of some Debian packages over Depends and Pre-Depends: pure, and the same for every order of asking.

Relations mean what Debian means by them: versions, alternatives and virtual packages (Debian Policy 7), and qualifiers
and restrictions of architecture (deb-control(5), https://wiki.debian.org/Multiarch/HOWTO).
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import msgspec
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

# Far above what real packages need; so that a package list made to be hard can't take hours.
_ATTEMPTS = 10_000

Relation = Mapping[str, Any]
"""One alternative of a dependency, in python-debian's words: `name`, `archqual`, `version`, `arch`, `restrictions`."""


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
    def conflicts(self) -> tuple[tuple[str, tuple[Sequence[Relation], ...]], ...]:
        """What may not be there beside the package, by field: Conflicts and Breaks."""
        return (("Conflicts with", self._groups("Conflicts")), ("Breaks", self._groups("Breaks")))

    @cached_property
    def provides(self) -> Mapping[str, str | None]:
        """The virtual packages that this is, with the version it is them at, or none."""
        return {
            relation["name"]: relation["version"][1] if relation["version"] else None
            for group in self._groups("Provides")
            for relation in group
        }

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"{self.name} ({self.version})"

    def _groups(self, field: str) -> tuple[Sequence[Relation], ...]:
        text = self.fields.get(field, "")
        return tuple(PkgRelation.parse_relations(text)) if text else ()


class PackageIndex:
    """A package list (`Packages`) of one architecture, by name and by what packages provide."""

    def __init__(self, text: str, architecture: str = "amd64") -> None:
        self.architecture = architecture
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
        return _newest_first(self._named.get(name, []))

    def satisfying(self, relation: Relation) -> list[Candidate]:
        """The packages that satisfy a relation, best first: by name, newest first; then by priority, then name."""
        real = [found for found in self.named(relation["name"]) if satisfies(found, relation, self.architecture)]
        virtual = [
            found
            for found in _newest_first(self._providers.get(relation["name"], []))
            if found.name != relation["name"] and satisfies(found, relation, self.architecture)
        ]
        return real + sorted(virtual, key=lambda found: (_priority(found), found.name))


def _newest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda candidate: Version(candidate.version), reverse=True)


def satisfies(candidate: Candidate, relation: Relation, architecture: str = "amd64") -> bool:
    """Whether a package is what a relation asks for, in name (its own or one that it provides), version and qualifier.

    `name:any` is a package that says it may serve other architectures (`Multi-Arch: allowed`), `name:native` and
    `name:amd64` one of this architecture; `all` counts as every architecture's.
    """
    if not _qualifies(candidate, relation, architecture):
        return False
    if candidate.name == relation["name"]:
        return _version_fits(candidate.version, relation)
    if relation["name"] not in candidate.provides:
        return False
    version = candidate.provides[relation["name"]]
    # Debian Policy 7.5: an unversioned Provides never satisfies a versioned relation.
    return relation["version"] is None or (version is not None and _version_fits(version, relation))


def applies(relation: Relation, architecture: str) -> bool:
    """Whether a relation is meant for an architecture: `name [amd64 arm64]` and `name [!i386]` leave others out."""
    listed = relation.get("arch") or ()
    if not listed:
        return True
    wanted = {name for enabled, name in listed if enabled}
    names = {architecture, "any", "linux-any", f"any-{architecture}"}
    return bool(names & wanted) if wanted else not names & {name for _, name in listed}


class Closure(msgspec.Struct, frozen=True):
    """Packages sorted by name, and the way to each: from one that was asked for to the package itself."""

    candidates: tuple[Candidate, ...]
    chains: dict[str, tuple[str, ...]]


def closure(index: PackageIndex, packages: Iterable[str]) -> tuple[Candidate, ...]:
    """As `find_closure`, the packages alone."""
    return find_closure(index, packages).candidates


def find_closure(index: PackageIndex, packages: Iterable[str]) -> Closure:
    """The packages named, and everything that they need, sorted by name.

    Of several alternatives, one that is there already wins, else the first that can be had; of several packages of a
    virtual name, the one really called so, then the highest priority, then the first by name. Where a choice leads to
    a conflict or to what cannot be had, the next one is tried, the latest choice first.

    Raises:
        UsageError: a package is not there, a dependency can't be satisfied, or packages exclude each other however one
            chooses. The way to each is named.
    """
    attempt = _Attempt(index)
    for name in sorted(set(packages)):
        found = index.named(name)
        if not found:
            raise UsageError(f"There is no package {name} in the package list", hint="Correct debian.packages.")
        if problem := attempt.add(found[0], ()):
            raise UsageError(problem, hint="Correct debian.packages.")
    attempt.ask_all()
    untried: list[tuple[_Attempt, list[Candidate], tuple[str, ...]]] = []
    first: str | None = None
    for _ in range(_ATTEMPTS):
        problem, choice = attempt.advance()
        if choice is not None:
            candidates, chain = choice
            untried.append((attempt.copy(), candidates[1:], chain))
            problem = attempt.add(candidates[0], chain)
        if problem is None and choice is None:
            return attempt.closure()
        while problem is not None:
            first = first or problem
            while untried and not untried[-1][1]:
                untried.pop()
            if not untried:
                raise UsageError(first, hint=_HINT)
            saved, candidates, chain = untried[-1]
            attempt = saved.copy()
            problem = attempt.add(candidates.pop(0), chain)
    raise UsageError(
        f"The packages exclude each other in more than {_ATTEMPTS} ways: {first}", hint="Correct debian.packages."
    )


_HINT = "Correct debian.packages, or lock against a mirror whose package list is whole."


class _Attempt:
    """A closure in the making: what is chosen, and whose dependencies are still to be looked at."""

    def __init__(self, index: PackageIndex) -> None:
        self._index = index
        self._chosen: dict[str, Candidate] = {}
        self._chains: dict[str, tuple[str, ...]] = {}
        self._queue: deque[str] = deque()
        self._groups: deque[Sequence[Relation]] = deque()
        self._owner = ""
        self._added: list[str] = []

    def copy(self) -> "_Attempt":
        other = _Attempt(self._index)
        other._chosen, other._chains = dict(self._chosen), dict(self._chains)
        other._queue, other._groups, other._added = deque(self._queue), deque(self._groups), list(self._added)
        other._owner = self._owner
        return other

    def ask_all(self) -> None:
        """Begin with what was added so far."""
        self._queue, self._added = deque(sorted(self._added)), []

    def closure(self) -> Closure:
        return Closure(tuple(self._chosen[name] for name in sorted(self._chosen)), self._chains)

    def add(self, candidate: Candidate, chain: tuple[str, ...]) -> str | None:
        """Take a package; or say which one excludes it."""
        self._chains[candidate.name] = (*chain, candidate.name)
        for name in sorted(self._chosen):
            other = self._chosen[name]
            for one, two in ((candidate, other), (other, candidate)):
                if relation := _excludes(one, two, self._index.architecture):
                    return self._conflict(one, two, relation)
        self._chosen[candidate.name] = candidate
        self._added.append(candidate.name)
        return None

    def advance(self) -> tuple[str | None, tuple[list[Candidate], tuple[str, ...]] | None]:
        """Look at dependencies until there is a choice, what cannot be had (in words), or neither: then all is done."""
        while True:
            while self._groups:
                group = [one for one in self._groups.popleft() if applies(one, self._index.architecture)]
                if not group or self._is_there(group):
                    continue
                chain = self._chains[self._owner]
                found = [item for one in group for item in self._index.satisfying(one) if item.name not in self._chosen]
                if not found:
                    return self._missing(group, chain), None
                if len(found) > 1:
                    return None, (found, chain)
                if problem := self.add(found[0], chain):
                    return problem, None
            self._queue += sorted(self._added)
            self._added = []
            if not self._queue:
                return None, None
            self._owner = self._queue.popleft()
            self._groups = deque(self._chosen[self._owner].depends)

    def _is_there(self, group: Sequence[Relation]) -> bool:
        architecture = self._index.architecture
        return any(satisfies(found, relation, architecture) for relation in group for found in self._chosen.values())

    def _missing(self, group: Sequence[Relation], chain: tuple[str, ...]) -> str:
        problem = f"{' needs '.join(chain)} needs {relation_text(group)}, and no package satisfies that"
        if other := next((self._chosen[one["name"]] for one in group if one["name"] in self._chosen), None):
            problem += f": {other.label} is there, because {self._because(other.name)}"
        return problem

    def _conflict(self, one: Candidate, two: Candidate, relation: tuple[str, Relation]) -> str:
        field, what = relation
        return (
            f"{one.name} and {two.name} exclude each other: {one.label} {field.lower()} {relation_text([what])}"
            f"{'' if what['name'] == two.name else ', which ' + two.name + ' provides'}; "
            f"{self._because(one.name)}, and {self._because(two.name)}"
        )

    def _because(self, name: str) -> str:
        chain = self._chains[name]
        return f"{name} is asked for" if len(chain) == 1 else " needs ".join(chain)


def _excludes(one: Candidate, two: Candidate, architecture: str) -> tuple[str, Relation] | None:
    """The field and relation by which `one` can't be beside `two`, if it can't."""
    for field, groups in one.conflicts:
        for group in groups:
            for relation in group:
                # A package may conflict with what it provides itself (Debian Policy 7.6.2).
                if one.name != two.name and applies(relation, architecture) and satisfies(two, relation, architecture):
                    return field, relation
    return None


def _qualifies(candidate: Candidate, relation: Relation, architecture: str) -> bool:
    qualifier = relation.get("archqual")
    if qualifier is None:
        return True
    if qualifier == "any":
        return candidate.fields.get("Multi-Arch") == "allowed"
    return qualifier in ("native", architecture)


def _version_fits(version: str, relation: Relation) -> bool:
    if relation["version"] is None:
        return True
    operator, wanted = relation["version"]
    mine, other = Version(version), Version(wanted)
    return _OPERATORS[operator]((mine > other) - (mine < other))


def _priority(candidate: Candidate) -> int:
    priority = candidate.fields.get("Priority", "extra")
    return _PRIORITIES.index(priority) if priority in _PRIORITIES else len(_PRIORITIES)


def relation_text(group: Sequence[Relation]) -> str:
    """Alternatives as a control file writes them."""

    def one(relation: Relation) -> str:
        version, qualifier = relation["version"], relation.get("archqual")
        name = f"{relation['name']}:{qualifier}" if qualifier else str(relation["name"])
        return name + (f" ({version[0]} {version[1]})" if version else "")

    return " | ".join(one(relation) for relation in group)
