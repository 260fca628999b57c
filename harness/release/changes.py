"""What differs between two states: one difference for each path of each layer that is not as it was."""

import re
from collections.abc import Mapping

import msgspec

from harness.release.entries import Entries, Entry, Scheme
from harness.release.report import Kind, Layer

_ORDER = {layer: index for index, layer in enumerate(Layer)}
_LOOSE = re.compile(r"(?:[A-Za-z]+ )?v?(\d[A-Za-z0-9.+~_-]*)")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A change before anybody judged it. `before` or `after` is null where it was added or removed.

    `facts` are the names of the entry's facts that differ, where there is one on both sides.
    """

    layer: Layer
    path: str
    kind: Kind
    before: str | None
    after: str | None
    facts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As `Change.name`."""
        return f"{self.layer.value} {self.path}"


def differences(before: Entries, after: Entries) -> tuple[Difference, ...]:
    """All that differs, in the order of layers, then paths."""
    found = [
        _difference(layer, path, before.get((layer, path)), after.get((layer, path)))
        for layer, path in before.keys() | after.keys()
        if before.get((layer, path)) != after.get((layer, path))
    ]
    return in_order(found)


def in_order(found: "list[Difference] | tuple[Difference, ...]") -> tuple[Difference, ...]:
    """Differences in the order of layers, then paths."""
    return tuple(sorted(found, key=lambda difference: (_ORDER[difference.layer], difference.path)))


def simple(layer: Layer, path: str, before: str | None, after: str | None) -> Difference:
    """A difference between two values that have no versions."""
    kind = Kind.ADDED if before is None else Kind.REMOVED if after is None else Kind.CHANGED
    return Difference(layer=layer, path=path, kind=kind, before=before, after=after)


def _difference(layer: Layer, path: str, before: Entry | None, after: Entry | None) -> Difference:
    if before is None or after is None:
        shown = [None if entry is None else _shown(entry, list(entry.facts)) for entry in (before, after)]
        return simple(layer, path, shown[0], shown[1])
    facts = _differing(before.facts, after.facts)
    details = [] if facts or before.value != after.value else _differing(before.details, after.details)
    return Difference(
        layer=layer,
        path=path,
        kind=_kind(before, after, facts),
        before=_shown(before, facts, details),
        after=_shown(after, facts, details),
        facts=tuple(facts),
    )


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def _shown(entry: Entry, facts: list[str], details: list[str] | None = None) -> str:
    """A value and what is said beside it: `2.4.6, wheel sha256:…`."""
    beside = [(name, entry.facts.get(name)) for name in facts]
    beside += [(name, entry.details.get(name)) for name in details or ()]
    return ", ".join([entry.value, *(f"{name} {value}" for name, value in beside if value is not None)])


def _kind(before: Entry, after: Entry, facts: list[str]) -> Kind:
    if before.value != after.value:
        order = _compared(before, after)
        return Kind.CHANGED if not order else Kind.UPGRADED if order > 0 else Kind.DOWNGRADED
    bytes_alone = all(entry.facts.get(name, "").startswith("sha256:") for name in facts for entry in (before, after))
    return Kind.REBUILT if facts and bytes_alone else Kind.CHANGED


def _compared(before: Entry, after: Entry) -> int:
    """1 where `after` is the later version, -1 where it is the earlier, 0 where that cannot be said."""
    if before.scheme is not after.scheme:
        return 0
    match before.scheme:
        case Scheme.PYTHON:
            return _python_order(before.value, after.value)
        case Scheme.DEBIAN:
            return _debian_order(before.value, after.value)
        case Scheme.LOOSE:
            old, new = _LOOSE.fullmatch(before.value), _LOOSE.fullmatch(after.value)
            return _debian_order(old.group(1), new.group(1)) if old and new else 0
    return 0


def _python_order(before: str, after: str) -> int:
    from packaging.version import InvalidVersion, Version

    try:
        old, new = Version(before), Version(after)
    except InvalidVersion:
        return 0
    return (new > old) - (new < old)


def _debian_order(before: str, after: str) -> int:
    from debian.debian_support import Version  # only where versions differ: a check of equal states need not wait

    try:
        old, new = Version(before), Version(after)
    except ValueError:
        return 0
    return int(new > old) - int(new < old)
