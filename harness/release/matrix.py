"""The matrix: one experiment in every environment that this machine can run, compared inside each and across them."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import combinations
from pathlib import Path

import msgspec

from harness.errors import ExitCode, HarnessError, PrerequisiteError, UsageError, worst
from harness.locking.imagespec import image_names
from harness.record.archive import LoadedRun, load_run
from harness.record.cells import Cell
from harness.record.changes import environment_changes, probe_changes
from harness.record.compare import RunComparison, compare_loaded
from harness.record.distance import distance
from harness.record.layout import predictions_file
from harness.record.verdicts import Verdict, comparison_exit_code
from harness.release.fitting import why_unfit
from harness.release.site import Site
from harness.runs.opening import EngineName, Environment, environment, open_engine
from harness.runs.request import RunRequest
from harness.runs.train import train
from harness.spec.experiment import View
from harness.spec.run import Profile

SCHEMA = "harness.matrix/1"


class State(StrEnum):
    """What became of one environment. `skipped`: this machine cannot run it; `failed`: a run of it did not end well."""

    IDENTICAL = "identical"
    DIVERGENT = "divergent"
    INCOMPARABLE = "incomparable"
    FAILED = "failed"
    SKIPPED = "skipped"


class MatrixRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to train, and where. `environments` null: `host` and every image with a spec. `runs` is at least 2."""

    experiment: str
    quick: bool = False
    environments: tuple[str, ...] | None = None
    runs: int = 2
    profile: Profile = Profile.NATIVE


class EnvironmentResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One environment: its runs by name, and what each later one's cells are against the first's.

    `reasons` say why it was skipped, failed or is not identical. `exit_code` is what it adds to the matrix's own.
    """

    name: str
    state: State
    runs: tuple[str, ...] = ()
    verdicts: dict[str, int] = {}
    reasons: tuple[str, ...] = ()
    exit_code: int = 0


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of the comparison group that differs, in how many cells, and what lies behind it where that is known."""

    field: str
    cells: int
    changes: tuple[str, ...] = ()


class FamilyDistance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far one family's cells are apart in two environments.

    `identical` of `cells` have the same fingerprint, `same_predictions` at least the same bits in their predictions.
    `relative` is the largest root mean square of a cell's differences in units of its predictions' standard deviation,
    `correlation` the lowest, `metric` the one with the largest absolute `delta`. Null where nothing could be compared.
    `unpaired` cells have predictions whose rows do not pair up.
    """

    family: str
    cells: int
    identical: int
    same_predictions: int
    unpaired: int
    relative: float | None
    correlation: float | None
    metric: str | None
    delta: float | None


class PairResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first runs of two environments against each other. `reasons` hold for all their cells together."""

    before: str
    after: str
    verdicts: dict[str, int]
    reasons: tuple[Reason, ...]
    families: tuple[FamilyDistance, ...]


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole answer. Environments that were skipped are listed, never counted as passed."""

    schema: str = SCHEMA
    experiment: str
    quick: bool
    profile: Profile
    environments: tuple[EnvironmentResult, ...]
    pairs: tuple[PairResult, ...]
    exit_code: int


def run_matrix(request: MatrixRequest, site: Site) -> Matrix:
    """Train in each environment `request.runs` times, and compare; the runs are kept as any others.

    An environment that fails does not keep the others from being tried.

    Raises:
        UsageError: an environment is named that is none, or the experiment makes no sense.
    """
    names = request.environments or ("host", *image_names(site.root))
    wanted = [environment(name, site.root) for name in dict.fromkeys(names)]
    results, trained = [], []
    for one in wanted:
        result, runs = _run_environment(one, request, site)
        results.append(result)
        trained += [(one.name, runs[0])] if runs else []
    pairs = tuple(across(*before, *after) for before, after in combinations(trained, 2))
    return Matrix(
        experiment=request.experiment,
        quick=request.quick,
        profile=request.profile,
        environments=tuple(results),
        pairs=pairs,
        exit_code=exit_code_of(results, pairs, asked=request.environments is not None),
    )


def inside(name: str, runs: Sequence[LoadedRun]) -> EnvironmentResult:
    """Whether an environment repeats itself: each later run against the first, cell by cell."""
    comparisons = [compare_loaded(runs[0], later) for later in runs[1:]]
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    verdicts = [cell.verdict for cell in cells]
    code = comparison_exit_code(verdicts)
    state = {ExitCode.OK: State.IDENTICAL, ExitCode.DIVERGENT: State.DIVERGENT}.get(code, State.INCOMPARABLE)
    return EnvironmentResult(
        name=name,
        state=state,
        runs=tuple(run.label.run_name for run in runs),
        verdicts=_counted(verdicts),
        reasons=tuple(
            f"{cell.target} {cell.view} {cell.symbol or 'all'} {cell.family}: {'; '.join(cell.reasons)}"
            for cell in cells
            if cell.reasons
        ),
        exit_code=code,
    )


def across(before_name: str, before: LoadedRun, after_name: str, after: LoadedRun) -> PairResult:
    """Two environments' runs of one experiment: verdicts, what keeps them apart, and the distance in numbers.

    Raises:
        IntegrityError: a file of predictions is none.
    """
    comparison = compare_loaded(before, after)
    news = {cell.key: cell for cell in after.cells}
    shared = [(old, news[old.key]) for old in before.cells if old.key in news]
    return PairResult(
        before=before_name,
        after=after_name,
        verdicts=_counted([cell.verdict for cell in comparison.cells]),
        reasons=_reasons(comparison, shared),
        families=tuple(
            _family_distance(family, before, after, comparison, [pair for pair in shared if pair[0].family == family])
            for family in sorted({old.family for old, _ in shared})
        ),
    )


def exit_code_of(environments: Sequence[EnvironmentResult], pairs: Sequence[PairResult], *, asked: bool) -> ExitCode:
    """What the command answers. `asked`: the environments were named, so that one that was skipped was not tested.

    2 where none could be run. That two environments are incomparable is what is expected of them; that they are
    divergent (the same group with other bits), or do not hold the same cells, is not.
    """
    codes = [ExitCode(result.exit_code) for result in environments if result.state is not State.SKIPPED]
    if not codes:
        return ExitCode.USAGE
    if asked and len(codes) < len(environments):
        codes.append(ExitCode.INCOMPARABLE)
    for pair in pairs:
        codes += [ExitCode.DIVERGENT] if pair.verdicts.get(Verdict.DIVERGENT) else []
        codes += [ExitCode.INCOMPARABLE] if pair.verdicts.get(Verdict.UNVERIFIED) else []
    return worst(codes)


def why_skipped(one: Environment, root: Path, experiments: Sequence[str] = ()) -> str | None:
    """Why an environment cannot train some experiments here, as far as that can be seen without its engine."""
    if one.engine is EngineName.HOST:
        return None
    lock = root / "lockfiles" / one.image / "image.lock"
    if not lock.is_file():
        return f"there is no {lock.relative_to(root)}: harness build {one.image} --update"
    if reason := why_unfit(one.image, root, experiments):
        return reason
    return None


def _run_environment(
    one: Environment, request: MatrixRequest, site: Site
) -> tuple[EnvironmentResult, tuple[LoadedRun, ...]]:
    if reason := why_skipped(one, site.root, [request.experiment]):
        return EnvironmentResult(name=one.name, state=State.SKIPPED, reasons=(reason,)), ()
    try:
        engine = open_engine(one.engine, site.root, site.store, site.progress)
    except PrerequisiteError as error:
        return EnvironmentResult(name=one.name, state=State.SKIPPED, reasons=(error.message,)), ()
    asked = RunRequest(
        experiment=request.experiment,
        quick=request.quick,
        profile=request.profile,
        image=one.image,
        results=site.results,
    )
    runs: list[LoadedRun] = []
    try:
        for number in range(1, request.runs + 1):
            site.progress.note(f"{one.name}: run {number} of {request.runs}")
            report = train(asked, root=site.root, store=site.store, engine=engine, progress=site.progress)
            runs.append(load_run(Path(report.folder)))
    except UsageError:  # what was asked makes no sense, in any environment
        raise
    except HarnessError as error:
        names = tuple(run.label.run_name for run in runs)
        failed = EnvironmentResult(
            name=one.name, state=State.FAILED, runs=names, reasons=(error.message,), exit_code=error.exit_code
        )
        return failed, ()
    return inside(one.name, runs), tuple(runs)


def _counted(verdicts: Sequence[Verdict]) -> dict[str, int]:
    return {verdict.value: verdicts.count(verdict) for verdict in Verdict if verdict in verdicts}


def _reasons(comparison: RunComparison, shared: Sequence[tuple[Cell, Cell]]) -> tuple[Reason, ...]:
    """The fields that differ in any cell, with what lies behind them in all cells together."""
    behind: dict[str, dict[str, None]] = {"environment_signature": {}, "probe_signature": {}}
    for old, new in shared:
        found = environment_changes(old.environment, new.environment, Profile(str(new.group["profile"])))
        behind["environment_signature"] |= dict.fromkeys(found)
        behind["probe_signature"] |= dict.fromkeys(probe_changes(old.environment, new.environment))
    fields = [key for cell in comparison.cells for key in cell.changed_keys]
    return tuple(Reason(key, fields.count(key), tuple(behind.get(key, {}))) for key in sorted(set(fields)))


def _family_distance(
    family: str,
    before: LoadedRun,
    after: LoadedRun,
    comparison: RunComparison,
    pairs: Sequence[tuple[Cell, Cell]],
) -> FamilyDistance:
    distances = [distance(_predictions(before, old), _predictions(after, new)) for old, new in pairs]
    paired = [found for found in distances if found is not None]
    deltas = [
        (abs(change.delta), name, change.delta)
        for cell in comparison.cells
        if cell.family == family
        for name, change in cell.metric_deltas.items()
        if change.delta is not None
    ]
    _, metric, delta = max(deltas, default=(0.0, None, None))
    return FamilyDistance(
        family=family,
        cells=len(pairs),
        identical=sum(old.fingerprint == new.fingerprint for old, new in pairs),
        same_predictions=sum(old.outputs["predictions"] == new.outputs["predictions"] for old, new in pairs),
        unpaired=len(pairs) - len(paired),
        relative=max((found.relative for found in paired if found.relative is not None), default=None),
        correlation=min((found.correlation for found in paired if found.correlation is not None), default=None),
        metric=metric,
        delta=delta,
    )


def _predictions(run: LoadedRun, cell: Cell) -> Path:
    return run.folder / predictions_file(cell.target, View(cell.view), cell.symbol, cell.cohort_id, cell.family)
