"""The drift check: every environment of a baseline observed again, held against what it was, and answered for."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import msgspec

from harness.engines.host_environment import IMAGE as HOST_IMAGE
from harness.errors import ExitCode, UsageError, worst
from harness.locking.imagespec import image_names, spec_path
from harness.record.snapshot import timestamp
from harness.release.assess import assess
from harness.release.baseline import Baseline, Golden, check_applies, find_baseline
from harness.release.entries import SURVEYED
from harness.release.kept import runs_by_group
from harness.release.numbers import golden_names, golden_path
from harness.release.observe import observe
from harness.release.report import (
    NUMBERS,
    Answer,
    DriftReport,
    EnvironmentDrift,
    GoldenCell,
    Layer,
    NotTested,
    WaiverOutcome,
    WaiverState,
)
from harness.release.rules import Rules, load_rules
from harness.release.site import Site
from harness.release.state import EnvironmentState
from harness.release.waivers import EVERYTHING, SUFFIX, Examined, Waiver, apply_waivers, load_waivers, needs_waiver
from harness.runs.git import git_state
from harness.runs.inputs import code_mount
from harness.runs.opening import EngineName
from harness.spec.digest import Digest
from harness.spec.documents import suggestion

WITHOUT_RUNNING = frozenset(Layer) - SURVEYED - {Layer.WHEEL}
"""The layers that locks and specs tell whole; of wheels they know what is locked, and not what is installed."""


class DriftRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for.

    `baseline` is a release or a path (null: the latest), `candidates` are environments of the checkout (none: those of
    the baseline), `environment` is the one of the baseline to hold them against where it is not that of their name.
    `golden` runs the golden runs again, `fresh` uses no kept survey. `rules` and `waivers` are files that take the
    place of the project's own.
    """

    baseline: str | None = None
    candidates: tuple[str, ...] = ()
    environment: str | None = None
    golden: bool = False
    fresh: bool = False
    rules: Path | None = None
    waivers: Path | None = None


class Pair(msgspec.Struct, frozen=True):
    """An environment of the baseline, and the one of the checkout that is held against it."""

    environment: str
    candidate: str


class _Checked(msgspec.Struct, frozen=True):
    drift: EnvironmentDrift
    examined: Examined


def check_drift(request: DriftRequest, site: Site) -> DriftReport:
    """What has drifted since a baseline, with the exit code that answers for it.

    Raises:
        UsageError: there is no such baseline, it is of another project, a name is not known, golden runs are asked for
            where it holds none, or a file of rules or waivers makes no sense.
        IncomparableError: the baseline is of another architecture.
        IntegrityError: the baseline, a lock or a golden run is not what its digest says.
    """
    now = datetime.now(UTC)
    baseline = find_baseline(site, request.baseline)
    check_applies(baseline, site)
    check = _Check(request, baseline, site)
    _require_environments(request, baseline, site)
    pairs = pairs_of(request, baseline)
    if request.golden:
        _require_golden(baseline, pairs)
    waivers = _waivers(request, baseline, site, now)
    checked = [check.pair(pair) for pair in pairs]
    drifts, outcomes = apply_waivers(
        [each.drift for each in checked], waivers, today=now.date(), examined=_examined(checked, waivers, baseline)
    )
    return DriftReport(
        project=baseline.project,
        baseline=baseline.release,
        baseline_digest=baseline.digest,
        commit=git_state(site.root).commit,
        created_at=timestamp(now),
        rules=check.rules.digest,
        environments=drifts,
        waivers=outcomes,
        exit_code=exit_code_of(drifts, outcomes),
        unbaselined=_unbaselined(baseline, pairs, site),
    )


def pairs_of(request: DriftRequest, baseline: Baseline) -> tuple[Pair, ...]:
    """Which environment of the baseline each candidate is held against, in the order asked for.

    Raises:
        UsageError: an environment is not in the baseline, a candidate is given twice, or it is of a name that the
            baseline does not have while nothing says what to hold it against.
    """
    known = tuple(baseline.environments)
    if request.environment is not None and request.environment not in known:
        raise UsageError(
            f"The baseline {baseline.release} has no environment {request.environment!r}",
            hint=suggestion(request.environment, known),
        )
    candidates = request.candidates or ((request.environment,) if request.environment else known)
    if twice := sorted({name for name in candidates if candidates.count(name) > 1}):
        raise UsageError(f"The candidate {twice[0]!r} is given twice", hint="Name each once.")
    return tuple(Pair(request.environment or _namesake(name, baseline), name) for name in candidates)


def exit_code_of(drifts: Sequence[EnvironmentDrift], outcomes: Sequence[WaiverOutcome]) -> ExitCode:
    """1 for a change that fails or a waiver that does not hold, else 3 where anything was not tested, else 0."""
    stale = any(outcome.state in (WaiverState.EXPIRED, WaiverState.UNMATCHED) for outcome in outcomes)
    codes = [ExitCode.DIVERGENT] if stale else []
    codes += [ExitCode.DIVERGENT for drift in drifts if _drifted(drift)]
    codes += [ExitCode.INCOMPARABLE for drift in drifts if _untested(drift)]
    return worst(codes)


def _drifted(drift: EnvironmentDrift) -> bool:
    unexplained = drift.numbers is Answer.CHANGED and not any(change.layer in NUMBERS for change in drift.changes)
    return unexplained or any(map(needs_waiver, drift.changes))


def _untested(drift: EnvironmentDrift) -> bool:
    """Whether anything is unknown. A waiver answers for a change, not for what nobody looked at."""
    answers = [drift.environment, drift.numbers, *(cell.answer for cell in drift.golden)]
    answers += [change.numbers for change in drift.changes if change.numbers is not None]
    return bool(drift.not_tested) or Answer.NOT_TESTED in answers


def _require_environments(request: DriftRequest, baseline: Baseline, site: Site) -> None:
    """Refuse a candidate that is in neither the baseline nor the checkout, whatever it was to be held against."""
    known = dict.fromkeys((*baseline.environments, *image_names(site.root), EngineName.HOST.value))
    for name in request.candidates:
        if name not in known:
            raise UsageError(
                f"There is no environment {name!r} in the checkout or the baseline {baseline.release}",
                hint=suggestion(name, known),
            )


def _unbaselined(baseline: Baseline, pairs: Sequence[Pair], site: Site) -> tuple[str, ...]:
    """The images that the checkout has locked, and that neither the baseline holds nor this check looked at."""
    known = {*baseline.environments, *(pair.candidate for pair in pairs)}
    locked = [name for name in image_names(site.root) if (site.root / "lockfiles" / name / "image.lock").is_file()]
    return tuple(sorted(set(locked) - known))


def _namesake(candidate: str, baseline: Baseline) -> str:
    names = tuple(baseline.environments)
    if candidate in names:
        return candidate
    if len(names) == 1:
        return names[0]
    raise UsageError(
        f"The baseline {baseline.release} has no environment {candidate!r}",
        hint=f"Say which one to hold it against: --environment {' or '.join(names)}.",
    )


def _require_golden(baseline: Baseline, pairs: Sequence[Pair]) -> None:
    wanted = sorted({pair.environment for pair in pairs})
    if not any(golden.environment in wanted for golden in baseline.golden):
        raise UsageError(
            f"The baseline {baseline.release} holds no golden run of {', '.join(wanted)}",
            hint="Leave --golden out: the probe alone then decides.",
        )


def _waivers(request: DriftRequest, baseline: Baseline, site: Site, now: datetime) -> tuple[Waiver, ...]:
    own = site.baselines / f"{baseline.release}{SUFFIX}"
    path = request.waivers or (own if own.exists() else None)
    return () if path is None else load_waivers(path, today=now.date())


def _examined(checked: Sequence[_Checked], waivers: Sequence[Waiver], baseline: Baseline) -> dict[str, Examined]:
    """What was looked at by environment; one that the baseline does not have cannot change, whatever a waiver says."""
    found = {each.environment: EVERYTHING for each in waivers if each.environment not in baseline.environments}
    for each in checked:
        before = found.get(each.drift.name, each.examined)
        found[each.drift.name] = Examined(
            before.layers | each.examined.layers, before.left_out & each.examined.left_out
        )
    return found


class _Check:
    """What every pair of a check shares."""

    def __init__(self, request: DriftRequest, baseline: Baseline, site: Site) -> None:
        self.rules: Rules = load_rules(site.baselines, request.rules)
        self._request = request
        self._baseline = baseline
        self._site = site

    def pair(self, pair: Pair) -> _Checked:
        before = self._baseline.environments[pair.environment]
        goldens = tuple(golden for golden in self._baseline.golden if golden.environment == pair.environment)
        if (reason := self._gone(pair)) is not None:
            return _Checked(_unseen(pair, reason, goldens), Examined(frozenset()))
        seen = observe(pair.candidate, self._site, profile=before.profile, fresh=self._request.fresh)
        cells, missed = self._golden(goldens, before, seen.state)
        drift = assess(
            before,
            seen.state,
            rules=self.rules,
            code=(self._baseline.code, self._code),
            goldens=goldens,
            golden_cells=cells,
            golden_not_tested=missed,
            stored=self._stored,
            measured_at=seen.measured_at,
            root=self._site.root,
        )
        drift = msgspec.structs.replace(drift, known_golden=golden_names(goldens))
        return _Checked(drift, self._looked_at(goldens, cells, before, seen.state))

    def _gone(self, pair: Pair) -> str | None:
        """Why a candidate that the baseline knows cannot be looked at in this checkout."""
        name = HOST_IMAGE if pair.candidate == EngineName.HOST else pair.candidate
        if pair.candidate not in self._baseline.environments or spec_path(self._site.root, name).is_file():
            return None
        return f"there is no docker/{name}.yaml in the checkout any more"

    def _golden(
        self, goldens: Sequence[Golden], before: EnvironmentState, after: EnvironmentState
    ) -> tuple[tuple[GoldenCell, ...], tuple[NotTested, ...]]:
        if not self._request.golden:
            return (), ()
        if not goldens:
            reason = f"the baseline {self._baseline.release} holds none of {before.name}, and --golden asks for them"
            return (), (NotTested("golden runs", reason),)
        from harness.release.golden import check_golden  # with it come NumPy and the engines, which cost half a second

        return check_golden(goldens, before, after, self._site)

    def _looked_at(
        self, goldens: Sequence[Golden], cells: Sequence[GoldenCell], before: EnvironmentState, after: EnvironmentState
    ) -> Examined:
        surveyed = before.survey is not None and after.survey is not None
        layers = frozenset(Layer) if surveyed else WITHOUT_RUNNING
        if not self._request.golden:
            return Examined(layers - {Layer.GOLDEN})
        known = {golden_path(golden, result) for golden in goldens for result in golden.cells}
        tested = {cell.path for cell in cells if cell.answer is not Answer.NOT_TESTED}
        return Examined(layers | {Layer.GOLDEN}, frozenset(f"{Layer.GOLDEN} {path}" for path in known - tested))

    @cached_property
    def _code(self) -> Digest:
        return code_mount(self._site.store).digest

    @cached_property
    def _runs(self) -> dict[Digest, tuple[str, ...]]:
        return runs_by_group(self._site.results)

    def _stored(self, group: Digest) -> tuple[str, ...]:
        return self._runs.get(group, ())


def _unseen(pair: Pair, reason: str, goldens: Sequence[Golden]) -> EnvironmentDrift:
    return EnvironmentDrift(
        name=pair.environment,
        candidate=pair.candidate,
        environment=Answer.NOT_TESTED,
        numbers=Answer.NOT_TESTED,
        tested_by=(),
        not_tested=(NotTested(f"environment {pair.candidate}", reason),),
        changes=(),
        golden=(),
        expired=(),
        measured_at=None,
        known_golden=golden_names(goldens),
    )
