import csv
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.record.fingerprints import cell_fingerprint
from harness.record.hashing import digest_of, digest_of_array, digest_of_file
from harness.spec.columns import parse_features, parse_target
from harness.spec.experiment import Experiment, View
from harness.spec.task import CohortResult
from harness.training.cohorts import Cohort, Inputs, places_of, prepare
from harness.training.families import resolve_families
from harness.training.features import build_features
from harness.training.fits import FitResult
from harness.training.outputs import Cell, model_folder, write_cohort
from harness.training.panel import Panel

FEATURES = ("ret_1d", "ret_5d")
(FAMILY,) = resolve_families({"ridge": {}})
PROBED = digest_of(b"probe")


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    rng = np.random.default_rng(0)
    prices = np.exp(np.cumsum(rng.standard_normal((120, 3)) * 0.01, axis=0))
    panel = Panel(np.arange(18000, 18120), ("A", "B", "C"), {"close": prices}, "close")
    features = parse_features(FEATURES)
    inputs = Inputs(panel, features, build_features(panel, features), {"dataset_signature": digest_of(b"data")})
    experiment = msgspec.convert(
        {
            "name": "e", "data": {"path": "p"}, "features": FEATURES, "targets": ["fwd_ret_5d"], "families": {},
            "folds": {"count": 2, "min_train": 60},
        },
        Experiment,
    )  # fmt: skip
    places = places_of(experiment, [parse_target("fwd_ret_5d")])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return next(iter(prepare(experiment, places, inputs, scratch)))


@pytest.fixture
def output(tmp_path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def fitted(cohort: Cohort, output: Path, *, shift: float = 0.0, model: bytes = b"model", seconds: float = 1.0) -> Cell:
    """A cell whose predictions are the target itself, plus `shift` in the last row of all."""
    folder = output / model_folder(cohort, "ridge")
    folder.mkdir(parents=True, exist_ok=True)
    fits, predictions = [], []
    for fold, span in enumerate(cohort.test):
        values = cohort.y[slice(*span)].copy()
        values[-1] += shift if fold == len(cohort.test) - 1 else 0.0
        path = cohort.scratch / f"ridge-{fold}.npy"
        np.save(path, values)
        (folder / f"fold{fold}.json").write_bytes(model)
        predictions.append(path)
        fits.append(
            FitResult(
                model_file=f"fold{fold}.json", model=digest_of(model), importances=(0.1, 0.2 * fold),
                seconds={"fit": seconds},
            )
        )  # fmt: skip
    return Cell(
        family=FAMILY, fits=fits, predictions=predictions, seeds=[1, 2], probe_signature=PROBED, threads_per_fit=1
    )


def write(cohort: Cohort, output: Path, **changes) -> CohortResult:
    return write_cohort(output, cohort, [fitted(cohort, output, **changes)], {"seed": 42})


def test_a_fold_is_a_span_of_rows_of_its_dates(cohort):
    for fold, train, test in zip(cohort.folds, cohort.train, cohort.test, strict=True):
        assert (fold.train_mask(cohort.date_index).nonzero()[0] == np.arange(*train)).all()
        assert (fold.test_mask(cohort.date_index).nonzero()[0] == np.arange(*test)).all()
        assert train[1] <= test[0]


def test_predictions_are_kept_in_the_order_of_folds_and_hashed_exactly(cohort, output):
    result = write(cohort, output)
    path = output / cohort.folder / "predictions" / "ridge.npy"
    predictions = np.load(path)
    expected = np.concatenate([cohort.y[slice(*span)] for span in cohort.test])
    assert (predictions == expected).all()
    assert result.families["ridge"].outputs.predictions == digest_of_array(expected)
    assert result.families["ridge"].files[path.relative_to(output).as_posix()] == digest_of_file(path)


def test_the_fingerprint_is_over_the_outputs(cohort, output):
    family = write(cohort, output).families["ridge"]
    assert family.fingerprint == cell_fingerprint(family.outputs)


def test_the_least_change_of_one_prediction_changes_the_fingerprint(cohort, output):
    before = write(cohort, output).families["ridge"].outputs
    after = write(cohort, output, shift=1e-17).families["ridge"].outputs
    assert before.predictions != after.predictions
    assert (before.model, before.feature_importances) == (after.model, after.feature_importances)


def test_another_model_changes_the_models_digest_alone(cohort, output):
    before = write(cohort, output).families["ridge"].outputs
    after = write(cohort, output, model=b"another").families["ridge"].outputs
    assert before.model != after.model
    assert before.predictions == after.predictions


def test_times_change_no_fingerprint(cohort, output):
    one, two = (write(cohort, output, seconds=seconds) for seconds in (1.0, 2.0))
    assert one.families["ridge"].fingerprint == two.families["ridge"].fingerprint
    metadata = json.loads((output / cohort.folder / "metadata.json").read_bytes())
    assert metadata["families"]["ridge"]["seconds"] == [{"fit": 2.0}, {"fit": 2.0}]


def test_metrics_are_over_all_folds_and_over_each(cohort, output):
    result = write(cohort, output)
    metrics = json.loads((output / cohort.folder / "metrics.json").read_bytes())["families"]["ridge"]
    assert metrics["all"]["rmse"] == 0.0
    assert [fold["fold"] for fold in metrics["folds"]] == [0, 1]
    assert result.families["ridge"].metrics["rmse"] == 0.0
    assert result.families["ridge"].metrics["fold1.r2"] == 1.0


def test_the_importances_table_has_the_features_in_their_order(cohort, output):
    write(cohort, output)
    (path,) = output.rglob("feature_importances/ridge.csv")
    assert path.parent.parent.name.startswith("universe=")
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["feature", "mean", "fold0", "fold1"]
    assert rows[1:] == [["ret_1d", "0.1", "0.1", "0.1"], ["ret_5d", "0.1", "0.0", "0.2"]]


def test_a_symbols_importances_lie_under_its_own_folder(cohort, output):
    alone = replace(cohort, view=View.SYMBOL_SPECIFIC, symbol="A", universe=("A",))
    write(alone, output)
    (path,) = output.rglob("feature_importances/ridge.csv")
    assert path.parent.parent.name == "symbol=A"


def test_every_file_that_is_written_is_named(cohort, output):
    result = write(cohort, output)
    named = result.files | result.families["ridge"].files
    found = {path.relative_to(output).as_posix(): digest_of_file(path) for path in output.rglob("*") if path.is_file()}
    assert found == named
