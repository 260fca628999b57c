"""What a difference can be, and what is known of the two runs that it is between."""

import functools
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Kind(StrEnum):
    """What differs. The last five say what was seen, and name no cause."""

    TIME = "time"
    DURATION = "duration"
    TOKEN = "token"  # noqa: S105
    ADDRESS = "address"
    PROCESS = "process"
    HOST = "host"
    FOLDER = "folder"
    ORDER = "order"
    DERIVED = "derived"
    NUMBER = "number"
    TEXT = "text"
    BYTES = "bytes"
    MISSING = "missing"
    EXIT = "exit code"


WORDS: Mapping[Kind, str] = {
    Kind.TIME: "a time or date",
    Kind.DURATION: "how long something took",
    Kind.TOKEN: "a random token",
    Kind.ADDRESS: "an address in memory",
    Kind.PROCESS: "a process's number",
    Kind.HOST: "the host's name",
    Kind.FOLDER: "the working folder's path",
    Kind.ORDER: "another order",
    Kind.DERIVED: "follows from another difference",
    Kind.NUMBER: "a number",
    Kind.TEXT: "text",
    Kind.BYTES: "bytes",
    Kind.MISSING: "only one run has it",
    Kind.EXIT: "how the program ended",
}
_NAMED = frozenset(Kind) - {Kind.NUMBER, Kind.TEXT, Kind.BYTES, Kind.MISSING, Kind.EXIT}
TIMES = frozenset({Kind.TIME, Kind.DURATION})
"""What "times aside" leaves out: the clock's own readings and differences of them."""
_SHOWN = 60


BEGINNING = 8
"""How many digits of a digest tell whose it is."""


class Digests(dict[str, str]):
    """The hexadecimal sha256 of each output by name, to be looked up by how it begins too."""

    @functools.cached_property
    def _names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name, digest in self.items():
            names.setdefault(digest[:BEGINNING], []).append(name)
        return names

    def beginning_with(self, digits: str) -> list[str]:
        """The outputs whose digest begins with these `BEGINNING` digits."""
        return self._names.get(digits, [])


class Facts(NamedTuple):
    """What is known of one run: what a value in it can be held against. Nulls where it was not recorded.

    `begun` is when the program started (UTC), `seconds` how long it ran, `folder` the one that it worked in, `digests`
    those of its outputs.
    """

    begun: datetime | None = None
    seconds: float | None = None
    host: str | None = None
    folder: str | None = None
    digests: Digests = Digests()


Pair = tuple[Facts, Facts]
UNKNOWN: Pair = (Facts(), Facts())


class Finding(NamedTuple):
    """One difference in a file: where, of which kind, both values as text, and what else there is to say of it."""

    where: str
    kind: Kind
    before: str = ""
    after: str = ""
    detail: str = ""


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All differences of one kind in one output, of which `where`, `before` and `after` show the first.

    `file` is the output's name, or `stdout`. `sources` say which lines of the program asked for what can cause it.
    `explained` is whether a cause was seen, and not only a difference.
    """

    file: str
    where: str
    kind: Kind
    before: str
    after: str
    detail: str
    count: int
    sources: tuple[str, ...]
    explained: bool

    def __str__(self) -> str:
        """The cause as one line for people."""
        parts = [f"{self.file}, {self.where}: {WORDS[self.kind]}"]
        if self.before or self.after:
            parts.append(f" ({self.before or 'nothing'} → {self.after or 'nothing'})")
        if self.detail:
            parts.append(f": {self.detail}")
        if self.count > 1:
            parts.append(f", and {self.count - 1} more of the kind")
        if self.sources:
            doubt = "" if self.kind in _NAMED and self.kind is not Kind.ORDER else ", which may be the cause"
            parts.append(f"; {', '.join(self.sources)}{doubt}")
        if not self.explained:
            parts.append("; the cause is not known")
        return "".join(parts)


def shown(text: str) -> str:
    """A value short enough for a line, with nothing in it that a terminal would act on."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text[: _SHOWN + 1])
    return plain if len(text) <= _SHOWN else f"{plain[:_SHOWN]}…"


def names_a_cause(kind: Kind) -> bool:
    """Whether the kind itself is a cause that repeats in no run."""
    return kind in _NAMED
