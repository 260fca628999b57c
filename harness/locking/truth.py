"""What `[ … ]` and `case` answer, as far as the words are known: Kleene's logic, of which nothing is run."""

import fnmatch
from collections.abc import Sequence
from enum import IntEnum

_PATH_TESTS = tuple(f"-{letter}" for letter in "abcdefghkprsuwxGLNOS")
_BINARY_TESTS = ("=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef")

Word = str | None
"""A word of a command: its text, or null where only a run of the script could tell."""


class Truth(IntEnum):
    """Whether a command succeeds: Kleene's logic, in which a fresh system presumably lacks what a script looks for."""

    NO = -2
    PRESUMABLY_NOT = -1
    MAYBE = 0
    PRESUMABLY = 1
    YES = 2

    @property
    def opposite(self) -> "Truth":
        """The truth of the negation."""
        return Truth(-self)


class Test:
    """The words of `[ … ]` as a truth. Grammar: POSIX, with `-a` and `-o`."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = list(words)
        self._place = 0

    def truth(self) -> Truth:
        """The truth of all words; `MAYBE` where the grammar leaves some over."""
        if not self._words:
            return Truth.NO
        truth = self._or()
        return truth if self._place == len(self._words) else Truth.MAYBE

    def _peek(self, ahead: int = 0) -> Word:
        place = self._place + ahead
        return self._words[place] if place < len(self._words) else ""

    def _or(self) -> Truth:
        truth = self._and()
        while self._peek() == "-o":
            self._place += 1
            truth = max(truth, self._and())
        return truth

    def _and(self) -> Truth:
        truth = self._not()
        while self._peek() == "-a":
            self._place += 1
            truth = min(truth, self._not())
        return truth

    def _not(self) -> Truth:
        if len(self._words) - self._place >= 3 and self._peek(1) in _BINARY_TESTS:
            return self._primary()  # also of words that look like operators
        if self._peek() == "!":
            self._place += 1
            return self._not().opposite
        if self._peek() == "(":
            self._place += 1
            truth = self._or()
            self._place += 1
            return truth
        return self._primary()

    def _primary(self) -> Truth:
        first, second, third = (self._peek(ahead) for ahead in range(3))
        left = len(self._words) - self._place
        if left >= 3 and second in _BINARY_TESTS:
            self._place += 3
            return _compared(first, str(second), third)
        if left >= 2 and first in ("-n", "-z"):
            self._place += 2
            empty = Truth.MAYBE if second is None else Truth.NO if second else Truth.YES
            return empty if first == "-z" else empty.opposite
        if left >= 2 and first in _PATH_TESTS:
            self._place += 2
            return Truth.MAYBE if second is None else Truth.PRESUMABLY_NOT if second else Truth.NO
        self._place += 1
        return Truth.MAYBE if first is None else Truth.YES if first else Truth.NO


def _compared(one: Word, operator: str, other: Word) -> Truth:
    if one is None or other is None:
        return Truth.MAYBE
    if operator == "=":
        return Truth.YES if one == other else Truth.NO
    if operator == "==" and one != other:
        return Truth.NO  # dash knows no `==`, and fails
    if operator == "!=":
        return Truth.NO if one == other else Truth.YES
    return Truth.MAYBE


def matches(value: Word, pattern: Word) -> Truth:
    """Whether a value matches a pattern in the form of `fnmatch`, or null for one that is not known."""
    if pattern == "*":
        return Truth.YES
    if value is None or pattern is None:
        return Truth.MAYBE
    return Truth.YES if fnmatch.fnmatchcase(value, pattern) else Truth.NO
