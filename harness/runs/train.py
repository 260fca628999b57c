"""One training run from end to end: inputs, image, run, snapshots, comparison, publishing."""

import os
import shutil
from pathlib import Path

import msgspec

from harness.engines.interface import Engine
from harness.errors import ExitCode, HarnessError, IntegrityError, ToolError
from harness.record.attempts import WORK, Attempts
from harness.record.environment import SCHEMA as ENVIRONMENT_SCHEMA
from harness.record.environment import Captured
from harness.record.hashing import signature
from harness.record.jsonfile import read_document
from harness.record.manifest import check_files
from harness.record.results import RunFolder, writing
from harness.record.snapshot import Code, Surroundings, build_snapshot
from harness.runs.environment import Ground, base_seed, code_digest, make_ground, require_processor, run_environment
from harness.runs.events import TrainerEvents
from harness.runs.inputs import PLUGINS, folder_mount, panel_mount, task_mount
from harness.runs.log import RunLog
from harness.runs.publish import Cohort, Identity, RunReport, publish
from harness.runs.refusal import require_strict
from harness.runs.request import RunRequest
from harness.runs.resume import attempt_id, begin_attempt, end_attempt, half_made, run_identity
from harness.runs.uncommitted import keep_checkout
from harness.spec.experiment import Experiment
from harness.spec.resolution import find_experiment, load_experiment, resolve_experiment
from harness.spec.run import Mount, RunResult, RunSpec
from harness.spec.task import OUTPUT_SCHEMA, TrainingOutput, TrainingTask
from harness.store.progress import Progress
from harness.store.store import Store


def train(
    request: RunRequest,
    *,
    root: Path,
    store: Store,
    engine: Engine,
    progress: Progress,
    environment_root: Path | None = None,
) -> RunReport:
    """Train an experiment, compare it with earlier runs and publish it under `request.results`.

    `environment_root` is where the image's spec and locks lie if not under `root`: those of another time, say.

    Raises:
        HarnessError: with the exit code that the command answers; nothing is left under the results folder but
            checkpoints, where the experiment asks for them.
    """
    experiment = _experiment(request)
    require_processor(request.profile, experiment.reproducibility.mode)
    identity = Identity.new(experiment.name, request.run_name, request.results)
    with half_made(identity, progress) as folder:
        checkout = keep_checkout(root, folder, identity.results, progress, clean=request.require_clean)
        data, panel = panel_mount(store, experiment.data, root=root, progress=progress)
        ground = make_ground(
            request.image,
            root=environment_root or root,
            store=store,
            engine=engine,
            progress=progress,
            memory=request.memory,
            time_limit=request.time_limit,
        )
        spec = _run_spec(request, experiment, identity, ground, data, panel, folder.path / WORK, store, progress)
        git = checkout.git
        code = Code(commit=git.commit, dirty=git.dirty, digest=code_digest(spec.mounts), diff=checkout.diff)
        with writing(folder.path):
            Path(spec.output).mkdir()
        attempts = begin_attempt(
            folder,
            identity,
            what=f"run {experiment.name}",
            text=run_identity(spec, ground, request.profile, {"experiment": signature(experiment), "panel": panel}),
            resume=request.resume,
            progress=progress,
        )
        output = _run(spec, engine, folder, code, base_seed(experiment.reproducibility), progress)
        end_attempt(folder, attempts)
        return _record(request, experiment, identity, attempts, ground, spec, code, output, folder, engine)


def _experiment(request: RunRequest) -> Experiment:
    """The experiment with nothing left to resolve: flags beat variables, variables beat the file."""
    loaded = load_experiment(find_experiment(request.experiment, Path.cwd()))
    return resolve_experiment(
        loaded,
        quick=request.quick,
        environ=os.environ if request.variables else {},
        data=None if request.data is None else str(request.data),
        symbols=request.symbols,
        targets=request.targets,
        features=request.features,
        families=request.families,
        mode=request.mode,
        seed=request.seed,
    )


def _run_spec(
    request: RunRequest,
    experiment: Experiment,
    identity: Identity,
    ground: Ground,
    data: Mount,
    panel: str,
    output: Path,
    store: Store,
    progress: Progress,
) -> RunSpec:
    settings = experiment.reproducibility
    one_worker = not experiment.threading.parallel.enabled
    task = TrainingTask(
        run_id=identity.run_id,
        experiment=experiment,
        panel=panel,
        mode=settings.mode,
        profile=request.profile,
        seed=base_seed(settings),
        workers=1 if one_worker else request.workers or len(ground.resources.cpus),
    )
    plugins = () if request.plugins is None else (folder_mount(store, request.plugins, name=PLUGINS),)
    return RunSpec(
        run_id=identity.run_id,
        image=ground.image,
        argv=("python3", "-m", "harness.training"),
        environment=run_environment(
            settings,
            ground=ground,
            profile=request.profile,
            threads=experiment.threading.threads_per_fit,
            inherited=os.environ,
            progress=progress,
        ),
        mounts=(*ground.mounts, data, task_mount(store, task), *plugins),
        output=str(output.absolute()),
        resources=ground.resources,
        hostname=request.hostname,
        randomize_addresses=request.randomize_addresses,
        gpu=ground.variant == "cuda",
    )


def _run(spec: RunSpec, engine: Engine, folder: RunFolder, code: Code, seed: int, progress: Progress) -> TrainingOutput:
    """Run the trainer and take what it gives back, once its files are what it says they are."""
    output = Path(spec.output)
    facts = {
        "run_id": spec.run_id,
        "commit": code.commit,
        "image": None if spec.image is None else spec.image.manifest,
        "seed": seed,
    }
    with RunLog(folder.path / "log.jsonl", facts) as log:
        events = TrainerEvents(progress, log)
        try:
            result = engine.run(spec, on_stdout=events.on_stdout, on_stderr=events.on_stderr)
        finally:
            events.close()
        log.write(
            "info",
            "ended",
            exit_code=result.exit_code,
            wall_seconds=result.wall_seconds,
            peak_memory=result.peak_memory,
        )
        _require_success(result, events, spec)
        training = read_document(output / "training.json", TrainingOutput, OUTPUT_SCHEMA)
        log.write("info", "timings", seconds=training.timings)
    if training.run_id != spec.run_id:
        raise IntegrityError(f"The trainer answered for run {training.run_id}, not {spec.run_id}")
    for cohort in training.cohorts:
        check_files(output, cohort.files)
        for family in cohort.families.values():
            check_files(output, family.files)
    return training


def _require_success(result: RunResult, events: TrainerEvents, spec: RunSpec) -> None:
    try:
        _raise_failure(result, events, spec)
    except HarnessError as error:
        if events.errors:
            error.add_note("The end of what the trainer printed:\n  " + "\n  ".join(events.errors))
        raise


def _raise_failure(result: RunResult, events: TrainerEvents, spec: RunSpec) -> None:
    if result.timed_out:
        raise ToolError(
            f"The run did not end within its {spec.resources.time_limit:g} s and was stopped",
            hint="Give it more with --time-limit, or use --quick.",
        )
    if result.out_of_memory:  # what the trainer says of it is that some process has gone
        raise ToolError("The run needed more memory than it may have", hint="Give it more with --memory (MiB).")
    if result.killed:
        raise ToolError(
            "Something killed the trainer (SIGKILL)",
            hint="Where nobody did, the machine's memory ran out: free some, or train with --quick.",
        )
    require_strict(Path(spec.output))
    failure = events.failure or events.refusal(result.exit_code)
    if failure is not None:
        error = IntegrityError if failure.exit_code == ExitCode.INTEGRITY else ToolError
        raise error(failure.message, hint=failure.hint)
    if result.exit_code != 0:
        tail = "\n  ".join(events.errors[-8:])
        raise ToolError(f"The trainer ended with exit code {result.exit_code}; the end of what it printed:\n  {tail}")


def _record(
    request: RunRequest,
    experiment: Experiment,
    identity: Identity,
    attempts: Attempts,
    ground: Ground,
    spec: RunSpec,
    code: Code,
    output: TrainingOutput,
    folder: RunFolder,
    engine: Engine,
) -> RunReport:
    work = Path(spec.output)
    captured = read_document(work / "environment.json", Captured, ENVIRONMENT_SCHEMA)
    facts = identity.facts(
        experiment=experiment.name,
        train_seed=base_seed(experiment.reproducibility),
        mode=experiment.reproducibility.mode,
        profile=request.profile,
        code=code,
        host={**engine.describe(), "cores": len(ground.resources.cpus)},
    )
    facts = msgspec.structs.replace(facts, attempt_id=attempt_id(attempts))
    (work / "targets").rename(folder.path / "targets")
    (work / "environment.json").rename(folder.path / "environment.json")
    shutil.rmtree(work)
    surroundings = Surroundings(facts=facts, captured=captured, image=ground.image, locks=ground.locks)
    cohorts = []
    for result in output.cohorts:
        snapshot = build_snapshot(result, surroundings)
        metrics = {name: family.metrics for name, family in result.families.items()}
        cohorts.append(Cohort(snapshot=snapshot, folder=result.folder, metrics=metrics))
    return publish(folder, identity, spec, cohorts)
