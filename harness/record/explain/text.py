"""Two texts, line by line; and tables, whose columns say what their numbers are."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.record.explain.cause import Finding, Kind, Pair, shown
from harness.record.explain.tokens import compare_line, volatile_form

_MOST_LINES = 200_000
_LONGEST_NAME = 40


def compare_text(before: str, after: str, facts: Pair, *, separator: str | None = None) -> Iterator[Finding]:
    """The differences between two texts; `separator` is that of a table's fields, whose first line names them."""
    old, new = before.split("\n"), after.split("\n")
    if max(len(old), len(new)) > _MOST_LINES:
        yield Finding("as a whole", Kind.TEXT, detail=f"more than {_MOST_LINES:,} lines")
        return
    if Counter(old) == Counter(new):
        first = next(number for number, (one, other) in enumerate(zip(old, new, strict=True), 1) if one != other)
        yield Finding(f"line {first}", Kind.ORDER, shown(old[first - 1]), shown(new[first - 1]), "the same lines")
        return
    old_forms, new_forms = [volatile_form(line) for line in old], [volatile_form(line) for line in new]
    if old_forms != new_forms and Counter(old_forms) == Counter(new_forms):
        first = next(
            number for number, forms in enumerate(zip(old_forms, new_forms, strict=True), 1) if len({*forms}) > 1
        )
        detail = "the same lines but for times, addresses and tokens"
        yield Finding(f"line {first}", Kind.ORDER, shown(old[first - 1]), shown(new[first - 1]), detail)
        new = _paired(old_forms, new_forms, new)
    elif len(old) != len(new):
        yield _one_longer(old, new, old_forms, new_forms)
        return
    columns = _columns(old, new, separator)
    for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
        if one != other:
            yield from _lines(one, other, number, facts, columns, separator)


def _lines(
    one: str, other: str, number: int, facts: Pair, columns: Sequence[str], separator: str | None
) -> Iterator[Finding]:
    fields, others = (_fields(one, separator), _fields(other, separator)) if columns else ([], [])
    if not columns or len(fields) != len(columns) or len(others) != len(columns):
        yield from compare_line(one, other, f"line {number}", facts)
        return
    for name, field, another in zip(columns, fields, others, strict=True):
        where = f"line {number}, column {shown(name)}"
        yield from compare_line(field, another, where, facts, label=name[:_LONGEST_NAME])


def _paired(old_forms: Sequence[str], new_forms: Sequence[str], new: Sequence[str]) -> list[str]:
    """The new lines in the order of the old ones that have their form."""
    waiting: dict[str, list[str]] = {}
    for form, line in zip(reversed(new_forms), reversed(new), strict=True):
        waiting.setdefault(form, []).append(line)
    return [waiting[form].pop() for form in old_forms]


def _one_longer(old: Sequence[str], new: Sequence[str], old_forms: Sequence[str], new_forms: Sequence[str]) -> Finding:
    pairs = zip(old_forms, new_forms, strict=False)
    first = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(old), len(new)))
    one, other = (lines[first] if first < len(lines) else "" for lines in (old, new))
    detail = f"{len(old):,} lines became {len(new):,}"
    return Finding(f"line {first + 1}", Kind.TEXT, shown(one), shown(other), detail)


def _columns(old: Sequence[str], new: Sequence[str], separator: str | None) -> list[str]:
    return _fields(old[0], separator) if separator is not None and old[0] == new[0] else []


def _fields(line: str, separator: str | None) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r")], delimiter=separator or ","), [])
    except csv.Error:
        return []
