"""The report as one comment of a pull request, which can be found again by its first line and updated in place."""

import re
from collections.abc import Sequence
from urllib.parse import quote

from harness.release.formats.names import identity
from harness.release.formats.text import count
from harness.release.formats.view import EnvironmentView, RowView, View, view
from harness.release.report import DriftReport

LONGEST_COMMENT = 65_536
"""Characters that GitHub takes in a comment."""

_ROWS = (None, 500, 200, 100, 50, 20, 10, 5, 1, 0)
_SYNTAX = re.compile(r"[^A-Za-z0-9 ,.:/%=+()'?;…→·-]|:(?=/)|(?<=www)\.", re.ASCII | re.IGNORECASE)
_LETTERS = re.compile(r"[^\W_]")


class MarkdownFormat:
    """GitHub's Markdown: the answers in sight, the rest folded away; cut where it would be too long for a comment."""

    name = "markdown"

    def render(self, report: DriftReport) -> str:
        """The comment. Its first line is the same for the same baseline, environments and candidates."""
        page = view(report)
        head = marker(report)
        for limit in _ROWS:
            text = _comment(head, page, limit)
            if len(text) <= LONGEST_COMMENT:
                return text
        return _comment(head, _bare(page), 0)


def marker(report: DriftReport) -> str:
    """The hidden line that a comment is found again by: what was checked against what, in whatever order."""
    baseline = quote(report.baseline, safe="+").replace("--", "-%2D")
    return f"<!-- harness-{report.purpose.value} baseline={baseline} environments={identity(report)} -->"


def prose(text: str) -> str:
    """`text` as Markdown that shows exactly it: nothing is formatted, linked or notified."""
    return _SYNTAX.sub(_entity, text).replace("&#64;", "&#64;&#8203;").replace("&#35;", "&#35;&#8203;")


def code(text: str) -> str:
    """`text` as code."""
    return f"<code>{_SYNTAX.sub(_entity, text)}</code>" if text else ""


def _entity(match: re.Match[str]) -> str:
    character = match[0]
    return character if _LETTERS.fullmatch(character) else f"&#{ord(character)};"


def _comment(head: str, page: View, limit: int | None) -> str:
    cut = _left_out(page, limit)
    lines = [head, f"### {prose(page.title)}", "", f"**{prose(page.verdict)}** {prose(page.advice)}", ""]
    if cut:
        lines += [
            f"> This comment is shortened to fit: {count(cut, 'line')} left out."
            " The whole report is in the check's other formats (`--format json=FILE`, `--format html=FILE`).",
            "",
        ]
    if page.environments:
        lines += _table(
            ("Environment", *page.asked),
            [
                (code(each.label), prose(each.environment.answer), prose(each.numbers.answer), prose(_untested(each)))
                for each in page.environments
            ],
            None,
        )
    lines += [prose(page.note), ""] if page.note else []
    for environment in page.environments:
        lines += _environment(environment, limit)
    if page.waivers:
        rows = [
            (code(each.id), prose(each.state), prose(each.expires), prose(each.author), prose(each.reason))
            for each in page.waivers
        ]
        lines += _details("Waivers", _table(("Waiver", "State", "Until", "By", "Why"), rows, limit))
    lines.append(" · ".join(f"{name} {code(value)}" for name, value in page.facts))
    return "\n".join(lines) + "\n"


def _untested(environment: EnvironmentView) -> str:
    return ", ".join(what for what, _ in environment.not_tested[:4]) or "nothing"


def _environment(environment: EnvironmentView, limit: int | None) -> list[str]:
    body = [prose(reply.sentence) + "  " for reply in (environment.environment, environment.numbers)]
    body += [prose(environment.unprobed) + "  "] if environment.unprobed else []
    body += [prose(environment.tested.sentence), ""]
    if environment.not_tested:
        rows = [(prose(what), prose(reason)) for what, reason in environment.not_tested]
        body += _table(("Not tested", "Why"), rows, limit)
    changed = [(layer.name, row) for layer in environment.layers for row in layer.rows]
    if changed:
        columns = ("Layer", "What", "Kind", "Before", "After", "Severity", "Numbers", "Check", "Why")
        body += _table(columns, [_change(layer, row) for layer, row in changed], limit)
    if environment.together:
        body += [f"and with these together: {prose(environment.together)}", ""]
    if environment.golden:
        body += [prose(environment.golden), ""]
        cells = [
            (
                code(cell.path),
                prose(cell.answer),
                prose(cell.because),
                prose(cell.metrics),
                prose(cell.distance),
                prose("; ".join(part for part in (cell.status, cell.reasons) if part)),
            )
            for cell in environment.cells
            if cell.answer != "unchanged"
        ]
        if cells:
            body += _table(("Golden cell", "Bits", "Because of", "Metrics", "Distance", "Notes"), cells, limit)
    if environment.expired:
        body += [prose(environment.expired), ""]
    return _details(f"{code(environment.label)}: what is behind it", body)


def _change(layer: str, row: RowView) -> tuple[str, ...]:
    below = [code(row.where), prose(row.details), f"and with it: {prose(row.with_it)}" if row.with_it else ""]
    what = "<br>".join(part for part in (code(row.path), *below) if part)
    check = f"**{prose(row.status)}**" if row.fails else prose(row.status)
    values = (prose(row.kind), code(row.before), code(row.after), row.severity, prose(row.numbers), check)
    return (layer, what, *values, prose(row.why))


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], limit: int | None) -> list[str]:
    kept = rows if limit is None else rows[:limit]
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    lines += [f"| {' | '.join(row)} |" for row in kept]
    more = [f"… and {len(rows) - len(kept):,} more", ""] if len(kept) < len(rows) else []
    return [*lines, "", *more]


def _details(summary: str, body: list[str]) -> list[str]:
    return [f"<details><summary>{summary}</summary>", "", *body, "</details>", ""]


def _left_out(page: View, limit: int | None) -> int:
    """How many lines a limit on each table leaves out."""
    if limit is None:
        return 0
    lengths = [len(page.waivers)]
    for each in page.environments:
        lengths += [len(each.not_tested), sum(len(layer.rows) for layer in each.layers)]
        lengths.append(sum(cell.answer != "unchanged" for cell in each.cells))
    return sum(max(0, length - limit) for length in lengths) + (1 if not page.environments else 0)


def _bare(page: View) -> View:
    """Only the answer, where not even the environments' names fit."""
    return View(
        kind=page.kind,
        title=page.title,
        asked=page.asked,
        verdict=page.verdict,
        ok=page.ok,
        advice=page.advice,
        note=page.note,
        facts=page.facts,
        environments=(),
        waivers=(),
    )
