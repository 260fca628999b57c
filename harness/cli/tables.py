"""What a run and a comparison look like to a person."""

from rich.table import Table

from harness.cli.console import stderr, stdout
from harness.record.compare import RunComparison
from harness.record.explain.explanation import summary
from harness.record.verdicts import Verdict
from harness.runs.ensemble import EnsembleReport
from harness.runs.publish import RunReport
from harness.spec.digest import Digest, hexadecimal

_STYLE = {
    Verdict.IDENTICAL: "green",
    Verdict.DIVERGENT: "bold red",
    Verdict.INCOMPARABLE: "yellow",
    Verdict.UNVERIFIED: "dim",
}


def short(digest: Digest) -> str:
    """The first 12 hexadecimal digits, enough for people."""
    return hexadecimal(digest)[:12]


def run_report(report: RunReport) -> None:
    """Print one run: the fingerprint lines, the table of cells, the environment, where results are, what to do next."""
    for line in report.fingerprint_lines:
        stdout.out(line, highlight=False)
    table = Table(title=f"{report.experiment}, run {report.run_name}", title_justify="left")
    for column in ("Target", "View", "Symbol", "Family", "Metric", "Fingerprint", "Verdict"):
        table.add_column(column, justify="right" if column == "Metric" else "left", overflow="fold")
    for cell in report.cells:
        table.add_row(
            cell.target,
            cell.view.lower().replace("_", " "),
            cell.symbol or "all",
            cell.family,
            "-" if cell.metric is None else f"{cell.metric_name} {cell.metric:.4f}",
            short(cell.fingerprint),
            _verdict(cell.verdict, cell.reasons),
            style=_STYLE[cell.verdict] if cell.verdict is Verdict.DIVERGENT else None,
        )
    stdout.print(table)
    for line in (*report.environment, "", f"Results  {report.folder}", f"Next     {report.advice}"):
        stdout.print(line, markup=False, highlight=False)
    for note in report.notes:
        stderr.print(note, markup=False, highlight=False, style="yellow")


def ensemble_report(report: EnsembleReport) -> None:
    """Print an ensemble: each member's metric by cell, their mean and spread, and the average's own."""
    stdout.out(f"fingerprint ensemble {report.fingerprint}", highlight=False)
    table = Table(title=f"{report.experiment}, ensemble {report.name}", title_justify="left")
    for column in ("Target", "View", "Symbol", "Family", "Metric"):
        table.add_column(column, overflow="fold")
    for column in (*(f"Seed {seed}" for seed in report.seeds), "Mean", "Std dev", "Ensemble", "Fingerprint"):
        table.add_column(column, justify="right", overflow="fold")
    for cell in report.cells:
        numbers = [cell.metric[str(seed)] for seed in report.seeds] + [cell.mean, cell.deviation, cell.ensemble]
        table.add_row(
            cell.target,
            cell.view.lower().replace("_", " "),
            cell.symbol or "all",
            cell.family,
            cell.metric_name or "-",
            *("-" if number is None else f"{number:.4f}" for number in numbers),
            short(cell.fingerprint),
        )
    stdout.print(table)
    runs = ", ".join(f"{run} (seed {seed})" for seed, run in report.runs.items())
    for line in (f"Mode     {report.mode.value}", f"Members  {runs}", f"Results  {report.folder}"):
        stdout.print(line, markup=False, highlight=False)


def comparison_table(comparison: RunComparison) -> None:
    """Print two runs side by side: a verdict a cell, with what differs."""
    table = Table(title=f"{comparison.after.run_name} against {comparison.before.run_name}", title_justify="left")
    for column in ("Target", "View", "Symbol", "Family", "Verdict", "Why"):
        table.add_column(column, overflow="fold")
    for cell in comparison.cells:
        table.add_row(
            cell.target,
            cell.view.lower().replace("_", " "),
            cell.symbol or "all",
            cell.family,
            cell.verdict.value,
            "\n".join(cell.reasons),
            style=_STYLE[cell.verdict],
        )
    stdout.print(table)
    causes = [cause for cell in comparison.cells for cause in cell.causes]
    for line in (*map(str, causes), *([summary(causes)] if causes else [])):
        stdout.print(line, markup=False, highlight=False)
    for note in comparison.notes:
        stdout.print(note, markup=False, highlight=False)


def _verdict(verdict: Verdict, reasons: tuple[str, ...]) -> str:
    return f"{verdict.value} ({'; '.join(reasons)})" if reasons else verdict.value
