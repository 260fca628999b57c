"""`python3 -m harness.training.ensemble`: the exact average of several members' predictions, and its metrics."""

import harness.strict.bootstrap  # noqa: F401 - before anything that could import NumPy; isort: skip

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError, IntegrityError, ToolError, UsageError
from harness.record.files import write_atomically
from harness.record.hashing import digest_of_array, digest_of_file
from harness.record.jsonfile import pretty_json, read_document
from harness.spec.columns import TargetKind, parse_targets
from harness.spec.ensemble import DOCUMENT, TASK_SCHEMA, CellAverage, CellTask, EnsembleOutput, EnsembleTask
from harness.strict.exact import exact_mean
from harness.strict.refusal import stop
from harness.training.arrays import save_array
from harness.training.metrics import Metrics, classification_metrics, regression_metrics

_FOLD, _DAY = 0, 1  # columns of test_rows.npy


def main() -> None:
    """Average the cells of the task that the environment names; a refusal is one sentence on stderr."""
    try:
        task, data, output = (_folder(f"HARNESS_{name}") for name in ("TASK", "DATA", "OUTPUT"))
        wanted = read_document(task / DOCUMENT, EnsembleTask, TASK_SCHEMA)
        cells = tuple(average(cell, data, output) for cell in wanted.cells)
        write_atomically(output / DOCUMENT, pretty_json(EnsembleOutput(cells=cells)))
    except HarnessError as error:
        stop(str(error), error.exit_code)
    except OSError as error:
        stop(f"the members could not be averaged: {error}", ToolError.exit_code)


def average(cell: CellTask, data: Path, output: Path) -> CellAverage:
    """Average one cell's members, row by row, and write the predictions to `output`.

    The average is exact and rounded once, so that the order of the members changes no bit.

    Raises:
        IntegrityError: the members' predictions and the rows are not of one length.
    """
    members = [np.load(data / name, allow_pickle=False) for name in cell.members]
    rows, truth = (np.load(data / name, allow_pickle=False) for name in (cell.rows, cell.truth))
    if any(member.shape != truth.shape for member in members) or len(rows) != len(truth):
        raise IntegrityError(
            f"The members' predictions of {cell.target} are not of the same rows",
            hint="Train the members again with one configuration: `ml-train` with all seeds.",
        )
    predictions = exact_mean(members)
    save_array(output / cell.result, predictions)
    return CellAverage(
        predictions=digest_of_array(predictions),
        file=digest_of_file(output / cell.result),
        metrics=_metrics(cell.target, rows, truth, predictions),
    )


def _metrics(target: str, rows: Any, truth: Any, predictions: Any) -> Metrics:
    """`rmse`, …, over all folds, and `fold<k>.rmse`, …, over each, as a run's cells have them."""
    kind = parse_targets((target,))[0].kind

    def over(chosen: Any) -> Metrics:
        if kind is TargetKind.CLASSIFICATION:
            return classification_metrics(truth[chosen], predictions[chosen])
        return regression_metrics(truth[chosen], predictions[chosen], rows[chosen, _DAY])

    metrics: Metrics = dict(over(slice(None)))
    for fold in np.unique(rows[:, _FOLD]).tolist():
        metrics |= {f"fold{fold}.{name}": value for name, value in over(rows[:, _FOLD] == fold).items()}
    return metrics


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise UsageError(f"{variable} is not set", hint="Ensembles are averaged by `ml-train`.")
    return Path(value)


if __name__ == "__main__":
    main()
    sys.exit(0)
