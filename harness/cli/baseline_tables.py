"""What a baseline looks like to a person, and to a machine that asks for the list."""

from collections.abc import Mapping

from rich.table import Table

from harness.cli.console import stdout
from harness.cli.tables import short
from harness.release.baseline import Baseline
from harness.release.state import Sources
from harness.runs.summary import main_metric


def commit(baseline: Baseline) -> str:
    """The commit that a release was made of, as far as there is one."""
    return "none" if baseline.commit is None else baseline.commit[:12] + (" and changes" if baseline.dirty else "")


def summary(baseline: Baseline) -> dict[str, object]:
    """A baseline as the list shows it."""
    return {
        "release": baseline.release,
        "digest": baseline.digest,
        "commit": baseline.commit,
        "dirty": baseline.dirty,
        "environments": list(baseline.environments),
        "golden": [
            {"environment": run.environment, "experiment": run.experiment, "quick": run.quick}
            for run in baseline.golden
        ],
    }


def print_baseline(baseline: Baseline) -> None:
    """Print one baseline: what it is of, its environments, its golden runs."""
    for what, value in (
        ("release", f"{baseline.release} of {baseline.project}, on {baseline.architecture}"),
        ("commit", commit(baseline)),
        ("code", baseline.code),
        ("digest", baseline.digest),
    ):
        stdout.print(f"{what:9} {value}", markup=False, highlight=False)
    stdout.print(_environments(baseline))
    if baseline.golden:
        stdout.print(_golden(baseline))


def _environments(baseline: Baseline) -> Table:
    table = Table(title="Environments", title_justify="left")
    for column in ("Environment", "Image", "Debian", "Python", "Libraries", "CPU", "Probed"):
        table.add_column(column, overflow="fold")
    for name, state in baseline.environments.items():
        assert state.survey is not None  # noqa: S101 - a baseline that was read holds surveys alone
        captured, image = state.survey.captured, state.sources.image
        table.add_row(
            name,
            "none" if image is None else f"{image.name} {short(image.manifest)}",
            "-" if image is None else f"{len(state.sources.debian.packages)} packages",
            captured.python.get("version", "?"),
            _libraries(state.sources, captured.probe),
            captured.cpu.model_name,
            f"{sum(len(kernels) for kernels in captured.probe.values())} kernels",
        )
    return table


def _libraries(sources: Sources, probed: Mapping[str, object]) -> str:
    """The wheels that the probe exercises, with their versions, and how many others there are."""
    wheels = sources.python.wheels
    shown = [f"{wheel.name} {wheel.version}" for wheel in wheels if wheel.name.partition("-")[0] in probed]
    return f"{', '.join(shown)} and {len(wheels) - len(shown)} more"


def _golden(baseline: Baseline) -> Table:
    table = Table(title="Golden runs", title_justify="left")
    for column in ("Environment", "Experiment", "Target", "View", "Symbol", "Family", "Metric", "Fingerprint"):
        table.add_column(column, overflow="fold")
    for run in baseline.golden:
        for cell in run.cells:
            metric, value = main_metric(cell.metrics)
            table.add_row(
                run.environment,
                run.experiment + (" (quick)" if run.quick else ""),
                cell.target,
                cell.view.lower().replace("_", " "),
                cell.symbol or "all",
                cell.family,
                "-" if value is None else f"{metric} {value:.4f}",
                short(cell.fingerprint),
            )
    return table
