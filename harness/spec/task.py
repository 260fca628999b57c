"""What the trainer gets (`$HARNESS_TASK/task.json`) and what it gives back (`$HARNESS_OUTPUT/training.json`)."""

import msgspec

from harness.spec.digest import Digest
from harness.spec.experiment import Experiment
from harness.spec.run import Mode, Profile

SCHEMA = "harness.task/1"
OUTPUT_SCHEMA = "harness.training/1"


class TrainingTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An experiment with nothing left to resolve. `panel` is the data file's name under `$HARNESS_DATA`.

    `workers` fits run side by side; it can change no bit. `seed` is the run's base seed.
    """

    schema: str = SCHEMA
    run_id: str
    experiment: Experiment
    panel: str
    mode: Mode
    profile: Profile
    seed: int
    workers: int


class FamilyOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Digests of what one cell produced: predictions (as arrays), canonical models, metrics, importances."""

    predictions: Digest
    model: Digest
    metrics: Digest
    feature_importances: Digest


class FamilyResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell. `files` are its files, relative to the output folder, with their digests; `metrics` is flat."""

    hyperparameters_signature: Digest
    probe_signature: Digest
    threads_per_fit: int | None
    outputs: FamilyOutputs
    fingerprint: Digest
    metrics: dict[str, float | None]
    files: dict[str, Digest]


class CohortResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cohort. `signatures` are those of the comparison group that depend on data and experiment.

    `folder` is where its files lie, relative to the output folder (`targets/…/cohort=cs_<id>`).
    """

    cohort_id: str
    target: str
    view: str
    symbol: str | None
    folder: str
    signatures: dict[str, Digest]
    families: dict[str, FamilyResult]
    files: dict[str, Digest]


class TrainingOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that a training run gave back, in the order of (target, view, symbol)."""

    schema: str = OUTPUT_SCHEMA
    run_id: str
    cohorts: tuple[CohortResult, ...]
    timings: dict[str, float]
