"""Checkpoints for a training loop of one's own: model, optimizer and all else that must go on where it stopped.

    state = TrainingState(model=model, optimizer=optimizer, scheduler=scheduler, sampler=sampler)
    resumed = state.resume()
    for epoch in range(resumed.epoch, EPOCHS):
        for batch in sampler.batches(loader):
            …
            step += 1
            state.save(step, epoch=epoch)

Under `harness exec` the folder and the identity are the run's own; elsewhere both are given.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from harness.errors import HarnessError, PrerequisiteError, UsageError
from harness.strict.checkpoints import Checkpoints
from harness.strict.random_states import capture_random_states, restore_random_states

FOLDER_VARIABLE = "HARNESS_CHECKPOINTS"
IDENTITY_FILE = "identity.txt"

_EXPLICIT = "Run the program with `harness exec`, or give TrainingState both folder= and identity=."


class Stateful(Protocol):
    """What has a state: modules, optimizers, schedulers, GradScaler, samplers, loaders that can."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as values."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take over a state."""


class Resumed(NamedTuple):
    """Where a training stands: after `step` steps, in `epoch`; `extra` is what else was saved. All 0 at the start."""

    step: int = 0
    epoch: int = 0
    extra: Mapping[str, Any] = {}


class Place(NamedTuple):
    """Where checkpoints lie, and what must be equal to go on from them."""

    folder: Path
    identity: str


class TrainingState:
    """The parts of a training that change, each with `state_dict` and `load_state_dict`, and all random states.

    `generators` are those of the program's own, by name; `folder`, `identity` and `keep` are as for `Checkpoints`,
    and under `harness exec` the first two are the run's own (`HARNESS_CHECKPOINTS`).
    """

    def __init__(
        self,
        *,
        folder: Path | str | None = None,
        identity: str | None = None,
        keep: int = 2,
        generators: Mapping[str, Any] | None = None,
        **parts: Stateful,
    ) -> None:
        """Nothing is read or written yet.

        Raises:
            UsageError: a part has no state, or folder and identity are neither given nor the run's own.
            PrerequisiteError: the run's identity cannot be read.
        """
        for name, part in parts.items():
            if not (callable(getattr(part, "state_dict", None)) and callable(getattr(part, "load_state_dict", None))):
                raise UsageError(
                    f"{name} is a {type(part).__qualname__}, which has no state_dict() and load_state_dict()",
                    hint="Pass numbers and texts to save(…, extra={…}) instead.",
                )
        self._parts = parts
        self._generators = dict(generators or {})
        place = _place(folder, identity)
        self._is_run = folder is None
        self._checkpoints = Checkpoints(place.folder, identity=place.identity, keep=keep)

    def save(self, step: int, *, epoch: int = 0, extra: Mapping[str, Any] | None = None) -> Path:
        """Write a checkpoint after `step` steps; `extra` are values of the program's own (the best loss so far).

        Raises:
            HarnessError: as `Checkpoints.save`.
        """
        return self._checkpoints.save(
            step,
            {
                "epoch": epoch,
                "extra": dict(extra or {}),
                "parts": {name: part.state_dict() for name, part in self._parts.items()},
                "random": capture_random_states(self._generators),
            },
        )

    def resume(self, *, before: int | None = None) -> Resumed:
        """Put every part and generator where the newest checkpoint says; at the start nothing is changed.

        With `before`, checkpoints from that step on are removed first. A refusal ends a run of `harness exec` with its
        sentence and exit code (4 for a damaged checkpoint); elsewhere it is raised.

        Raises:
            HarnessError: as `Checkpoints.load`; or the parts or generators are not those of then (UsageError).
        """
        try:
            return self._resume(before)
        except HarnessError as error:
            if not self._is_run:
                raise
            sys.stderr.write(f"harness: {error}\n")
            raise SystemExit(int(error.exit_code)) from error

    def _resume(self, before: int | None) -> Resumed:
        found = self._checkpoints.load(before=before)
        if found is None:
            return Resumed()
        parts = found.state["parts"]
        if set(parts) != set(self._parts):
            differ = ", ".join(sorted(set(parts) ^ set(self._parts)))
            raise UsageError(
                f"{found.path} was written with other parts: {differ} is on one side alone",
                hint="Hand over the parts of then, or start anew in another folder.",
            )
        for name, part in self._parts.items():
            part.load_state_dict(parts[name])
        restore_random_states(found.state["random"], self._generators)
        return Resumed(found.step, found.state["epoch"], found.state["extra"])


def run_identity(folder: Path) -> str:
    """What must be equal for the run whose checkpoints lie in `folder` to be resumed; the engine's side wrote it.

    Raises:
        PrerequisiteError: it is not there, or cannot be read.
    """
    try:
        return (folder / IDENTITY_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"{folder / IDENTITY_FILE} cannot be read: {error}", hint=_EXPLICIT) from error


def _place(folder: Path | str | None, identity: str | None) -> Place:
    """Both as given, or both the run's own.

    Raises:
        UsageError: only one is given, or none and this is no run.
    """
    if folder is not None and identity is not None:
        return Place(Path(folder), identity)
    if folder is not None or identity is not None:
        raise UsageError("TrainingState got one of folder and identity, not both", hint=_EXPLICIT)
    variable = os.environ.get(FOLDER_VARIABLE)
    if not variable:
        raise UsageError(f"{FOLDER_VARIABLE} is not set: nobody says where checkpoints go", hint=_EXPLICIT)
    return Place(Path(variable), run_identity(Path(variable)))
