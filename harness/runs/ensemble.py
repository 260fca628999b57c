"""An ensemble over seeds: members trained one after the other, and the exact average of what they predict."""

import shlex
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from harness.engines.interface import Engine
from harness.errors import ExitCode, HarnessError, IncomparableError, IntegrityError, ToolError, UsageError, worst
from harness.record.archive import LoadedRun, load_run
from harness.record.cells import Cell
from harness.record.files import sync_folder, write_atomically
from harness.record.hashing import digest_of_file, signature
from harness.record.jsonfile import pretty_json, read_document
from harness.record.layout import cohort_folder, ensemble_folder, predictions_file
from harness.record.results import locate_run, writing
from harness.runs.configuration import Configuration, run_request
from harness.runs.environment import make_ground, require_processor, run_environment
from harness.runs.events import Printed, refusal
from harness.runs.inputs import mount_tree
from harness.runs.publish import Identity, RunReport
from harness.runs.refusal import require_strict
from harness.runs.request import RunRequest
from harness.runs.summary import main_metric
from harness.spec.digest import Digest
from harness.spec.ensemble import DOCUMENT, OUTPUT_SCHEMA, CellAverage, CellTask, EnsembleOutput, EnsembleTask
from harness.spec.experiment import Reproducibility, View
from harness.spec.run import Mode, RunSpec
from harness.store.progress import SILENT, Progress
from harness.store.store import Store
from harness.store.trees import put_tree_from_files

SCHEMA = "harness.ensemble/1"

Train = Callable[[RunRequest], RunReport]
Key = tuple[str, str, str, str]

_PROGRAM = ("python3", "-m", "harness.training.ensemble")
_SECONDS = 600.0
_ROWS, _TRUTH = "test_rows.npy", "test_target.npy"


class EnsembleCell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of an ensemble. `metric` is the shown one of each member, by seed, and of the ensemble's own prediction.

    `mean` and `deviation` (that of a sample, n - 1) are over the members; null where a member has no such metric.
    `predictions` is the file with the averaged predictions, relative to the ensemble's folder.
    """

    target: str
    view: str
    symbol: str | None
    family: str
    metric_name: str | None
    metric: dict[str, float | None]
    mean: float | None
    deviation: float | None
    ensemble: float | None
    metrics: dict[str, float | None]
    members: dict[str, Digest]
    predictions: str
    predictions_digest: Digest
    predictions_file_digest: Digest
    fingerprint: Digest


class EnsembleReport(msgspec.Struct, frozen=True, kw_only=True):
    """`ensemble.json`. `runs` are the members' names by seed; `fingerprint` is over members and averages alone."""

    schema: str = SCHEMA
    name: str
    experiment: str | None
    mode: Mode
    seeds: tuple[int, ...]
    runs: dict[str, str]
    cells: tuple[EnsembleCell, ...]
    fingerprint: Digest
    folder: str
    exit_code: ExitCode


class Member(msgspec.Struct, frozen=True):
    """One member: its seed and its run, every file verified."""

    seed: int
    run: LoadedRun


def train_ensemble(
    configuration: Configuration,
    kept: Sequence[str],
    *,
    root: Path,
    store: Store,
    engine: Engine,
    progress: Progress,
    train: Train,
) -> EnsembleReport:
    """Train a member for each seed, add the `kept` runs, and publish the ensemble under `RESULTS/ensembles/`.

    Raises:
        IncomparableError: members differ in more than their seed.
        PrerequisiteError: this processor cannot run the profile.
        HarnessError: a member failed; the message names its seed, the hint how to go on from those that are kept.
    """
    require_processor(configuration.profile, configuration.mode)
    results = Path(configuration.output_dir)
    members = [_loaded(locate_run(run, results)) for run in kept]
    taken = {member.seed: member.run.label.run_name for member in members}
    for seed in configuration.seeds:
        if seed in taken:
            raise UsageError(
                f"The run {taken[seed]} is the member of seed {seed} already", hint="Leave out one of them."
            )
    if len(taken) < len(members):
        raise UsageError("Two of the runs that are to be members have the same seed", hint="Leave out one of them.")
    name = Identity.new("ensemble", configuration.name, results).run_name
    _refuse_taken(ensemble_folder(results, name))
    codes = []
    for number, seed in enumerate(configuration.seeds, 1):
        progress.note(f"Member {number} of {len(configuration.seeds)}: seed {seed}")
        own = None if configuration.name is None else f"{name}-seed{seed}"
        try:
            run = train(run_request(configuration, seed, own))
            codes.append(run.exit_code)
            members.append(_loaded(Path(run.folder)))
        except HarnessError as error:
            raise _failed(error, seed, members) from error
    members.sort(key=lambda member: member.seed)
    cells = _common_cells(members)
    with store.temporary_folder() as scratch, progress.task("Averaging the members' predictions"):
        output = scratch / "output"
        output.mkdir()
        task = EnsembleTask(cells=tuple(_cell_task(number, cell, members) for number, cell in enumerate(cells)))
        inputs = {DOCUMENT: pretty_json(task)}, _inputs(task, members, cells)
        spec = _run_spec(configuration, *inputs, output, root=root, store=store, engine=engine, progress=progress)
        averages = _average(spec, engine)
        _check_files(output, task, averages)
        made = tuple(_cell(cell, members, average) for cell, average in zip(cells, averages, strict=True))
        report = EnsembleReport(
            name=name,
            experiment=members[0].run.cells[0].experiment,
            mode=Mode(str(members[0].run.cells[0].group["mode"])),
            seeds=tuple(member.seed for member in members),
            runs={str(member.seed): member.run.label.run_name for member in members},
            cells=made,
            fingerprint=signature({"schema": SCHEMA, "cells": sorted(cell.fingerprint for cell in made)}),
            folder=str(ensemble_folder(results, name)),
            exit_code=worst(codes),
        )
        files = {cell.predictions: output / one.result for cell, one in zip(made, task.cells, strict=True)}
        _publish(report, results, files)
    return report


def _loaded(folder: Path) -> Member:
    run = load_run(folder)
    seeds = {cell.group["train_seed"] for cell in run.cells}
    if run.cells[0].experiment is None or len(seeds) != 1:
        raise UsageError(f"{folder} is no run of an experiment", hint="Only those have predictions to average.")
    return Member(int(str(seeds.pop())), run)


def _failed(error: HarnessError, seed: int, members: Sequence[Member]) -> HarnessError:
    """The same error with the member's seed in it, and how to go on without training the others again."""
    hints = [error.hint] if error.hint else []
    if members:
        kept = " ".join(f"--with {shlex.quote(member.run.label.run_name)}" for member in members)
        done = ", ".join(str(member.seed) for member in members)
        hints.append(f"Seed {done} is kept: go on with {kept} and the seeds that are left.")
    return type(error)(f"The member with seed {seed} failed: {error.message}", hint=" ".join(hints) or None)


def _common_cells(members: Sequence[Member]) -> list[tuple[Cell, ...]]:
    """The cells, each as the members have it, in the members' order.

    Raises:
        IncomparableError: members have other cells, or cells that differ in more than their seed.
    """
    first = members[0]
    by_key: list[Mapping[Key, Cell]] = [{cell.key: cell for cell in member.run.cells} for member in members]
    for member, cells in zip(members, by_key, strict=True):
        if cells.keys() != by_key[0].keys():
            raise IncomparableError(
                f"The members with seeds {first.seed} and {member.seed} have different cells",
                hint="Train all members of the same experiment, with the same families, targets and symbols.",
            )
        for key, cell in cells.items():
            other = by_key[0][key]
            names = sorted(cell.group.keys() | other.group.keys())
            differ = [name for name in names if name != "train_seed" and cell.group.get(name) != other.group.get(name)]
            if differ or cell.experiment != other.experiment:
                raise IncomparableError(
                    f"The members with seeds {first.seed} and {member.seed} differ in more than their seed: "
                    f"{', '.join(differ) or 'experiment'} of {' '.join(filter(None, key))}",
                    hint="An ensemble is over seeds alone: train its members in one environment, on one data set.",
                )
    return [tuple(cells[key] for cells in by_key) for key in sorted(by_key[0])]


def _cell_task(number: int, cells: Sequence[Cell], members: Sequence[Member]) -> CellTask:
    return CellTask(
        target=cells[0].target,
        members=tuple(f"{number}/{member.seed}.npy" for member in members),
        rows=f"{number}/rows.npy",
        truth=f"{number}/truth.npy",
        result=f"{number}.npy",
    )


def _inputs(task: EnsembleTask, members: Sequence[Member], common: Sequence[tuple[Cell, ...]]) -> dict[str, bytes]:
    """The files that the averaging reads, by their names in its task.

    Raises:
        IncomparableError: members were tested on different rows.
    """
    files: dict[str, bytes] = {}
    for cells, one in zip(common, task.cells, strict=True):
        for name, member, cell in zip(one.members, members, cells, strict=True):
            view = View(cell.view)
            place = predictions_file(cell.target, view, cell.symbol, cell.cohort_id, cell.family)
            files[name] = (member.run.folder / place).read_bytes()
            cohort = cohort_folder(cell.target, view, cell.symbol, cell.cohort_id)
            for key, file in ((one.rows, _ROWS), (one.truth, _TRUTH)):
                content = (member.run.folder / cohort / file).read_bytes()
                if files.setdefault(key, content) != content:
                    raise IncomparableError(f"The member with seed {member.seed} was tested on other rows: {file}")
    return files


def _run_spec(
    configuration: Configuration,
    task: Mapping[str, bytes],
    data: Mapping[str, bytes],
    output: Path,
    *,
    root: Path,
    store: Store,
    engine: Engine,
    progress: Progress,
) -> RunSpec:
    """The averaging as a run like any other: in the same environment, by digest, with nothing but its inputs."""
    ground = make_ground(
        configuration.image,
        root=root,
        store=store,
        engine=engine,
        progress=progress,
        memory=None,
        time_limit=_SECONDS,
    )
    mounts = [
        mount_tree(store, name, put_tree_from_files(store, files)) for name, files in (("task", task), ("data", data))
    ]
    settings = Reproducibility(mode=configuration.mode)
    return RunSpec(
        run_id="ensemble",
        image=ground.image,
        argv=_PROGRAM,
        environment=run_environment(
            settings, ground=ground, profile=configuration.profile, threads=1, inherited={}, progress=SILENT
        ),
        mounts=(*ground.mounts, *mounts),
        output=str(output),
        resources=ground.resources,
    )


def _average(spec: RunSpec, engine: Engine) -> tuple[CellAverage, ...]:
    printed = Printed()
    result = engine.run(spec, on_stdout=lambda _: None, on_stderr=printed.feed)
    printed.close()
    require_strict(Path(spec.output))
    if result.exit_code != 0:
        if (failure := refusal(printed.lines, result.exit_code)) is not None:
            error = IntegrityError if failure.exit_code is ExitCode.INTEGRITY else ToolError
            raise error(failure.message, hint=failure.hint)
        tail = "\n  ".join(printed.lines[-8:])
        raise ToolError(f"The averaging ended with exit code {result.exit_code}; the end of what it printed:\n  {tail}")
    return read_document(Path(spec.output) / DOCUMENT, EnsembleOutput, OUTPUT_SCHEMA).cells


def _check_files(output: Path, task: EnsembleTask, averages: Sequence[CellAverage]) -> None:
    if len(averages) != len(task.cells):
        raise IntegrityError(f"The averaging gave {len(averages)} cells back of {len(task.cells)}")
    for one, average in zip(task.cells, averages, strict=True):
        path = output / one.result
        if not path.is_file() or digest_of_file(path) != average.file:
            raise IntegrityError(f"The averaging left {one.result} otherwise than it says")


def _cell(cells: Sequence[Cell], members: Sequence[Member], average: CellAverage) -> EnsembleCell:
    first = cells[0]
    name, _ = main_metric(first.metrics)
    values = [None if name is None else cell.metrics.get(name) for cell in cells]
    known = [value for value in values if value is not None]
    fingerprints = {str(member.seed): cell.fingerprint for member, cell in zip(members, cells, strict=True)}
    what = {"key": first.key, "members": fingerprints, "predictions": average.predictions}
    place = PurePosixPath("predictions", first.target, first.view, first.symbol or "all", f"{first.family}.npy")
    return EnsembleCell(
        target=first.target,
        view=first.view,
        symbol=first.symbol,
        family=first.family,
        metric_name=name,
        metric=dict(zip(fingerprints, values, strict=True)),
        mean=statistics.mean(known) if known and len(known) == len(values) else None,
        deviation=statistics.stdev(known) if len(known) == len(values) > 1 else None,
        ensemble=None if name is None else average.metrics.get(name),
        metrics=average.metrics,
        members=fingerprints,
        predictions=str(place),
        predictions_digest=average.predictions,
        predictions_file_digest=average.file,
        fingerprint=signature(what),
    )


def _publish(report: EnsembleReport, results: Path, files: Mapping[str, Path]) -> None:
    """Write the ensemble under a temporary name, and give it its own once it is whole."""
    final = ensemble_folder(results, report.name)
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{report.name}.", dir=final.parent) as folder:
            made = Path(folder) / "ensemble"
            for place, source in files.items():
                path = made / place
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, source.read_bytes())
            write_atomically(made / DOCUMENT, pretty_json(report))
            _refuse_taken(final)
            made.rename(final)
            sync_folder(final.parent)


def _refuse_taken(final: Path) -> None:
    if final.exists():
        raise UsageError(f"There is an ensemble {final.name} already", hint="Choose another --name, or leave it out.")
