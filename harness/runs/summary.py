"""What a run comes down to in a few words: a metric a cell, the environment in three lines, what to do next."""

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.record.cells import Metrics
from harness.record.snapshot import Snapshot
from harness.record.verdicts import CellVerdict, Verdict
from harness.spec.run import Mode

_MAIN = ("spearman_ic", "auc", "rmse", "log_loss")
_SHOWN_DISPATCH = ("numpy", "openblas", "torch/aten")
_SHOWN_LIBRARIES = ("numpy", "lightgbm", "xgboost", "xgboost-cpu", "torch")


def main_metric(metrics: Metrics) -> tuple[str | None, float | None]:
    """The metric to show: Spearman's IC of a regression, the AUC of a classification, else the first there is."""
    name = next((name for name in (*_MAIN, *sorted(metrics)) if name in metrics), None)
    return name, None if name is None else metrics[name]


def environment_lines(snapshot: Snapshot) -> tuple[str, ...]:
    """Image, libraries and CPU of a run, one line each."""
    environment, group = snapshot.environment, snapshot.comparison_group
    image = environment.image
    libraries = [
        f"{name} {environment.libraries[name].version}" for name in _SHOWN_LIBRARIES if name in environment.libraries
    ]
    cpu = environment.cpu
    dispatch = ", ".join(f"{name} {cpu.dispatch[name]}" for name in _SHOWN_DISPATCH if name in cpu.dispatch)
    return (
        f"Image    {'none: a plain process of this machine' if image is None else f'{image.name}@{image.manifest}'}",
        f"Python   {environment.python.get('version', 'unknown')}, {', '.join(libraries) or 'no model library'}",
        f"Numerics {group['mode']}, {group['profile']}, {cpu.model_name} ({dispatch or 'no numeric library'})",
    )


def advice(mode: Mode, results: Path, run_name: str, verdicts: Sequence[CellVerdict]) -> str:
    """What to do after a run with these verdicts, in one sentence."""
    found = Counter(verdict.verdict for verdict in verdicts)
    folder = shlex.quote(str(results / "runs" / run_name))
    if found[Verdict.DIVERGENT]:
        return (
            f"{found[Verdict.DIVERGENT]} of {len(verdicts)} cells gave other bits in the same environment: "
            f"see diff_prev.json of these cells under {folder}."
        )
    if mode is Mode.BEST_EFFORT:
        return (
            "best_effort seeds, and libraries choose threads and algorithms: "
            "run with --mode strict for bits that repeat."
        )
    if found[Verdict.UNVERIFIED]:
        return "Run the same command again: every cell should then be identical."
    return f"Keep {folder} as evidence; `harness compare` sets it against any other run."
