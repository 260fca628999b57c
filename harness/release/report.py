"""What a drift check says: the one document that every format is made from (`docs/schemas/drift.json`)."""

from enum import StrEnum

import msgspec

from harness.record.compare import MetricDelta
from harness.record.distance import Distance
from harness.spec.digest import Digest

SCHEMA = "harness.drift/1"


class Purpose(StrEnum):
    """What a report is for. In a `rehearsal` the environment is meant to change: numbers alone make it red."""

    DRIFT = "drift"
    REHEARSAL = "rehearsal"


class Layer(StrEnum):
    """Where a change is. `probe` and `golden` are numbers; every other layer is environment."""

    HARDWARE = "hardware"
    KERNEL = "kernel"
    DRIVER = "driver"
    IMAGE = "image"
    OS_PACKAGE = "os-package"
    NATIVE = "native"
    INTERPRETER = "interpreter"
    WHEEL = "wheel"
    VARIABLE = "variable"
    RUNTIME = "runtime"
    LOCK = "lock"
    SPEC = "spec"
    CODE = "code"
    PROBE = "probe"
    GOLDEN = "golden"


NUMBERS = frozenset({Layer.PROBE, Layer.GOLDEN})
ENVIRONMENT = "environment"
ELSEWHERE = "code, data or hardware"
"""What `GoldenCell.because_of` says."""


class Kind(StrEnum):
    """What happened to one path. `rebuilt`: the same version with other bytes. `changed`: a value without versions."""

    ADDED = "added"
    REMOVED = "removed"
    UPGRADED = "upgraded"
    DOWNGRADED = "downgraded"
    REBUILT = "rebuilt"
    CHANGED = "changed"


class Severity(StrEnum):
    """How bad, by the rules (`harness/configs/drift.yaml`). `none` is reported and fails no check."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    NONE = "none"


class Answer(StrEnum):
    """The three answers that are kept apart."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    NOT_TESTED = "not tested"


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The committed file that a change can be seen in, below the checkout, and its line, from 1, where there is one."""

    file: str
    line: int | None


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One path of one layer that is not as it was. `before` or `after` is null where it was added or removed.

    `numbers` says whether numbers changed with it: null where the rules say that it cannot move any, `evidence` names
    the probe kernels (`numpy/exp64`) and golden cells behind `changed`. `expires` are the digests of the comparison
    groups that end with it. `follows_from` names the changes that it is but a consequence of, as `layer path`: a
    consequence fails no check of its own. `fingerprint` is the same in every check that finds this change.
    """

    environment: str
    layer: Layer
    path: str
    kind: Kind
    before: str | None
    after: str | None
    severity: Severity
    why: str
    can_move_numbers: bool
    numbers: Answer | None
    evidence: tuple[str, ...] = ()
    expires: tuple[Digest, ...] = ()
    follows_from: tuple[str, ...] = ()
    location: Location | None = None
    waived_by: str | None = None
    fingerprint: Digest

    @property
    def name(self) -> str:
        """How other changes, and people, refer to it."""
        return f"{self.layer.value} {self.path}"

    @property
    def fails(self) -> bool:
        """Whether it makes a check red."""
        return self.severity is not Severity.NONE and not self.follows_from and self.waived_by is None


class NotTested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that could not be looked at, and why. It is never a pass."""

    what: str
    reason: str


class GoldenCell(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One golden cell run again. `answer` is about its outputs' bits; `reasons` are for people.

    `because_of` is `environment` where the baseline's own environment still gives the stored bits and the candidate
    does not, `code, data or hardware` where the baseline's environment no longer gives them either, null where nothing
    changed or only one of the two could be run. `distance` is between the two runs' predictions where both were run,
    else from a kept run that still has the baseline's bits, where one is here.
    `before` is null for a cell that the baseline does not have, `after` for one that the candidate did not give.
    """

    experiment: str
    target: str
    view: str
    symbol: str | None
    family: str
    answer: Answer
    reasons: tuple[str, ...] = ()
    because_of: str | None = None
    before: Digest | None
    after: Digest | None
    metric_deltas: dict[str, MetricDelta] = {}
    distance: Distance | None = None

    @property
    def path(self) -> str:
        """What the change in layer `golden` is called."""
        return "/".join((self.experiment, self.target, self.view, self.symbol or "all", self.family))


class GoldenName(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A golden cell of the baseline, run again or not: `path` is what `GoldenCell.path` calls it."""

    experiment: str
    target: str
    family: str
    path: str


class ExpiredGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A comparison group of the baseline that nothing run in the candidate can be compared in.

    Its runs stay comparable with each other, and with what another environment still gives of it.
    `golden` is its golden cell's path (`GoldenCell.path`), `stored_runs` the complete runs here that hold a cell of it.
    """

    group: Digest
    golden: str
    stored_runs: tuple[str, ...]


class EnvironmentDrift(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One environment of the baseline against a candidate. `environment` and `numbers` are separate answers.

    `tested_by` says what the answer on numbers rests on (`probe`, `golden`). `measured_at` is when the candidate was
    surveyed (UTC), null where it was not. Changes come in the order of layers, then paths. `probed` counts the probe
    kernels that were compared, by library; `unprobed` are installed wheels that compute by the rules and that no probe
    was compared of, so that golden runs alone can clear them. `known_golden` are all golden cells that the baseline
    holds of it.
    """

    name: str
    candidate: str
    environment: Answer
    numbers: Answer
    tested_by: tuple[str, ...]
    not_tested: tuple[NotTested, ...]
    changes: tuple[Change, ...]
    golden: tuple[GoldenCell, ...]
    expired: tuple[ExpiredGroup, ...]
    measured_at: str | None
    probed: dict[str, int] = {}
    unprobed: tuple[str, ...] = ()
    known_golden: tuple[GoldenName, ...] = ()


class WaiverState(StrEnum):
    """What became of a waiver. `not examined`: its layer was not looked at this time, so nothing can be said."""

    USED = "used"
    EXPIRED = "expired"
    UNMATCHED = "unmatched"
    NOT_EXAMINED = "not examined"


class WaiverOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One waiver of the file: who took responsibility for what until when, and what became of it."""

    id: str
    author: str
    reason: str
    expires: str
    state: WaiverState
    detail: str


class DriftReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole check. `exit_code` is what the command answers: 0 no drift, 1 drift, 3 not all was tested.

    A check that comes to no answer makes no report. `created_at` is UTC. `commit` is that of the checkout now (null
    outside git), `rules` the digest of the rules used. In a rehearsal `baseline` says what it was held against, and
    1 is for numbers alone. `unbaselined` are the environments with a locked image in the checkout that the baseline
    does not have: nothing is said of them.
    """

    schema: str = SCHEMA
    project: str
    baseline: str
    baseline_digest: Digest
    commit: str | None
    created_at: str
    rules: Digest
    environments: tuple[EnvironmentDrift, ...]
    waivers: tuple[WaiverOutcome, ...]
    exit_code: int
    purpose: Purpose = Purpose.DRIFT
    unbaselined: tuple[str, ...] = ()
