"""What a run leaves behind: the files of each cohort, and the digests over what each cell produced."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harness.record.files import write_atomically
from harness.record.fingerprints import cell_fingerprint
from harness.record.hashing import digest_of, digest_of_array, digest_of_file, signature
from harness.record.jsonfile import pretty_json
from harness.record.layout import METADATA, METRICS, PREDICTIONS, importances_file
from harness.spec.columns import TargetKind
from harness.spec.digest import Digest
from harness.spec.task import CohortResult, FamilyOutputs, FamilyResult
from harness.training.cohorts import Cohort
from harness.training.families import Family
from harness.training.fits import FitResult
from harness.training.metrics import Metrics, classification_metrics, regression_metrics
from harness.training.panel import Values

MODELS = "models"
TEST_ROWS = "test_rows.npy"
TEST_TARGET = "test_target.npy"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One trained cell: its fits in the order of folds, and the files with each fold's predictions.

    `threads_per_fit` is what enters its comparison group, null where threads were shown to change no bit.
    """

    family: Family
    fits: Sequence[FitResult]
    predictions: Sequence[Path]
    seeds: Sequence[int]
    probe_signature: Digest
    threads_per_fit: int | None


def model_folder(cohort: Cohort, family: str) -> PurePosixPath:
    """Where a cell's models lie, relative to the output folder."""
    return cohort.folder / MODELS / family


def write_cohort(output: Path, cohort: Cohort, cells: Sequence[Cell], facts: Mapping[str, Any]) -> CohortResult:
    """Write a cohort's files under `output` and say what they are; the models are there already.

    `facts` go into `metadata.json` beside the data's statistics and the timings, and into no digest.

    Raises:
        OSError: a file cannot be written.
    """
    (output / cohort.folder / PREDICTIONS).mkdir(parents=True, exist_ok=True)
    metrics = {cell.family.name: _cell_metrics(cohort, cell) for cell in cells}
    families = {cell.family.name: _write_cell(output, cohort, cell, metrics[cell.family.name]) for cell in cells}
    files = _write_rows(output, cohort)
    files |= _write(output, cohort.folder / METRICS, pretty_json({"families": metrics}))
    files |= _write(output, cohort.folder / METADATA, pretty_json(_metadata(cohort, cells, facts)))
    return CohortResult(
        cohort_id=cohort.cohort_id,
        target=cohort.target.name,
        view=cohort.view.value,
        symbol=cohort.symbol,
        folder=str(cohort.folder),
        signatures=cohort.signatures,
        families=families,
        files=files,
    )


def _write_cell(output: Path, cohort: Cohort, cell: Cell, metrics: dict[str, Any]) -> FamilyResult:
    family = cell.family.name
    predictions = _predictions(cell)
    importances = np.array([fit.importances for fit in cell.fits], dtype=np.float64)
    outputs = FamilyOutputs(
        predictions=digest_of_array(predictions),
        model=signature([fit.model for fit in cell.fits]),
        metrics=signature(metrics),
        feature_importances=digest_of_array(importances),
    )
    folder = model_folder(cohort, family)
    files = {str(folder / fit.model_file): digest_of_file(output / folder / fit.model_file) for fit in cell.fits}
    files |= _write(output, cohort.folder / PREDICTIONS / f"{family}.npy", _npy(predictions))
    table = _importances_table([column.name for column in cohort.statistics.columns], importances)
    place = importances_file(cohort.target.name, cohort.view, cohort.symbol, cohort.universe, family)
    files |= _write(output, place, table)
    return FamilyResult(
        hyperparameters_signature=cell.family.hyperparameters_signature,
        probe_signature=cell.probe_signature,
        threads_per_fit=cell.threads_per_fit,
        outputs=outputs,
        fingerprint=cell_fingerprint(outputs),
        metrics=_flat(metrics),
        files=files,
    )


def _cell_metrics(cohort: Cohort, cell: Cell) -> dict[str, Any]:
    """`all` is over the test rows of all folds together, `folds` over each fold's."""
    predictions = _predictions(cell)
    rows = np.concatenate([np.arange(*span) for span in cohort.test])
    ends = np.cumsum([last - first for first, last in cohort.test])
    folds = []
    for fold, part in zip(cohort.folds, np.split(np.arange(len(rows)), ends[:-1]), strict=True):
        folds.append({"fold": fold.index, **_metrics(cohort, rows[part], predictions[part])})
    return {"all": _metrics(cohort, rows, predictions), "folds": folds}


def _metrics(cohort: Cohort, rows: Any, predictions: Values) -> Metrics:
    if cohort.target.kind is TargetKind.CLASSIFICATION:
        return classification_metrics(cohort.y[rows], predictions)
    return regression_metrics(cohort.y[rows], predictions, cohort.date_index[rows])


def _flat(metrics: dict[str, Any]) -> Metrics:
    """`rmse`, …, over all folds, and `fold<k>.rmse`, …, over each."""
    flat: Metrics = dict(metrics["all"])
    for fold in metrics["folds"]:
        flat |= {f"fold{fold['fold']}.{name}": value for name, value in fold.items() if name != "fold"}
    return flat


def _predictions(cell: Cell) -> Values:
    return np.concatenate([np.load(path) for path in cell.predictions])


def _write_rows(output: Path, cohort: Cohort) -> dict[str, Digest]:
    """Which rows are predicted (fold, days since 1970-01-01, place among the panel's symbols), and their target."""
    spans = [np.arange(*span) for span in cohort.test]
    rows = np.concatenate(spans)
    fold = np.repeat([fold.index for fold in cohort.folds], [len(span) for span in spans])
    day = cohort.dates[cohort.date_index[rows]]
    table = np.column_stack([fold, day, cohort.symbol_index[rows]]).astype(np.int32)
    target = _npy(cohort.y[rows])
    return _write(output, cohort.folder / TEST_ROWS, _npy(table)) | _write(output, cohort.folder / TEST_TARGET, target)


def _metadata(cohort: Cohort, cells: Sequence[Cell], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **facts,
        "cohort": {"target": cohort.target, "view": cohort.view, "symbol": cohort.symbol, "id": cohort.cohort_id},
        "data": cohort.statistics,
        "test_rows": {
            "columns": ["fold", "days since 1970-01-01", "place among symbols"],
            "symbols": cohort.symbols,
        },
        "families": {
            cell.family.name: {
                "library": cell.family.library,
                "hyperparameters": cell.family.hyperparameters,
                "seeds": list(cell.seeds),
                "seconds": [fit.seconds for fit in cell.fits],
            }
            for cell in cells
        },
    }


def _importances_table(features: Sequence[str], importances: Values) -> bytes:
    """CSV: one row a feature, the mean over folds and each fold's; floats in their shortest exact form."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["feature", "mean", *(f"fold{fold}" for fold in range(len(importances)))])
    for column, feature in enumerate(features):
        values = importances[:, column]
        writer.writerow([feature, repr(float(values.sum() / len(values))), *(repr(float(value)) for value in values)])
    return text.getvalue().encode()


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _write(output: Path, place: PurePosixPath, data: bytes) -> dict[str, Digest]:
    path = output / place
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return {str(place): digest_of(data)}
