"""The report for people on a terminal."""

import io

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.release.formats.golden import CellView
from harness.release.formats.view import EnvironmentView, LayerView, Reply, RowView, View, view
from harness.release.report import DriftReport

WIDTH = 240  # as wide as anything that is written where no terminal is
_SEVERITY = {"critical": "bold red", "major": "red", "minor": "yellow", "none": "dim"}
_ANSWER = {"changed": "bold red", "unchanged": "green", "not tested": "yellow", "nothing": "green"}


class TableFormat:
    """Tables no wider than `width`, with colours only where asked for."""

    name = "table"

    def __init__(self, *, width: int = WIDTH, color: bool = False) -> None:
        self._width = width
        self._color = color

    def render(self, report: DriftReport) -> str:
        """The three answers of every environment first, then what is behind them."""
        file = io.StringIO()
        console = Console(
            file=file,
            width=self._width,
            force_terminal=self._color,
            color_system="standard" if self._color else None,
            legacy_windows=False,
            markup=False,
            highlight=False,
            emoji=False,
            no_color=not self._color,
        )
        console.print(_page(view(report)))
        return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def _page(page: View) -> RenderableType:
    parts: list[RenderableType] = [
        Text.assemble((page.title, "bold")),
        Text(page.verdict, style="green" if page.ok else "bold red"),
    ]
    for environment in page.environments:
        parts += _environment(environment)
    parts += [Text(""), Text(page.note)] if page.note else []
    parts += _waivers(page)
    parts += [Text(""), Text(f"Next  {page.advice}")]
    return Group(*parts)


def _environment(environment: EnvironmentView) -> list[RenderableType]:
    answers = Table.grid(padding=(0, 2))
    answers.add_column()
    answers.add_column(overflow="fold")
    for label, reply in (
        ("environment", environment.environment),
        ("numbers", environment.numbers),
        ("not tested", environment.tested),
    ):
        answers.add_row(Text(label), _reply(reply))
    parts: list[RenderableType] = [Text(""), Text(environment.label, style="bold"), _indented(answers)]
    if environment.unprobed:
        parts.append(_indented(Text(environment.unprobed, style="dim")))
    if environment.measured:
        parts.append(_indented(Text(f"surveyed {environment.measured}", style="dim")))
    for what, reason in environment.not_tested:
        parts.append(_indented(Text(f"{what}: not tested, because {reason}", style="yellow")))
    for layer in environment.layers:
        parts += _layer(layer)
    if environment.together:
        parts += [Text(""), _indented(Text(f"and with these together: {environment.together}", style="dim"))]
    if environment.golden:
        parts += [Text(""), _indented(Text(environment.golden))]
        parts += [part for cell in environment.cells if cell.answer != "unchanged" for part in _cell(cell)]
    if environment.expired:
        parts += [Text(""), _indented(Text(environment.expired))]
    return parts


def _reply(reply: Reply) -> Text:
    return Text(reply.sentence, style=_ANSWER.get(reply.answer, ""))


def _layer(layer: LayerView) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(""), _indented(Text(layer.name, style="bold"))]
    widest = min(max(len(row.path) for row in layer.rows), 32)
    for row in layer.rows:
        parts.append(_indented(_change(row, widest), 4))
        parts += [_indented(Text(line, style="dim"), 8) for line in _below(row) if line]
    return parts


def _change(row: RowView, widest: int) -> Text:
    values = f"{row.before} → {row.after}  " if row.before or row.after else ""
    return Text.assemble(
        f"{row.path:<{widest}}  {row.kind:<10}  {values}severity ",
        (row.severity, _SEVERITY[row.severity]),
        f"  {row.numbers}  ",
        (row.status, "bold red" if row.fails else "dim"),
    )


def _below(row: RowView) -> tuple[str, ...]:
    return (row.why, row.where, row.details, f"and with it: {row.with_it}" if row.with_it else "")


def _cell(cell: CellView) -> list[RenderableType]:
    line = Text.assemble(f"{cell.path}  ", (cell.answer, _ANSWER.get(cell.answer, "")))
    if cell.status:
        line.append(f"  {cell.status}", style="bold red" if cell.fails else "dim")
    because = f"because of {cell.because}" if cell.because else ""
    below = (because, cell.reasons, cell.metrics, cell.distance)
    return [_indented(line, 4), *(_indented(Text(text, style="dim"), 8) for text in below if text)]


def _waivers(page: View) -> list[RenderableType]:
    if not page.waivers:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("Waiver", "State", "Until", "By", "Why"):
        table.add_column(column, overflow="fold")
    for waiver in page.waivers:
        why = f"{waiver.reason} ({waiver.detail})" if waiver.detail else waiver.reason
        state = Text(waiver.state, style="bold red" if waiver.fails else "")
        table.add_row(Text(waiver.id), state, Text(waiver.expires), Text(waiver.author), Text(why))
    return [Text(""), table]


def _indented(part: RenderableType, left: int = 2) -> Padding:
    return Padding(part, (0, 0, 0, left), expand=False)
