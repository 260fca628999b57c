"""Fits that have ended, kept as checkpoints: a run that is resumed does not make them again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from harness.errors import IntegrityError
from harness.record.files import write_atomically
from harness.record.results import writing
from harness.strict.checkpoints import Checkpoints
from harness.training.arrays import save_array

_FINISHED = "finished"
_STEPS = "steps"
# Before any step, so that going back before one (`--resume-before`) leaves the fits that have ended.
_STEP = 0


class FitCheckpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where a fit's checkpoints are, what must be equal to go on from them, how often they are made and how many kept.

    Without `every` only the fit that has ended is kept.
    """

    folder: str
    identity: str
    every: int | None
    keep: int

    @property
    def steps(self) -> Checkpoints | None:
        """Those of the fit while it lasts."""
        if self.every is None:
            return None
        return Checkpoints(Path(self.folder, _STEPS), identity=self.identity, keep=self.keep)

    @property
    def finished(self) -> Checkpoints:
        """That of the fit that has ended."""
        return Checkpoints(Path(self.folder, _FINISHED), identity=self.identity)


def keep_finished(checkpoints: FitCheckpoints, result: object, predictions: Path, model: Path) -> None:
    """Keep what a fit gave, its predictions and its model file; the checkpoints of its steps have no more use.

    Raises:
        PrerequisiteError: the folder cannot be written.
    """
    state = {
        "result": msgspec.json.encode(result),
        "predictions": np.load(predictions),
        "model": model.read_bytes(),
    }
    checkpoints.finished.save(_STEP, state)
    shutil.rmtree(Path(checkpoints.folder, _STEPS), ignore_errors=True)


def take_finished(
    checkpoints: FitCheckpoints, decode: Callable[[bytes], tuple[object, str]], predictions: Path, folder: Path
) -> object | None:
    """What a fit gave in an earlier attempt, with its files where this one expects them; None where it had not ended.

    `decode` gives the result and the name of its model file.

    Raises:
        HarnessError: as `Checkpoints.load`.
    """
    found = checkpoints.finished.load()
    if found is None:
        return None
    result, name = decode(found.state["result"])
    if not name or Path(name).name != name:
        raise IntegrityError(
            f"{found.path} names the model file {name!r}, which is no file's name",
            hint="The harness did not write that: start the run anew, without --resume.",
        )
    save_array(predictions, found.state["predictions"])
    with writing(folder):
        write_atomically(folder / name, found.state["model"])
    return result
