"""Golden runs: train again what a baseline holds, and say for each cell whether its bits are still the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import HarnessError, IntegrityError
from harness.record.archive import LoadedRun, load_run
from harness.record.cells import Cell
from harness.record.changes import changed_keys, describe_change
from harness.record.compare import SILENT_CHANGE, metric_deltas
from harness.record.distance import Distance, distance
from harness.record.layout import predictions_file
from harness.release.baseline import Golden, GoldenResult
from harness.release.kept import Kept
from harness.release.report import ELSEWHERE, ENVIRONMENT, Answer, GoldenCell, NotTested
from harness.release.restore import restored
from harness.release.site import Site
from harness.release.state import EnvironmentState
from harness.runs.opening import EngineName, environment, open_engine
from harness.runs.request import RunRequest
from harness.runs.train import train
from harness.spec.digest import Digest
from harness.spec.experiment import View
from harness.spec.resolution import find_experiment, load_experiment, resolve_experiment
from harness.spec.run import Profile

_OF_THE_ENVIRONMENT = frozenset({"environment_signature", "probe_signature"})


def run_golden(
    environment_name: str,
    experiment: str,
    quick: bool,
    site: Site,
    *,
    root: Path | None = None,
    profile: Profile = Profile.NATIVE,
) -> LoadedRun:
    """Train `experiment` in an environment, and read the run back with every digest checked.

    It is an ordinary run, kept under `site.results`. `root` is where spec and locks lie if not in the checkout. Paths
    of the experiment and of its data are seen from the checkout, wherever the caller stands.

    Raises:
        HarnessError: the run could not be made, or was not strict.
    """
    where = environment(environment_name, root or site.root)
    engine = open_engine(where.engine, root or site.root, site.store, site.progress)
    file = find_experiment(experiment, site.root).absolute()
    request = RunRequest(
        experiment=str(file),
        data=_data(file, quick, site),
        quick=quick,
        image=where.image,
        profile=profile,
        results=site.results,
        variables=False,  # a golden run is what its file says, whoever starts it
    )
    report = train(
        request, root=site.root, store=site.store, engine=engine, progress=site.progress, environment_root=root
    )
    return load_run(Path(report.folder))


def golden_of(run: LoadedRun, environment: str, experiment: str, quick: bool) -> Golden:
    """What a baseline keeps of a run."""
    return Golden(
        environment=environment,
        experiment=experiment,
        quick=quick,
        cells=tuple(
            GoldenResult(
                target=cell.target,
                view=cell.view,
                symbol=cell.symbol,
                family=cell.family,
                group=cell.group,
                outputs=cell.outputs,
                fingerprint=cell.fingerprint,
                metrics=cell.metrics,
            )
            for cell in run.cells
        ),
    )


def check_golden(
    goldens: Sequence[Golden],
    before: EnvironmentState,
    after: EnvironmentState,
    site: Site,
    *,
    after_root: Path | None = None,
) -> tuple[tuple[GoldenCell, ...], tuple[NotTested, ...]]:
    """Run the goldens of the environment `before` in the candidate `after`, and hold them against what is stored.

    Where the candidate is another environment, the baseline's own is made again and run too, so that its part in a
    change can be told from that of code, data and hardware. `after_root` is where the candidate's spec and locks lie
    if not in the checkout. A run that cannot be made is named among what was not tested.

    Raises:
        IntegrityError: a run of the candidate was not strict, or something of it is not what its digest says.
    """
    cells: list[GoldenCell] = []
    untested: list[NotTested] = []
    kept = Kept(site.results)
    for golden in goldens:
        what = f"golden {golden.experiment}"
        if after.survey is None:
            untested.append(NotTested(what, after.unsurveyed or f"{after.name} was not surveyed"))
            continue
        try:
            site.progress.note(f"Golden run of {golden.experiment} in {after.name}")
            candidate = run_golden(
                after.name, golden.experiment, golden.quick, site, root=after_root, profile=after.profile
            )
        except IntegrityError:
            raise
        except HarnessError as error:
            untested.append(NotTested(what, f"it cannot be run in {after.name}: {error.message}"))
            continue
        again: LoadedRun | None = candidate
        if not same_environment(before, after):
            again, problem = _run_again(golden, before, site)
            untested += [] if problem is None else [NotTested(f"{what} in the baseline's own {before.name}", problem)]
        cells += compare_golden(golden, candidate, again, kept)
    return tuple(cells), tuple(untested)


def same_environment(before: EnvironmentState, after: EnvironmentState) -> bool:
    """Whether a run in the one is a run in the other: the same image, or the same wheels for a plain process."""
    if (before.engine, before.profile) != (after.engine, after.profile):
        return False
    if before.engine is EngineName.HOST:
        return before.sources.digests["python.txt"] == after.sources.digests["python.txt"]
    old, new = before.sources.image, after.sources.image
    return old is not None and new is not None and old.manifest == new.manifest


def compare_golden(
    stored: Golden, candidate: LoadedRun, again: LoadedRun | None, kept: Kept | None = None
) -> tuple[GoldenCell, ...]:
    """A golden run cell by cell: the stored one, the candidate's, and the one made again in the baseline's environment.

    `again` is null where that one could not be made, and the candidate itself where that is the baseline's environment.
    Cells are held against each other although environment and probe may differ, but nothing else of their groups may.
    Where no second run can say how far bits have moved, one of those `kept` does that still has the baseline's.

    Raises:
        IntegrityError: predictions of a run cannot be read.
    """
    news = {cell.key: cell for cell in candidate.cells}
    repeats = {} if again is None else {cell.key: cell for cell in again.cells}
    results = {result.key: result for result in stored.cells}
    cells = []
    for key in sorted(results.keys() | news.keys()):
        result, new, repeat = results.get(key), news.get(key), repeats.get(key)
        if result is None or new is None:
            cells.append(_unpaired(stored.experiment, key, result, new))
            continue
        cell = _compare(stored.experiment, result, new, repeat)
        old: tuple[LoadedRun, Cell] | None = None
        if again is not None and again is not candidate:
            old = None if repeat is None else (again, repeat)
        elif cell.answer is Answer.CHANGED and kept is not None:
            old = kept.cell(result)
        if old is not None:
            cell = msgspec.structs.replace(cell, distance=_distance(old, (candidate, new)))
        cells.append(cell)
    return tuple(cells)


def _compare(experiment: str, stored: GoldenResult, new: Cell, repeat: Cell | None) -> GoldenCell:
    keys = _changed(stored, new)
    reasons: list[str] = [describe_change(key, stored.group, new.group, (), ()) for key in keys]
    cause = None
    if keys:
        answer = Answer.NOT_TESTED
    elif new.outputs == stored.outputs:
        answer = Answer.UNCHANGED
    else:
        answer = Answer.CHANGED
        reasons += _changed_outputs(stored.outputs, new.outputs)
    if repeat is not None and not keys:
        if moved := _changed(stored, repeat):
            reasons.append(f"the run in the baseline's own environment has another {', '.join(moved)}")
        elif repeat.outputs != stored.outputs:
            reasons.append("the baseline's own environment does not give the stored bits now")
            cause = ELSEWHERE if answer is Answer.CHANGED else None
        elif answer is Answer.CHANGED:
            cause = ENVIRONMENT
    return GoldenCell(
        experiment=experiment,
        target=stored.target,
        view=stored.view,
        symbol=stored.symbol,
        family=stored.family,
        answer=answer,
        reasons=tuple(reasons),
        because_of=cause,
        before=stored.fingerprint,
        after=new.fingerprint,
        metric_deltas=metric_deltas(msgspec.structs.replace(new, metrics=stored.metrics), new),
    )


def _unpaired(
    experiment: str, key: tuple[str, str, str, str], stored: GoldenResult | None, new: Cell | None
) -> GoldenCell:
    target, view, symbol, family = key
    return GoldenCell(
        experiment=experiment,
        target=target,
        view=view,
        symbol=symbol or None,
        family=family,
        answer=Answer.NOT_TESTED,
        reasons=("the baseline does not have this cell" if stored is None else "the experiment has no such cell now",),
        before=None if stored is None else stored.fingerprint,
        after=None if new is None else new.fingerprint,
    )


def _changed(stored: GoldenResult, cell: Cell) -> tuple[str, ...]:
    """What makes it another question: the fields of the comparison group that differ, the environment's left out."""
    return tuple(key for key in changed_keys(stored.group, cell.group) if key not in _OF_THE_ENVIRONMENT)


def _changed_outputs(before: Mapping[str, Digest], after: Mapping[str, Digest]) -> list[str]:
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    silent = "predictions" in names and "metrics" not in names
    return [SILENT_CHANGE if silent and name == "predictions" else f"{name} changed" for name in names]


def _distance(before: tuple[LoadedRun, Cell], after: tuple[LoadedRun, Cell]) -> Distance | None:
    paths = []
    for run, cell in (before, after):
        name = predictions_file(cell.target, View(cell.view), cell.symbol, cell.cohort_id, cell.family)
        if name.as_posix() not in run.manifest.files:
            return None
        paths.append(run.folder / name)
    return distance(*paths)


def _run_again(golden: Golden, before: EnvironmentState, site: Site) -> tuple[LoadedRun | None, str | None]:
    """The golden run in the baseline's own environment, or why that cannot be made here and now."""
    site.progress.note(f"Golden run of {golden.experiment} in the baseline's own {before.name}")
    try:
        with restored(before, site) as root:
            run = run_golden(before.name, golden.experiment, golden.quick, site, root=root, profile=before.profile)
    except HarnessError as error:
        return None, f"it cannot be run again: {error.message}"
    return run, None


def _data(file: Path, quick: bool, site: Site) -> Path | None:
    """The panel that an experiment names by its path, seen from the checkout."""
    path = resolve_experiment(load_experiment(file), quick=quick).data.path
    return None if path is None else site.root / path
