"""Text as tokens, and what two tokens that differ are: held against what is known of both runs, never guessed.

A time must lie within its own run, a duration must be shorter than it, a digest must be that of an output. What no rule
recognises in both runs is a number or text.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from harness.record.explain.cause import BEGINNING, Facts, Finding, Kind, Pair, shown

_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_TOKEN = re.compile(
    rf"""
    (?P<uuid>(?<![0-9a-fA-F])[0-9a-fA-F]{{8}}-(?:[0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}(?![0-9a-fA-F]))
    |(?P<temporary>/tmp/(?:[\w.-]{{0,80}}[a-z0-9_]{{8}}/){{0,4}}(?:[\w.-]{{0,80}}[^\w.-])?[\w.-]{{0,160}}[a-z0-9_]{{8}}(?!\w))
    |(?P<moment>(?<!\d)\d{{4}}-\d\d-\d\d[T\ _-]\d\d[:-]?\d\d[:-]?\d\d(?:[.,]\d{{1,9}})?(?:Z|[+-]\d\d:?\d\d)?(?!\d)
        |(?<!\d)20\d{{6}}[-_T]?\d{{6}}(?:[-_.]?\d{{6}})?Z?(?!\d)
        |(?:(?:{_DAYS}),?\ +)?(?:{_MONTHS})\ +\d{{1,2}},?\ +\d\d:\d\d:\d\d\ +(?:[A-Z]{{3,4}}\ +)?\d{{4}}
        |(?<!\d)(?:\d{{4}}[-/]\d\d[-/]\d\d|20\d{{6}}|\d\d[./]\d\d[./]20\d\d)(?!\d))
    |(?P<clock>(?<![\d:])(?:\d{{1,2}}:)?\d{{1,2}}:\d\d(?:[.,]\d{{1,9}})?(?![\d:]))
    |(?P<address>\b0x[0-9a-fA-F]{{6,16}}\b)
    |(?P<hex>(?<![0-9A-Za-z])(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{{6,128}}(?![0-9A-Za-z]))
    |(?P<number>(?:(?<![\w.)\]])[-+])?(?:\d+(?:\.\d*)?|(?<!\d)\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<word>[^\W\d_]+)
    |(?P<other>\s+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_UNITS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "mins": 60.0, "minutes": 60.0, "h": 3600.0,
}  # fmt: skip
_DURATION = re.compile(
    r"(?:^|[^a-z])(?:time|times|timing|seconds?|secs?|ms|millis|elapsed|duration|took|wall|latency|eta|runtime|uptime)"
    r"(?:[^a-z]|$)",
    re.IGNORECASE,
)
_RATE = re.compile(r"(?:(?<![a-z])[a-z]+/s|per_sec(?:ond)?|throughput|speed)(?:[^a-z]|$)", re.IGNORECASE)
_PROCESS = re.compile(r"(?:^|[^a-z])pids?(?:[^a-z]|$)", re.IGNORECASE)
_HOST = re.compile(r"(?:^|[^a-z])(?:host|hostname|node|machine)(?:[^a-z]|$)", re.IGNORECASE)
_FORMATS = (
    "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H-%M-%S", "%Y-%m-%dT%H%M%S", "%Y%m%dT%H%M%S", "%a %b %d %H:%M:%S %Y",
    "%b %d %H:%M:%S %Y", "%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y",
)  # fmt: skip
_DRAWN = re.compile(r"[a-z0-9_]{8}(?=/|$)")  # what `tempfile` ends a name with
_ZONES = timedelta(hours=14)
_SLACK = timedelta(seconds=2)
_LARGEST_PID = 1 << 22
_SEPARATORS = " \t=:\"'([{,;|_"
_LONGEST = 100_000
_LONGEST_LABEL = 100


class Token(NamedTuple):
    """A piece of text and what it looks like; `at` is where it begins."""

    kind: str
    text: str
    at: int


def tokens(line: str) -> list[Token]:
    """A line in pieces that together are the line; one without end is cut."""
    return [Token(match.lastgroup or "other", match.group(), match.start()) for match in _TOKEN.finditer(line)]


def compare_line(before: str, after: str, where: str, facts: Pair, *, label: str = "") -> Iterator[Finding]:
    """The differences between two lines; `label` is the name of what they hold (a key, a column), where it has one."""
    label = label[-_LONGEST_LABEL:]
    before, after, moved = _without_folders(before, after, facts)
    if moved:
        yield Finding(where, Kind.FOLDER, *map(shown, (facts[0].folder or "", facts[1].folder or "")))
    if before == after:
        return
    if max(len(before), len(after)) > _LONGEST:
        yield Finding(where, Kind.TEXT, detail=f"a line of {max(len(before), len(after)):,} characters")
        return
    if (label and _HOST.search(label)) or (before, after) == (facts[0].host, facts[1].host):
        yield Finding(where, Kind.HOST, shown(before), shown(after))
        return
    old, new = tokens(before), tokens(after)
    if len(old) != len(new) or not all(_same_form(one, other) for one, other in zip(old, new, strict=True)):
        yield Finding(where, _reordered(old, new) or Kind.TEXT, shown(before), shown(after))
        return
    differing = [index for index, (one, other) in enumerate(zip(old, new, strict=True)) if one.text != other.text]
    # Numbers in columns are padded: the blanks before them change with their length.
    differing = [index for index in differing if not old[index].text.isspace()] or differing
    found = [_classify(index, old, new, where, facts, label) for index in differing]
    if any(one.kind in (Kind.NUMBER, Kind.TEXT) for one in found) and len(found) > 1:
        plain = [one for one in found if one.kind not in (Kind.NUMBER, Kind.TEXT)]
        rest = [index for index, one in zip(differing, found, strict=True) if one.kind in (Kind.NUMBER, Kind.TEXT)]
        if sorted(old[index].text for index in rest) == sorted(new[index].text for index in rest):
            found = [*plain, Finding(where, Kind.ORDER, shown(before), shown(after))]
    yield from found


def volatile_form(line: str) -> str:
    """A line without its times, durations, tokens and addresses: what must be the same for two lines to be one."""
    parts = tokens(line[:_LONGEST])
    return "".join(
        "#"
        if part.kind in ("uuid", "moment", "clock", "address", "temporary") or _has_unit(parts, index)
        else part.text
        for index, part in enumerate(parts)
    )


def number_finding(before: float, after: float, where: str, facts: Pair, *, label: str = "") -> Finding:
    """What two numbers that differ are: points in time, durations, process numbers, or just numbers."""
    label = label[-4 * _LONGEST_LABEL :]
    texts = (shown(repr(before)), shown(repr(after)))
    if _are_moments((before, after), facts):
        return Finding(where, Kind.TIME, *texts)
    if label and _DURATION.search(label) and _fit_in(before, after, facts, _unit_of(label)):
        return Finding(where, Kind.DURATION, *texts)
    if label and _RATE.search(label) and before > 0 and after > 0:
        return Finding(where, Kind.DURATION, *texts, "a rate per second")
    if label and _PROCESS.search(label) and _are_processes(before, after):
        return Finding(where, Kind.PROCESS, *texts)
    return Finding(where, Kind.NUMBER, *texts, relative(before, after))


def relative(before: float, after: float) -> str:
    """How far two numbers are apart, in words; nothing where one of them is no finite number."""
    if not (abs(before) < float("inf") and abs(after) < float("inf")):
        return ""
    largest = max(abs(before), abs(after))
    return f"relative difference {abs(after - before) / largest:.2g}" if largest else ""


def _without_folders(before: str, after: str, facts: Pair) -> tuple[str, str, bool]:
    """Both texts without the folders that their runs worked in, and whether those were there and are not the same."""
    one, other = facts[0].folder, facts[1].folder
    if not one or not other or one == other or one not in before or other not in after:
        return before, after, False
    return before.replace(one, "."), after.replace(other, "."), True


def _same_form(one: Token, other: Token) -> bool:
    if one.text == other.text or (one.text.isspace() and other.text.isspace()):
        return True
    if {one.kind, other.kind} <= {"number", "hex", "word"} and "hex" in (one.kind, other.kind):
        return len(one.text) == len(other.text)
    return one.kind == other.kind and one.kind != "other"


def _reordered(old: Sequence[Token], new: Sequence[Token]) -> Kind | None:
    same = sorted(token.text for token in old) == sorted(token.text for token in new)
    return Kind.ORDER if same else None


def _classify(index: int, old: Sequence[Token], new: Sequence[Token], where: str, facts: Pair, label: str) -> Finding:
    one, other = old[index], new[index]
    texts = (shown(one.text), shown(other.text))
    label = f"{label} {_label(old, index)}"
    kind = one.kind if one.kind == other.kind else "hex"
    if facts[0].host and facts[1].host and texts == (facts[0].host, facts[1].host):
        return Finding(where, Kind.HOST, *texts)
    if kind == "uuid":
        return Finding(where, Kind.TOKEN, *texts, "a UUID")
    if kind == "temporary" and _DRAWN.sub("", one.text) == _DRAWN.sub("", other.text):
        return Finding(where, Kind.TOKEN, *texts, "a temporary file's name")
    if kind == "address":
        return Finding(where, Kind.ADDRESS, *texts)
    if kind == "moment" and all(_in_run(text, run) for text, run in zip((one.text, other.text), facts, strict=True)):
        return Finding(where, Kind.TIME, *texts)
    if kind == "clock":
        return Finding(where, Kind.TIME, *texts)
    if kind in ("hex", "number", "word"):
        if (name := _digest_of(one.text, other.text, facts)) is not None:
            return Finding(where, Kind.DERIVED, *texts, f"the digest of {name}, which differs")
        if _HOST.search(_last_word(label)):
            return Finding(where, Kind.HOST, *texts)
    if kind == "number":
        return _number(index, old, new, where, facts, label)
    if kind == "hex":
        return Finding(where, Kind.TEXT, *texts, "hexadecimal: random bits, or a digest of something")
    return Finding(where, Kind.TEXT, *texts)


def _number(index: int, old: Sequence[Token], new: Sequence[Token], where: str, facts: Pair, label: str) -> Finding:
    texts = (shown(old[index].text), shown(new[index].text))
    before, after = float(old[index].text), float(new[index].text)
    if _has_unit(old, index) and _has_unit(new, index):
        following = old[index + 1 : index + 6]
        rate = "".join(token.text for token in following[:5])
        if re.match(r"\s*[a-zA-Z]*/s", rate):
            return Finding(where, Kind.DURATION, *texts, "a rate per second")
        if _fit_in(before, after, facts, _UNITS.get(_unit(old, index), 1.0)):
            return Finding(where, Kind.DURATION, *texts)
        label = ""
    finding = number_finding(before, after, where, facts, label=label)
    return finding._replace(before=texts[0], after=texts[1])


def _unit(parts: Sequence[Token], index: int) -> str:
    """The word after a number, one blank apart at most; empty where there is none."""
    rest = parts[index + 1 : index + 3]
    if rest and rest[0].text == " ":
        rest = rest[1:]
    return rest[0].text if rest and rest[0].kind == "word" else ""


def _has_unit(parts: Sequence[Token], index: int) -> bool:
    if parts[index].kind != "number":
        return False
    text = "".join(part.text for part in parts[index + 1 : index + 6])
    return _unit(parts, index) in _UNITS or re.match(r"\s*[a-zA-Z]+/s(?![a-zA-Z])", text) is not None


def _label(parts: Sequence[Token], index: int) -> str:
    """The words just before a token: up to three, on its own side of the last comma."""
    words: list[str] = []
    for part in reversed(parts[max(0, index - 12) : index]):
        if part.kind == "word":
            words.append(part.text[-_LONGEST_LABEL:])
            if len(words) == 3:
                break
        elif part.kind != "other" or part.text.strip(_SEPARATORS) or part.text in ",;|":
            break
    return " ".join(reversed(words))


def _last_word(label: str) -> str:
    return label.split()[-1] if label.split() else ""


def _unit_of(label: str) -> float:
    """How many seconds one is in the unit that a label names; a thousandth where it names none: the widest taken."""
    words = re.findall(r"[a-zµ]+", label.lower())
    return next((_UNITS[word] for word in reversed(words) if word in _UNITS), 1e-3)


def _fit_in(before: float, after: float, facts: Pair, unit: float) -> bool:
    """Whether both are durations that a part of their run can have taken."""
    return all(
        value >= 0 and (run.seconds is None or value * unit <= run.seconds + 1)
        for value, run in zip((before, after), facts, strict=True)
    )


def _are_processes(before: float, after: float) -> bool:
    return all(0 < value <= _LARGEST_PID and value == int(value) for value in (before, after))


def _are_moments(values: tuple[float, float], facts: Pair) -> bool:
    """Whether both numbers are seconds (or thousandths and so on) since 1970, each within its own run."""
    for factor in (1.0, 1e3, 1e6, 1e9):
        if all(_is_moment(value / factor, run) for value, run in zip(values, facts, strict=True)):
            return True
    return False


def _is_moment(seconds: float, run: Facts) -> bool:
    if run.begun is None or run.seconds is None:
        return False
    return -_SLACK.total_seconds() <= seconds - run.begun.timestamp() <= run.seconds + _SLACK.total_seconds()


def _in_run(text: str, run: Facts) -> bool:
    """Whether a time or date as text lies within its run, in whatever time zone; true where that is not known."""
    moment = _parse(text)
    if moment is None:
        return False
    if run.begun is None or run.seconds is None:
        return True
    begin, end = run.begun - _ZONES - timedelta(days=_is_day(text)), run.begun + timedelta(seconds=run.seconds) + _ZONES
    return begin <= moment <= end


def _is_day(text: str) -> bool:
    return len(text) <= 10


def _parse(text: str) -> datetime | None:
    plain = re.sub(r"\s+", " ", text).replace(",", "") if text[:1].isalpha() else text
    if len(text) <= 10:
        plain = plain.replace("/", "-") if plain[:4].isdigit() else plain
    else:
        plain = re.sub(r"(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?$", "", plain)
        plain = re.sub(r"^(\d{4}-\d\d-\d\d)[ _T-]", r"\1T", plain)
        plain = re.sub(r"^(\d{8})[-_T]?(\d{6})(?:[-_.]?\d{6})?$", r"\1T\2", plain)
        plain = re.sub(r" [A-Z]{3,4} (?=\d{4}$)", " ", plain)
    for form in _FORMATS:
        try:
            return datetime.strptime(plain, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _digest_of(before: str, after: str, facts: Pair) -> str | None:
    """The output whose digest both tokens are, or begin with: each that of its own run."""
    if min(len(before), len(after)) < BEGINNING:
        return None
    old, new = facts
    for name in old.digests.beginning_with(before[:BEGINNING]):
        if old.digests[name].startswith(before) and new.digests.get(name, "").startswith(after):
            return name
    return None
