"""A caller's hyperparameters, under whichever alias they came, and what determinism makes of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import UsageError
from harness.spec.documents import suggestion


class Parameters:
    """The hyperparameters that a caller gave one library. `aliases` maps every known spelling to the name proper.

    Raises:
        UsageError: a spelling is not known.
    """

    def __init__(self, library: str, config: Mapping[str, Any], aliases: Mapping[str, str]) -> None:
        self.library = library
        self.overrides: list[str] = []
        self._given: dict[str, list[tuple[str, Any]]] = {}
        for spelling, value in config.items():
            if spelling not in aliases:
                raise UsageError(
                    f"{library} has no hyperparameter {spelling!r}", hint=suggestion(str(spelling), sorted(aliases))
                )
            self._given.setdefault(aliases[spelling], []).append((spelling, value))

    def get(self, name: str, default: Any = None) -> Any:
        """What the caller gave for `name`.

        Raises:
            UsageError: it was given under two aliases.
        """
        given = self._given.get(name, [])
        if len(given) > 1:
            spellings = " and ".join(spelling for spelling, _ in given)
            raise UsageError(f"{self.library}: {spellings} are one hyperparameter, given twice", hint="Keep one.")
        return given[0][1] if given else default

    def force(self, name: str, value: Any, why: str) -> None:
        """Make `name` be `value`; where the caller wanted something else, note that it was overridden."""
        for spelling, wanted in self._given.get(name, []):
            if wanted != value or type(wanted) is not type(value):
                self.overrides.append(f"{self.library}: {spelling}={wanted!r} is overridden by {value!r}: {why}")
        self._given[name] = [(name, value)]

    def drop(self, names: Iterable[str], why: str) -> None:
        """Leave out what determinism decides by other means, noting each that the caller gave."""
        for name in names:
            for spelling, wanted in self._given.pop(name, []):
                self.overrides.append(f"{self.library}: {spelling}={wanted!r} is left out: {why}")

    def refuse(self, names: Iterable[str], why: str, hint: str) -> None:
        """Refuse what cannot be had.

        Raises:
            UsageError: the caller gave one of `names`, with a value that is not false or null.
        """
        for name in names:
            for spelling, wanted in self._given.get(name, []):
                if wanted is not None and wanted is not False:
                    raise UsageError(f"{self.library}: {spelling}={wanted!r} is refused: {why}", hint=hint)

    def default(self, name: str, value: Any) -> None:
        """Make `name` be `value` where the caller said nothing."""
        self._given.setdefault(name, [(name, value)])

    def pop(self, name: str, default: Any = None) -> Any:
        """As `get`, and take it out."""
        value = self.get(name, default)
        self._given.pop(name, None)
        return value

    def values(self) -> dict[str, Any]:
        """All of them by their proper names, sorted."""
        return {name: self.get(name) for name in sorted(self._given)}


def number(library: str, name: str, value: Any, *, above: float | None = None, least: float | None = None) -> float:
    """`value` if it is a finite number within its bounds.

    Raises:
        UsageError: it isn't.
    """
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if not fits or (above is not None and not value > above) or (least is not None and not value >= least):
        bound = f" above {above:g}" if above is not None else f" of at least {least:g}" if least is not None else ""
        raise UsageError(f"{library}: {name} is {value!r}", hint=f"It must be a number{bound}.")
    return float(value)


def integer(library: str, name: str, value: Any, *, least: int) -> int:
    """`value` if it is a whole number of at least `least`.

    Raises:
        UsageError: it isn't.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{library}: {name} is {value!r}", hint=f"It must be a whole number of at least {least}.")
    return value
