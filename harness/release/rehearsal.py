"""A rehearsal: what an upgrade would do to the environment and to its numbers, before anything is written or merged."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness.errors import ExitCode, HarnessError, IntegrityError, UsageError, worst
from harness.images.build import build
from harness.locking.difference import LockChange
from harness.locking.trial import Trial, trial
from harness.locking.upgrade import Replacement, Upgrades
from harness.record.archive import LoadedRun
from harness.record.hashing import signature
from harness.record.snapshot import timestamp
from harness.release.assess import assess
from harness.release.baseline import Golden
from harness.release.golden import compare_golden, golden_of, run_golden
from harness.release.kept import runs_by_group
from harness.release.numbers import golden_names
from harness.release.observe import observe, sources
from harness.release.report import Answer, DriftReport, EnvironmentDrift, GoldenCell, NotTested, Purpose
from harness.release.rules import Rules, load_rules
from harness.release.site import Site
from harness.release.state import EnvironmentState
from harness.runs.git import git_state
from harness.runs.inputs import code_mount
from harness.spec.resolution import find_experiment

BASELINE = "the locks as they are"
"""What the report says that it was held against: a rehearsal has no release."""


class RehearsalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to try: `upgrades` of the lock of `image`, or of every image (null) that they change.

    `experiment` is trained in both environments, as `harness run` takes it, in its quick form where `quick`; where it
    is null, the probe alone decides. `rules` takes the place of the project's own.
    """

    image: str | None
    upgrades: Upgrades
    experiment: str | None
    quick: bool = False
    rules: Path | None = None


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen: the locks' changes, the pins of specs that gave way, and the environments before and after."""

    changes: tuple[LockChange, ...]
    replaced: tuple[Replacement, ...]
    report: DriftReport


def rehearse(request: RehearsalRequest, site: Site) -> Rehearsal:
    """Lock, build, survey and train with an upgrade, beside the same without it. Nothing in the checkout is written.

    The upgraded images' layers stay in the store, as those of any image; runs are not kept.

    Raises:
        UsageError: an upgrade makes no sense, a spec does not exist, or there is no such experiment.
        HarnessError: the locks cannot be resolved, or an image cannot be made.
        IntegrityError: what a lock, image or run holds is not what its digest says, or a run was not strict.
    """
    if request.experiment is not None:
        find_experiment(request.experiment, site.root)
    rules = load_rules(site.baselines, request.rules)
    with trial(site.root, request.image, site.store, progress=site.progress, upgrades=request.upgrades) as tried:
        drifts = tuple(_drift(image, request, site, tried, rules) for image in _images(tried))
    return Rehearsal(
        changes=tried.locking.changes,
        replaced=tried.replaced,
        report=DriftReport(
            project=site.project,
            baseline=BASELINE,
            baseline_digest=signature({drift.name: sources(site.root, drift.name).digests for drift in drifts}),
            commit=git_state(site.root).commit,
            created_at=timestamp(datetime.now(UTC)),
            rules=rules.digest,
            environments=drifts,
            waivers=(),
            exit_code=exit_code_of(drifts),
            purpose=Purpose.REHEARSAL,
        ),
    )


def exit_code_of(drifts: Sequence[EnvironmentDrift]) -> ExitCode:
    """1 where numbers would change, else 3 where that could not be told, else 0.

    That the environment changes is what was asked for, and no failure.
    """
    return worst(_code(drift) for drift in drifts)


def _code(drift: EnvironmentDrift) -> ExitCode:
    if drift.numbers is Answer.CHANGED:
        return ExitCode.DIVERGENT
    untested = drift.not_tested or any(cell.answer is Answer.NOT_TESTED for cell in drift.golden)
    return ExitCode.INCOMPARABLE if untested or drift.numbers is Answer.NOT_TESTED else ExitCode.OK


def _images(tried: Trial) -> tuple[str, ...]:
    """The images of which a lock, or a pin of its spec, is not as in the checkout."""
    locks = (path.relative_to(tried.root / "lockfiles") for path in tried.locking.written)
    named = {lock.parts[0] for lock in locks if len(lock.parts) == 2}
    return tuple(sorted(named | {pin.image for pin in tried.replaced}))


def _drift(image: str, request: RehearsalRequest, site: Site, tried: Trial, rules: Rules) -> EnvironmentDrift:
    before = observe(image, site)
    site.progress.note(f"Making {image} with the upgrade")
    build(image, root=tried.root, store=site.store, progress=site.progress, update=True)
    after = observe(image, site, root=tried.root)
    with tempfile.TemporaryDirectory(prefix="harness-rehearsal-") as results:
        aside = msgspec.structs.replace(site, results=Path(results))
        goldens, cells, untested = _golden(request, before.state, after.state, aside, tried.root)
    code, kept = code_mount(site.store).digest, runs_by_group(site.results)
    drift = assess(
        before.state,
        after.state,
        rules=rules,
        code=(code, code),
        goldens=goldens,
        golden_cells=cells,
        golden_not_tested=untested,
        stored=lambda group: kept.get(group, ()),
        measured_at=after.measured_at,
        root=site.root,
    )
    named = golden_names(goldens)
    return msgspec.structs.replace(drift, candidate=_candidate(image, request, tried), known_golden=named)


def _golden(
    request: RehearsalRequest, before: EnvironmentState, after: EnvironmentState, site: Site, root: Path
) -> tuple[tuple[Golden, ...], tuple[GoldenCell, ...], tuple[NotTested, ...]]:
    """The experiment in both environments, the later one held against the earlier."""
    if request.experiment is None:
        return (), (), ()
    experiment, quick = request.experiment, request.quick
    what = f"golden {experiment}"
    runs: list[LoadedRun] = []
    for state, place, side in ((before, None, "as it is"), (after, root, "with the upgrade")):
        if state.survey is None:
            return (), (), (NotTested(what, f"{state.name} {side}: {state.unsurveyed}"),)
        site.progress.note(f"Training {experiment} in {state.name} {side}")
        try:
            runs.append(run_golden(state.name, experiment, quick, site, root=place, profile=state.profile))
        except (IntegrityError, UsageError):
            raise
        except HarnessError as error:
            return (), (), (NotTested(what, f"it cannot be run in {state.name} {side}: {error.message}"),)
    stored = golden_of(runs[0], before.name, experiment, quick)
    return (stored,), compare_golden(stored, runs[1], runs[0]), ()


def _candidate(image: str, request: RehearsalRequest, tried: Trial) -> str:
    """What the upgraded environment is called: with what was asked for, and the pins that gave way."""
    pins = [f"{pin.after} (its spec asks for {pin.before})" for pin in tried.replaced if pin.image == image]
    names = {pin.after.partition("==")[0] for pin in tried.replaced if pin.image == image}
    rest = [str(upgrade) for upgrade in request.upgrades.chosen if upgrade.name not in names]
    everything = ["everything upgraded"] if request.upgrades.everything else []
    return f"{image} with {', '.join((*pins, *rest, *everything)) or 'what its spec asks for now'}"
