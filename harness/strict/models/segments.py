"""A fit in segments: where it may be interrupted, and go on with the same bits.

At the end of each segment the model goes through its saved form, whether or not anything is saved and whether or not
the fit was interrupted: so a fit that goes on from a checkpoint computes what the uninterrupted one does. A boosting
library starts each segment with a generator of its own, whose seed follows from the run's and the segment's number.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from harness.errors import IncomparableError, IntegrityError
from harness.strict.models.interface import Settings
from harness.strict.models.rows import Rows
from harness.strict.models.stopping import Watch

SCHEMA = "harness.segments/1"

_MODULUS = 2**31 - 1


class Segments:
    """The segments of one fit of `rounds` rounds, and its checkpoints where the settings have them.

    `facts` are what must be equal for a fit to go on, beside seed, kind of target and the rows themselves: library,
    its version, hyperparameters, and the number of threads where it counts.
    """

    def __init__(self, settings: Settings, rounds: int, facts: Mapping[str, Any], rows: Rows) -> None:
        self._settings = settings
        self._rounds = rounds
        self._length = settings.checkpoint_every or rounds
        self._identity = "" if settings.checkpoints is None else _identity(settings, rounds, facts, rows)

    @property
    def segmented(self) -> bool:
        """Whether a model goes through its saved form at the end of a segment."""
        return self._settings.checkpoint_every is not None

    def resume(self) -> tuple[int, dict[str, Any] | None]:
        """The round after which to go on and the state that was saved then; 0 and null at the beginning.

        Raises:
            IncomparableError: the checkpoint is of other rows, hyperparameters, seed or library.
            IntegrityError: the newest checkpoint is damaged, or not of a fit.
        """
        found = None if self._settings.checkpoints is None else self._settings.checkpoints.load()
        if found is None:
            return 0, None
        theirs = found.state.get("identity")
        if type(theirs) is not str or found.state.get("schema") != SCHEMA:
            raise IntegrityError(f"{found.path} holds no fit of a model", hint="Remove it to start anew.")
        if theirs != self._identity:
            raise IncomparableError(
                f"{found.path} is of another fit: {_difference(theirs, self._identity)}",
                hint="Go on with what it was made with, or start anew in another folder.",
            )
        return found.step, found.state

    def spans(self, done: int) -> Iterator[tuple[int, int, int]]:
        """The segments that are left after `done` rounds: each one's seed, first round and the round after its last."""
        for first in range(done, self._rounds, self._length):
            seed = segment_seed(self._settings.seed, first // self._length)
            yield seed, first, min(first + self._length, self._rounds)

    def save(self, done: int, make: Callable[[], dict[str, Any]], watch: Watch | None) -> None:
        """Save what `make` gives and what early stopping remembers after `done` rounds, where there are checkpoints.

        Raises:
            PrerequisiteError: the folder cannot be written.
        """
        if self._settings.checkpoints is None:
            return
        remembered = None if watch is None else watch.state()
        state = {"schema": SCHEMA, "identity": self._identity, "watch": remembered, **make()}
        self._settings.checkpoints.save(done, state)


def facts_of(library: str, hyperparameters: Mapping[str, Any], unsigned: frozenset[str]) -> dict[str, Any]:
    """A fit's facts that are known before its library is imported."""
    signed = {name: value for name, value in hyperparameters.items() if name not in unsigned}
    return {"library": library, "hyperparameters": signed}


def segment_seed(seed: int, segment: int) -> int:
    """The seed of one segment, from 1 to 2**31 - 2; the first one's is the run's."""
    if segment == 0:
        return seed
    digits = hashlib.sha256(f"{SCHEMA}|{seed}|{segment}".encode()).hexdigest()[:16]
    return int(digits, 16) % _MODULUS or 1


def _identity(settings: Settings, rounds: int, facts: Mapping[str, Any], rows: Rows) -> str:
    """What must be equal for a fit to go on, one fact a line."""
    timeline = settings.timeline
    said = {
        **facts,
        "seed": settings.seed,
        "kind": settings.kind.value,
        "strict": settings.strict,
        "rounds": rounds,
        "checkpoint_every": settings.checkpoint_every,
        "features": _digest(rows.features),
        "target": _digest(rows.target),
        "weight": _digest(rows.weight),
        "timeline": None if timeline is None else [_digest(timeline.moments), timeline.gap],
    }
    return "\n".join(f"{name}: {json.dumps(said[name], sort_keys=True, default=repr)}" for name in sorted(said))


def _digest(array: Any) -> str | None:
    if array is None:
        return None
    whole = np.ascontiguousarray(array)
    return hashlib.sha256(f"{whole.dtype.str}{whole.shape}".encode() + whole.tobytes()).hexdigest()


def _difference(theirs: str, ours: str) -> str:
    for one, other in zip(theirs.splitlines(), ours.splitlines(), strict=False):
        if one != other:
            return f"it says {one[:120]!r}, and here it is {other[:120]!r}"
    return "it says more or less than this one"
