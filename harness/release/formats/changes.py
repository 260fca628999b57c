"""Roots and consequences: which changes are but the consequence of which other."""

from collections.abc import Sequence

import msgspec

from harness.release.report import Change, Layer


class Together(msgspec.Struct, frozen=True):
    """A change that stands for itself, and what followed from it alone."""

    root: Change
    consequences: tuple[Change, ...]


class Folded(msgspec.Struct, frozen=True):
    """Changes by what they follow from. `shared` followed from several roots together."""

    roots: tuple[Together, ...]
    shared: tuple[Change, ...]


def fold(changes: Sequence[Change]) -> Folded:
    """The changes in their order, consequences with their root; one whose roots are not among them stands for itself.

    Numbers are never folded away: a probe kernel or golden cell that changed is an answer of its own.
    """
    by_name = {change.name: change for change in changes}
    found = {change.name: roots_of(change, by_name) for change in changes}
    own: dict[str, list[Change]] = {}
    shared = []
    for change in changes:
        roots = found[change.name]
        if roots == (change.name,):
            own.setdefault(change.name, [])
        elif len(roots) == 1:
            own.setdefault(roots[0], []).append(change)
        else:
            shared.append(change)
    roots_in_order = [change for change in changes if change.name in own]
    return Folded(tuple(Together(change, tuple(own[change.name])) for change in roots_in_order), tuple(shared))


def roots_of(change: Change, by_name: dict[str, Change]) -> tuple[str, ...]:
    """The names of the changes that `change` comes from in the end; its own where it comes from none that is known."""
    if change.layer in (Layer.PROBE, Layer.GOLDEN):
        return (change.name,)
    roots: dict[str, None] = {}
    seen = {change.name}
    waiting = list(change.follows_from)
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        further = [cause for cause in by_name[name].follows_from if cause in by_name]
        if further:
            waiting.extend(further)
        else:
            roots[name] = None
    return tuple(roots) or (change.name,)
