"""A whole training run: panel, features, cohorts, fits, outputs."""

import math
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from harness.errors import IntegrityError, UsageError
from harness.record.files import write_atomically
from harness.record.jsonfile import pretty_json
from harness.spec.columns import Feature, Target, parse_features, parse_targets
from harness.spec.digest import Digest
from harness.spec.experiment import Experiment
from harness.spec.run import Mode
from harness.spec.task import CohortResult, TrainingOutput, TrainingTask
from harness.strict.bootstrap import is_strict_mode
from harness.strict.seeds import resolve_seed
from harness.strict.training_state import FOLDER_VARIABLE, run_identity
from harness.training.cohorts import Cohort, Inputs, Place, places_of, prepare
from harness.training.environment import FamiliesTask, Findings, check_families, examine
from harness.training.events import Events
from harness.training.families import Family, libraries_of, resolve_families
from harness.training.features import build_features, feature_signature
from harness.training.finished import FitCheckpoints
from harness.training.fits import FitResult, FitTask, run_fit
from harness.training.outputs import Cell, model_folder, write_cohort
from harness.training.panel import check_panel, dataset_signature, load_panel
from harness.training.pool import Job, Pool, cores

OUTPUT = "training.json"
ENVIRONMENT = "environment.json"
_OWN_MODULES = ("harness.training.fits", "harness.training.environment")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment's names, resolved. `threads` is null where libraries choose; `workers` fits run at once.

    `checkpoints` are those of all fits together, null where none are made.
    """

    task: TrainingTask
    families: tuple[Family, ...]
    targets: tuple[Target, ...]
    features: tuple[Feature, ...]
    places: tuple[Place, ...]
    threads: int | None
    workers: int
    checkpoints: FitCheckpoints | None

    @property
    def strict(self) -> bool:
        """Whether the run promises bits."""
        return self.task.mode is Mode.STRICT

    @property
    def gpu_trees(self) -> bool:
        """Whether tree libraries may use a GPU."""
        return not self.task.experiment.reproducibility.strict.disable_gpu_tree_models


class Fit(msgspec.Struct, frozen=True):
    """One fit to be made: a cohort's family and fold."""

    cohort: Cohort
    family: Family
    fold: int
    task: FitTask


def make_plan(task: TrainingTask) -> Plan:
    """Resolve everything that can be resolved without data.

    Raises:
        UsageError: a name or setting makes no sense.
        IntegrityError: the task says strict and the process's environment doesn't.
    """
    experiment = task.experiment
    if is_strict_mode() is not (task.mode is Mode.STRICT):
        raise IntegrityError(
            f"The task's mode is {task.mode}, and REPRO_MODE says otherwise", hint="Start it with `harness run`."
        )
    threads, workers = _concurrency(task)
    targets = parse_targets(experiment.targets)
    return Plan(
        task=task,
        families=resolve_families(
            experiment.families, None if experiment.checkpoints is None else experiment.checkpoints.every
        ),
        targets=targets,
        features=parse_features(experiment.features),
        places=places_of(experiment, targets),
        threads=threads,
        workers=workers,
        checkpoints=_checkpoints(experiment),
    )


def train(task: TrainingTask, data: Path, output: Path, events: Events) -> TrainingOutput:
    """Run a task: read the panel under `data`, write everything under `output`, and say how far it is.

    Raises:
        HarnessError: the task, the data or a fit is at fault.
        OSError: the output folder cannot be written.
    """
    begin = time.perf_counter()
    plan = make_plan(task)
    preload = sorted({module for family in plan.families for module in family.imports})
    with ExitStack() as stack:
        pool = stack.enter_context(Pool(plan.workers, ["harness.strict.bootstrap", *preload, *_OWN_MODULES]))
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix=".scratch-", dir=output)))
        cohorts = _prepare(plan, data / task.panel, scratch, events)
        prepared = time.perf_counter()
        fits = [fit for cohort in cohorts for fit in _fits(plan, cohort, output)]
        overrides = _check_families(plan, pool, events)
        findings, results = _run(plan, fits, pool, output, events)
        fitted = time.perf_counter()
        made = list(zip(fits, results, strict=True))
        written = _write(plan, cohorts, made, (findings, overrides), output, events)
    timings = {"prepare": prepared - begin, "fits": fitted - prepared, "outputs": time.perf_counter() - fitted}
    result = TrainingOutput(run_id=task.run_id, cohorts=tuple(written), timings=timings)
    write_atomically(output / OUTPUT, pretty_json(result))
    return result


def _concurrency(task: TrainingTask) -> tuple[int | None, int]:
    """How many threads a fit has, and how many fits run at once; the latter can change no bit of a strict run.

    In `best_effort` one fit at a time gets the library's own number of threads, fits side by side share the cores.
    """
    threading = task.experiment.threading
    wanted = task.workers if threading.parallel.enabled else 1
    if task.mode is Mode.BEST_EFFORT:
        return (None, 1) if wanted == 1 else (max(1, cores() // wanted), wanted)
    if threading.threads_per_fit > 1 and task.experiment.reproducibility.strict.force_single_thread:
        raise UsageError(
            f"threading.threads_per_fit is {threading.threads_per_fit}, and strict.force_single_thread is true",
            hint="Set one thread per fit, or reproducibility.strict.force_single_thread to false.",
        )
    return threading.threads_per_fit, max(1, min(wanted, cores() // threading.threads_per_fit))


def _checkpoints(experiment: Experiment) -> FitCheckpoints | None:
    """Where the checkpoints of all fits are.

    Raises:
        UsageError: the experiment wants checkpoints, and the variable that says where is not set.
        PrerequisiteError: what must be equal to resume the run cannot be read there.
    """
    settings = experiment.checkpoints
    if settings is None:
        return None
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise UsageError(f"{FOLDER_VARIABLE} is not set, and the experiment has checkpoints", hint="Use `harness run`.")
    identity = run_identity(Path(folder))
    return FitCheckpoints(folder=folder, identity=identity, every=settings.every, keep=settings.keep)


def _check_families(plan: Plan, pool: Pool, events: Events) -> dict[str, tuple[str, ...]]:
    """What determinism overrode, by family; said before the first fit."""
    payload = FamiliesTask(
        families=plan.families,
        kinds=tuple(sorted({target.kind for target in plan.targets})),
        threads=plan.threads,
        strict=plan.strict,
        gpu_trees=plan.gpu_trees,
        checkpoint_every=None if plan.checkpoints is None else plan.checkpoints.every,
    )
    (overrides,) = pool.run([Job(name="", work=check_families, payload=payload)])
    for family, sentences in overrides.items():
        for sentence in sentences:
            events.log("note", f"families.{family}: {sentence}", family=family)
    return overrides


def _prepare(plan: Plan, panel_file: Path, scratch: Path, events: Events) -> list[Cohort]:
    experiment = plan.task.experiment
    events.stage("data", 1)
    panel = load_panel(panel_file, experiment.data)
    check_panel(panel, experiment)
    for note in panel.notes:
        events.log("note", f"{plan.task.panel}: {note}")
    signatures: dict[str, Digest] = {
        "dataset_signature": dataset_signature(panel),
        "feature_signature": feature_signature(plan.features),
    }
    events.advance("data")
    events.stage("features", 1 + len(plan.places))
    inputs = Inputs(panel, plan.features, build_features(panel, plan.features), signatures)
    events.advance("features")
    cohorts = []
    for cohort in prepare(experiment, plan.places, inputs, scratch):
        cohorts.append(cohort)
        events.advance("features")
    return cohorts


def _fits(plan: Plan, cohort: Cohort, output: Path) -> list[Fit]:
    return [_fit(plan, cohort, family, fold, output) for family in plan.families for fold in range(len(cohort.folds))]


def _fit(plan: Plan, cohort: Cohort, family: Family, fold: int, output: Path) -> Fit:
    folder = output / model_folder(cohort, family.name)
    folder.mkdir(parents=True, exist_ok=True)
    task = FitTask(
        rows=str(cohort.scratch),
        train=cohort.train[fold],
        test=cohort.test[fold],
        gap=cohort.gap,
        library=family.library,
        hyperparameters=family.hyperparameters,
        kind=cohort.target.kind,
        seed=resolve_seed(
            plan.task.seed,
            "training",
            target=cohort.target.name,
            fold=cohort.folds[fold].index,
            symbol=cohort.symbol,
            view=cohort.view.value,
            version=plan.task.experiment.reproducibility.version,
        ),
        threads=plan.threads,
        strict=plan.strict,
        gpu_trees=plan.gpu_trees,
        predictions=str(cohort.scratch / f"{family.name}-{fold}.npy"),
        model_folder=str(folder),
        model_name=f"fold{cohort.folds[fold].index}",
        checkpoints=_own_checkpoints(plan, cohort, family, fold),
    )
    return Fit(cohort, family, fold, task)


def _own_checkpoints(plan: Plan, cohort: Cohort, family: Family, fold: int) -> FitCheckpoints | None:
    """Those of one fit."""
    if plan.checkpoints is None:
        return None
    place = Path(plan.checkpoints.folder, "fits", cohort.cohort_id, family.name, f"fold{cohort.folds[fold].index}")
    return msgspec.structs.replace(plan.checkpoints, folder=str(place))


def _run(plan: Plan, fits: Sequence[Fit], pool: Pool, output: Path, events: Events) -> tuple[Findings, list[FitResult]]:
    """All fits, target by target unless targets may run side by side; the look at the environment starts first."""
    events.stage("fits", len(fits))

    def done(result: Any) -> None:
        if isinstance(result, Findings):
            write_atomically(output / ENVIRONMENT, pretty_json(result.captured))
        else:
            events.advance("fits")

    parallel = plan.task.experiment.multi_target.parallel_targets
    groups = [list(plan.targets)] if parallel else [[target] for target in plan.targets]
    order = [number for group in groups for number, fit in enumerate(fits) if fit.cohort.target in group]
    sizes = [sum(fit.cohort.target in group for fit in fits) for group in groups]
    sizes[0] += 1
    examination = Job(name="", work=examine, payload=libraries_of(plan.families), cost=math.inf)
    jobs: list[Job[Any]] = [examination, *(_job(fits[number]) for number in order)]
    answers: list[Any] = []
    for size in sizes:
        answers += pool.run(jobs[len(answers) : len(answers) + size], done)
    findings, *results = answers
    by_number = dict(zip(order, results, strict=True))
    return findings, [by_number[number] for number in range(len(fits))]


def _job(fit: Fit) -> Job[FitResult]:
    first, last = fit.task.train
    name = f"{fit.family.name} on {fit.cohort.name}, fold {fit.cohort.folds[fit.fold].index}"
    return Job(name=name, work=run_fit, payload=fit.task, cost=float(last - first))


def _write(
    plan: Plan,
    cohorts: Sequence[Cohort],
    made: Sequence[tuple[Fit, FitResult]],
    found: tuple[Findings, dict[str, tuple[str, ...]]],
    output: Path,
    events: Events,
) -> list[CohortResult]:
    events.stage("outputs", len(cohorts))
    findings, overrides = found
    threads = plan.threads or cores()
    facts = {
        "mode": plan.task.mode,
        "profile": plan.task.profile,
        "seed": plan.task.seed,
        "threads_per_fit": threads,
        "workers": plan.workers,
        "overrides": overrides,
    }
    written = []
    for cohort in cohorts:
        cells = [_cell(plan, cohort, family, made, findings, threads) for family in plan.families]
        written.append(write_cohort(output, cohort, cells, facts))
        events.advance("outputs")
    return written


def _cell(
    plan: Plan,
    cohort: Cohort,
    family: Family,
    made: Sequence[tuple[Fit, FitResult]],
    findings: Findings,
    threads: int,
) -> Cell:
    own = [(fit, result) for fit, result in made if fit.cohort is cohort and fit.family is family]
    return Cell(
        family=family,
        fits=[result for _, result in own],
        predictions=[Path(fit.task.predictions) for fit, _ in own],
        seeds=[fit.task.seed for fit, _ in own],
        probe_signature=family.probe_signature(findings.probes),
        threads_per_fit=family.threads_in_group(threads, strict=plan.strict),
    )
