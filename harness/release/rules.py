"""Rules: how bad a change is and which numbers it can move, from data files that users can edit."""

import fnmatch
import functools
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec

from harness.record.hashing import signature
from harness.release.report import Kind, Layer, Severity
from harness.spec.digest import Digest
from harness.spec.documents import Origin, convert_document, read_document

DEFAULTS = "drift.yaml"
PROJECT = "rules.yaml"

_NAME = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]*\Z")]


class Moves(StrEnum):
    """What a change can move: the numbers of every library, none, or those of the library that a wheel holds."""

    ALL = "all"
    NONE = "none"
    OWN = "own"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule. `path` is a glob (`*` crosses `/`), no `kinds` mean all, `moves` may list libraries that are probed."""

    layer: Layer
    path: Annotated[str, msgspec.Meta(min_length=1)] = "*"
    kinds: tuple[Kind, ...] = ()
    severity: Severity
    moves: Moves | Annotated[tuple[_NAME, ...], msgspec.Meta(min_length=1)]
    why: Annotated[str, msgspec.Meta(min_length=1)]

    def matches(self, layer: Layer, path: str, kind: Kind) -> bool:
        """Whether the rule is about such a change."""
        kinds = self.kinds or tuple(Kind)
        return self.layer is layer and kind in kinds and fnmatch.fnmatchcase(path, self.path)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...]


class Rules(msgspec.Struct, frozen=True):
    """Rules in their order: the first that matches decides."""

    rules: tuple[Rule, ...]

    @property
    def digest(self) -> Digest:
        """The digest of what they say; comments and the order of keys do not count, the order of rules does."""
        return signature(self.rules)

    def judge(self, layer: Layer, path: str, kind: Kind) -> Rule:
        """The rule that decides about a change; what no rule knows is major, and can move everything."""
        for rule in self.rules:
            if rule.matches(layer, path, kind):
                return rule
        return Rule(layer=layer, severity=Severity.MAJOR, moves=Moves.ALL, why="no rule knows it")


def load_rules(baselines: Path, path: Path | None = None) -> Rules:
    """The rules of a check: the project's own, before the harness's.

    The project's are `rules.yaml` in the folder `baselines`, where there is one, or the file `path` instead.

    Raises:
        UsageError: a file is missing or no strict YAML, or a rule is wrong. The message names file, line and key.
    """
    own = path or baselines / PROJECT
    project = _read(own) if path is not None or own.exists() else ()
    return Rules((*project, *default_rules()))


@functools.cache
def default_rules() -> tuple[Rule, ...]:
    """The rules that come with the harness (`harness/configs/drift.yaml`)."""
    with resources.as_file(resources.files("harness").joinpath("configs", DEFAULTS)) as path:
        return _read(path)


def _read(path: Path) -> tuple[Rule, ...]:
    document, origin = read_document(path)
    rules = convert_document(document, origin, _File).rules
    for index, rule in enumerate(rules):
        if not rule.why.strip():
            raise origin.error(("rules", index, "why"), "is empty", "Say in one sentence why.")
        if rule.moves is Moves.OWN and rule.layer is not Layer.WHEEL:
            raise origin.error(("rules", index, "moves"), "is own, but only a wheel holds a library", "List libraries.")
        if not isinstance(rule.moves, Moves) and (
            word := next((name for name in rule.moves if name in {*Moves}), None)
        ):
            raise origin.error(("rules", index, "moves"), f"lists {word!r}", f"Write moves: {word}, or list libraries.")
        _refuse_hidden(rules, index, origin)
    return rules


def _refuse_hidden(rules: tuple[Rule, ...], index: int, origin: Origin) -> None:
    """A rule that stands twice is a slip: the second could never decide."""
    rule = rules[index]
    for earlier, other in enumerate(rules[:index]):
        if (other.layer, other.path, other.kinds) == (rule.layer, rule.path, rule.kinds):
            line = origin.lines.get(("rules", earlier))
            problem = f"is about the same changes as the rule in line {line}, which decides"
            raise origin.error(("rules", index), problem, "Remove one of the two.")
