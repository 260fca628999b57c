"""The results as a table for people."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.figures import Check, Figure, Result, Skipped


def table(results: Sequence[Result]) -> Table:
    """One line a result; a target that was missed is shown as missed."""
    made = Table(box=None, pad_edge=False)
    for heading, side in (("what", "left"), ("median", "right"), ("spread", "right"), ("pairs", "right")):
        made.add_column(heading, justify=side)  # type: ignore[arg-type]
    made.add_column("target")
    made.add_column("")
    for result in results:
        made.add_row(*row(result))
    return made


def row(result: Result) -> tuple[str, str, str, str, str, str]:
    """What, median, spread, number of pairs, target, and `met` or `MISSED` (empty where nothing was promised)."""
    match result:
        case Figure():
            spread = f"{_number(min(result.values))} … {_number(max(result.values))}"
            target = "" if result.target is None else f"{result.bound} {_number(result.target)} {result.unit}"
            middle = f"{_number(result.median)} {result.unit}"
            return result.statement, middle, spread, str(len(result.values)), target, _mark(result.met)
        case Check():
            return result.statement, "yes" if result.holds else "no", result.detail, "", "yes", _mark(result.met)
        case Skipped():
            return f"{result.name}: not measured. {result.reason}", "", "", "", "", "NOT MEASURED"


def _mark(met: bool | None) -> str:
    return "" if met is None else "met" if met else "MISSED"


def _number(value: float) -> str:
    return f"{value:.2f}"
