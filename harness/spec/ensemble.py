"""What averaging gets (`$HARNESS_TASK/ensemble.json`) and gives back (`$HARNESS_OUTPUT/ensemble.json`)."""

import msgspec

from harness.spec.digest import Digest

TASK_SCHEMA = "harness.ensemble-task/1"
OUTPUT_SCHEMA = "harness.ensemble-output/1"
DOCUMENT = "ensemble.json"


class CellTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell: files under `$HARNESS_DATA` with each member's predictions, the rows that they are of, their target."""

    target: str
    members: tuple[str, ...]
    rows: str
    truth: str
    result: str


class EnsembleTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cells to average."""

    schema: str = TASK_SCHEMA
    cells: tuple[CellTask, ...]


class CellAverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The average of one cell: the digest of its predictions as an array, of its file, and its metrics."""

    predictions: Digest
    file: Digest
    metrics: dict[str, float | None]


class EnsembleOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The averages, cell by cell in the task's order."""

    schema: str = OUTPUT_SCHEMA
    cells: tuple[CellAverage, ...]
