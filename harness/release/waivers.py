"""Waivers: exact changes that somebody answers for until a day, in a committed `<release>.waivers.yaml`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from harness.record.hashing import signature
from harness.release.report import (
    NUMBERS,
    Change,
    DriftReport,
    EnvironmentDrift,
    Layer,
    WaiverOutcome,
    WaiverState,
)
from harness.spec.digest import hexadecimal
from harness.spec.documents import Origin, convert_document, read_document

SUFFIX = ".waivers.yaml"
LONGEST = timedelta(days=366)
"""How far ahead a waiver may expire: what is right for longer belongs into the rules, or into the next baseline."""


class Cover(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One change, exactly: `before` is null where it was added, `after` where it was removed."""

    layer: Layer
    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.layer.value} {self.path} ({_step(self.before, self.after)})"


class Waiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who answers for which changes of which environment of the baseline, why, and through which day (UTC)."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
    author: str
    reason: str
    expires: str
    environment: str
    covers: tuple[Cover, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    waivers: tuple[Waiver, ...]


class Examined(msgspec.Struct, frozen=True):
    """What of one environment was looked at: these layers, but for the changes called `left_out` (`Change.name`)."""

    layers: frozenset[Layer]
    left_out: frozenset[str] = frozenset()

    def holds(self, cover: Cover) -> bool:
        """Whether a change there would have been found."""
        return cover.layer in self.layers and f"{cover.layer.value} {cover.path}" not in self.left_out


EVERYTHING = Examined(frozenset(Layer))


def needs_waiver(change: Change) -> bool:
    """Whether a check fails while nobody answers for `change`: where it is bad by itself, or where it is a number."""
    return change.fails or (change.layer in NUMBERS and change.waived_by is None)


def unanswered(report: DriftReport) -> tuple[Change, ...]:
    """The changes of a check that need a waiver, in its order."""
    return tuple(change for drift in report.environments for change in drift.changes if needs_waiver(change))


def load_waivers(path: Path, *, today: date) -> tuple[Waiver, ...]:
    """The waivers of a file, in its order.

    Raises:
        UsageError: the file is no strict YAML, a key is unknown, missing or mistyped, an author or reason is empty,
            nothing is covered, an expiry is no date or more than 366 days from `today`, an id is given twice, or
            two waivers cover the same change. The message names file, line and key.
    """
    document, origin = read_document(path)
    waivers = convert_document(document, origin, _File).waivers
    for index, waiver in enumerate(waivers):
        _check(waiver, index, origin, today)
    _refuse_twins(waivers, origin)
    return waivers


def apply_waivers(
    drifts: Sequence[EnvironmentDrift],
    waivers: Sequence[Waiver],
    *,
    today: date,
    examined: Mapping[str, Examined],
) -> tuple[tuple[EnvironmentDrift, ...], tuple[WaiverOutcome, ...]]:
    """The drifts with `waived_by` set on the changes that a valid waiver covers, and what became of each waiver.

    `examined` is by the baseline's environment; one that is not in it was not looked at.
    """
    outcomes = tuple(_outcome(waiver, drifts, today, examined.get(waiver.environment)) for waiver in waivers)
    valid = [waiver for waiver in waivers if not _expired(waiver, today)]
    owners = {(waiver.environment, cover): waiver.id for waiver in valid for cover in waiver.covers}
    return tuple(_waived(drift, owners) for drift in drifts), outcomes


def draft_waivers(report: DriftReport) -> str:
    """YAML with one waiver an environment over every change that needs one; people, reasons and days are left open.

    `load_waivers` refuses it until they are filled in.
    """
    found = [(drift, [change for change in drift.changes if needs_waiver(change)]) for drift in report.environments]
    lines = [line for drift, changes in found if changes for line in _draft(drift.name, changes)]
    if not lines:
        return "waivers: []\n"
    head = [
        f"# Waivers for the check against baseline {report.baseline}. Split them where reasons differ; each covers",
        f"# exactly what it names, through the day it expires (YYYY-MM-DD, {LONGEST.days} days ahead at the most).",
        "waivers:",
    ]
    return "\n".join([*head, *lines]) + "\n"


def _check(waiver: Waiver, index: int, origin: Origin, today: date) -> None:
    place = ("waivers", index)
    for key, hint in (("author", "Name who answers for it."), ("reason", "Say why the change is acceptable.")):
        if not any(character.isalnum() for character in getattr(waiver, key)):  # what nobody sees is no name
            raise origin.error((*place, key), "is empty", hint)
    if not waiver.covers:
        raise origin.error((*place, "covers"), "is empty", "Name the changes; `--draft-waivers` writes them down.")
    expires = _day(waiver.expires)
    if expires is None:
        raise origin.error((*place, "expires"), f"is {waiver.expires!r}, which is no date", "Write it as 2030-12-31.")
    if expires - today > LONGEST:
        problem = f"is {waiver.expires}, more than {LONGEST.days} days from today ({today})"
        hint = "Choose an earlier day. What holds for longer belongs into the rules, or into the next baseline."
        raise origin.error((*place, "expires"), problem, hint)


def _refuse_twins(waivers: Sequence[Waiver], origin: Origin) -> None:
    ids: dict[str, int] = {}
    covered: dict[tuple[str, Cover], str] = {}
    for index, waiver in enumerate(waivers):
        if waiver.id in ids:
            line = origin.lines.get(("waivers", ids[waiver.id], "id"))
            hint = f"Line {line} has it already. Give each waiver an id of its own."
            raise origin.error(("waivers", index, "id"), f"is {waiver.id!r}, as that of another waiver", hint)
        ids[waiver.id] = index
        for number, cover in enumerate(waiver.covers):
            place = ("waivers", index, "covers", number)
            if (owner := covered.get((waiver.environment, cover))) is not None:
                raise origin.error(
                    place, f"covers {cover}, which waiver {owner} covers already", "Keep one of the two."
                )
            covered[waiver.environment, cover] = waiver.id


def _day(text: str) -> date | None:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _expired(waiver: Waiver, today: date) -> bool:
    return date.fromisoformat(waiver.expires) < today


def _outcome(
    waiver: Waiver, drifts: Sequence[EnvironmentDrift], today: date, examined: Examined | None
) -> WaiverOutcome:
    changes = [change for drift in drifts if drift.name == waiver.environment for change in drift.changes]
    state, detail = _judge(waiver, changes, today, examined)
    return WaiverOutcome(
        id=waiver.id,
        author=waiver.author,
        reason=waiver.reason,
        expires=waiver.expires,
        state=state,
        detail=detail,
    )


def _judge(
    waiver: Waiver, changes: Sequence[Change], today: date, examined: Examined | None
) -> tuple[WaiverState, str]:
    if _expired(waiver, today):
        return WaiverState.EXPIRED, f"expired after {waiver.expires}: renew it, or remove it with what it covered"
    if examined is None:
        return WaiverState.NOT_EXAMINED, f"environment {waiver.environment} was not looked at"
    found = {_cover(change) for change in changes}
    matched = [cover for cover in waiver.covers if cover in found]
    missing = [cover for cover in waiver.covers if cover not in found and examined.holds(cover)]
    if missing:
        return WaiverState.UNMATCHED, "; ".join(_missing(cover, changes) for cover in missing)
    if not matched:
        return WaiverState.NOT_EXAMINED, f"not looked at: {', '.join(map(str, waiver.covers))}"
    rest = len(waiver.covers) - len(matched)
    return WaiverState.USED, f"covers {len(matched)} of the changes" + (f"; {rest} not looked at" if rest else "")


def _missing(cover: Cover, changes: Sequence[Change]) -> str:
    others = [_step(change.before, change.after) for change in changes if (change.layer, change.path) == _place(cover)]
    return f"no such change: {cover}" + (f"; what changed there is {' and '.join(others)}" if others else "")


def _place(cover: Cover) -> tuple[Layer, str]:
    return cover.layer, cover.path


def _cover(change: Change) -> Cover:
    return Cover(layer=change.layer, path=change.path, before=change.before, after=change.after)


def _step(before: str | None, after: str | None) -> str:
    if before is None:
        return f"added {after}"
    return f"removed {before}" if after is None else f"{before} → {after}"


def _waived(drift: EnvironmentDrift, owners: Mapping[tuple[str, Cover], str]) -> EnvironmentDrift:
    changes = tuple(
        msgspec.structs.replace(change, waived_by=owners.get((drift.name, _cover(change)))) for change in drift.changes
    )
    return msgspec.structs.replace(drift, changes=changes)


def _draft(environment: str, changes: Sequence[Change]) -> Iterator[str]:
    covers = [_cover(change) for change in changes]
    yield f"  - id: {_quoted(f'{environment}-{hexadecimal(signature(covers))[:8]}')}"
    yield '    author: ""'
    yield '    reason: ""'
    yield '    expires: ""'
    yield f"    environment: {_quoted(environment)}"
    yield "    covers:"
    for cover in covers:
        yield f"      - layer: {cover.layer.value}"
        yield f"        path: {_quoted(cover.path)}"
        yield f"        before: {_quoted(cover.before)}"
        yield f"        after: {_quoted(cover.after)}"


def _quoted(text: str | None) -> str:
    """A scalar in YAML's double quotes (https://yaml.org/spec/1.2.2/#731-double-quoted-style), null as such."""
    if text is None:
        return "null"
    escaped = (f"\\{c}" if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)
    return f'"{"".join(escaped)}"'
