"""One fit: a cell's one fold, in a process of its own. What it makes depends on its `FitTask` alone."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.errors import ToolError
from harness.record.hashing import digest_of
from harness.record.results import writing
from harness.spec.columns import TargetKind
from harness.spec.digest import Digest
from harness.strict.estimators import create_estimator
from harness.strict.models.rows import Timeline
from harness.strict.seeds import seed_all
from harness.training.arrays import save_array
from harness.training.cohorts import DATES_FILE, FEATURES_FILE, TARGET_FILE, Span
from harness.training.finished import FitCheckpoints, keep_finished, take_finished
from harness.training.panel import Values


class FitTask(msgspec.Struct, frozen=True, kw_only=True):
    """What to fit. `rows` is the folder with a cohort's rows; `predictions` the file to write, `model` the stem.

    `threads` is null where the library chooses (`best_effort`). `gap` is how many dates lie between rows that are
    trained on and rows that judge them. `checkpoints` is null where an interrupted run cannot be resumed.
    """

    rows: str
    train: Span
    test: Span
    gap: int
    library: str
    hyperparameters: dict[str, Any]
    kind: TargetKind
    seed: int
    threads: int | None
    strict: bool
    gpu_trees: bool
    predictions: str
    model_folder: str
    model_name: str
    checkpoints: FitCheckpoints | None = None


class FitResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a fit gave. `model_file` is in the task's model folder, `model` the digest of the canonical model.

    `seconds` are wall-clock by step, and the process's own on the processor: recorded, in no digest.
    """

    model_file: str
    model: Digest
    importances: tuple[float, ...]
    seconds: dict[str, float]


def run_fit(task: FitTask) -> FitResult:
    """Train, predict the test rows, and write predictions and model; nothing is made again that was finished before.

    Raises:
        UsageError: the rows or the hyperparameters cannot be used.
        ToolError: the predictions are not numbers, one for each row.
        PrerequisiteError: the disk is full.
        IntegrityError: a checkpoint is damaged.
    """
    if task.checkpoints is None:
        return _fit(task)
    earlier = take_finished(task.checkpoints, _decoded, Path(task.predictions), Path(task.model_folder))
    if isinstance(earlier, FitResult):
        return earlier
    result = _fit(task)
    model = Path(task.model_folder, result.model_file)
    keep_finished(task.checkpoints, result, Path(task.predictions), model)
    return result


def _decoded(data: bytes) -> tuple[FitResult, str]:
    result = msgspec.json.decode(data, type=FitResult)
    return result, result.model_file


def _fit(task: FitTask) -> FitResult:
    begin = time.perf_counter()
    make_plugins_importable()
    seed_all(task.seed)
    features = np.load(Path(task.rows, FEATURES_FILE), mmap_mode="r")
    target = np.load(Path(task.rows, TARGET_FILE), mmap_mode="r")
    estimator = create_estimator(
        task.library,
        task.hyperparameters,
        task.seed,
        task.kind,
        threads=task.threads,
        strict=task.strict,
        gpu_trees=task.gpu_trees,
        checkpoints=None if task.checkpoints is None else task.checkpoints.steps,
        checkpoint_every=None if task.checkpoints is None else task.checkpoints.every,
        timeline=Timeline(np.load(Path(task.rows, DATES_FILE), mmap_mode="r")[slice(*task.train)], task.gap),
    )
    estimator.fit(np.asarray(features[slice(*task.train)]), np.asarray(target[slice(*task.train)]))
    fitted = time.perf_counter()
    tested = np.asarray(features[slice(*task.test)])
    save_array(Path(task.predictions), _checked(estimator.predict(tested), len(tested), task.kind))
    predicted = time.perf_counter()
    with writing(Path(task.model_folder)):
        saved = estimator.save(Path(task.model_folder), task.model_name)
    importances = _vector(estimator.feature_importances(), features.shape[1], "feature importances")
    return FitResult(
        model_file=saved.name,
        model=digest_of(estimator.canonical()),
        importances=tuple(importances.tolist()),
        seconds={
            "fit": fitted - begin,
            "predict": predicted - fitted,
            "save": time.perf_counter() - predicted,
            "processor": time.process_time(),
        },
    )


def make_plugins_importable() -> None:
    """Put the run's mount called `plugins`, where it has one, on the module search path."""
    folder = os.environ.get("HARNESS_PLUGINS")
    if folder and folder not in sys.path:
        sys.path.append(folder)


def _checked(predictions: Any, rows: int, kind: TargetKind) -> Values:
    values = _vector(predictions, rows, "predictions")
    if kind is TargetKind.CLASSIFICATION and ((values < 0.0) | (values > 1.0)).any():
        raise ToolError(
            "The predictions of a classification are not all probabilities between 0 and 1",
            hint="Let the plugin's predict_proba give the probability of each class.",
        )
    return values


def _vector(values: Any, length: int, what: str) -> Values:
    vector = np.ascontiguousarray(values, dtype=np.float64)
    if vector.shape != (length,):
        raise ToolError(
            f"The {what} have the shape {vector.shape}, not ({length},)", hint="Let the plugin give a number a row."
        )
    if not np.isfinite(vector).all():
        raise ToolError(
            f"{int((~np.isfinite(vector)).sum())} of the {length} {what} are NaN or infinite",
            hint="The model diverged: lower its learning rate, or look at the data.",
        )
    return vector
