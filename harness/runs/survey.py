"""A survey: run an environment for a moment, and let it say what it is and what its kernels give.

What one machine said of one environment is kept in the store, under everything that decides it; while none of that
changes, asking again could only bring the same answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import harness
from harness.engines.host_environment import ensure_environment
from harness.engines.installed import check_installed
from harness.engines.interface import Engine
from harness.engines.seccomp import PROFILE as SECCOMP_PROFILE
from harness.errors import ExitCode, HarnessError, IntegrityError, PrerequisiteError, ToolError
from harness.record.environment import SCHEMA as ENVIRONMENT_SCHEMA
from harness.record.environment import Captured
from harness.record.files import write_atomically
from harness.record.hashing import digest_of_file, signature
from harness.record.jsonfile import pretty_json, read_document
from harness.record.snapshot import timestamp
from harness.runs.environment import HOST, Ground, make_ground, require_processor, run_environment
from harness.runs.events import Printed, refusal
from harness.runs.machine import Machine, plain_environment, this_machine
from harness.runs.opening import Environment
from harness.runs.refusal import require_strict
from harness.spec.digest import Digest, hexadecimal
from harness.spec.experiment import Reproducibility
from harness.spec.run import Mode, Profile, RunResult, RunSpec
from harness.store.progress import SILENT, Progress
from harness.store.store import Store

SCHEMA = "harness.survey/1"
FOLDER = "surveys"
_PROGRAM = ("python3", "-m", "harness.strict.survey")
_SECONDS = 300.0
_MOST_KEPT = 64


class Survey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an environment said of itself when it was run: `captured` from inside, with a probe of every library.

    `variables` are the run's (the pipeline's own base seed among them), `engine` is what the engine says of itself,
    `memory` is the machine's, in bytes.
    """

    captured: Captured
    variables: dict[str, str]
    engine: dict[str, str]
    memory: int


class Surveyed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A survey, when it was made (UTC, as `timestamp` writes it), and whether an earlier one was taken for it."""

    survey: Survey
    measured_at: str
    kept: bool


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: str = SCHEMA
    key: Digest
    survey: Survey
    measured_at: str
    digest: Digest


def survey(
    environment: Environment,
    *,
    root: Path,
    store: Store,
    engine: Engine,
    progress: Progress,
    profile: Profile = Profile.NATIVE,
    fresh: bool = False,
) -> Surveyed:
    """What an environment of the checkout `root` says of itself; measured anew if `fresh`, or if anything changed.

    Raises:
        OutdatedLockError: the image's lock is older than what it was made from.
        IntegrityError: the image is not what its lock says, a file of the host environment is not what its wheel's
            RECORD says, or the survey was not strict.
        PrerequisiteError: the environment cannot be made, needs a GPU that it does not get, or asks for more than this
            processor has.
        ToolError: a library cannot be imported, or the engine failed.
    """
    require_processor(profile, Mode.STRICT)
    spec, ground = _run_spec(environment, root=root, store=store, engine=engine, progress=progress, profile=profile)
    said = engine.describe()
    plain, interpreter = None, Path()
    if environment.engine.value == HOST:
        interpreter = ensure_environment(root, store, progress)
        plain = plain_environment(interpreter, root / "lockfiles" / environment.image / "python.txt")
    machine = this_machine()
    key = None if machine is None else survey_key(spec, machine=machine, engine=said, plain=plain)
    wanted = None if fresh else key
    if (known := _known(store, wanted, progress)) is not None:  # no need to wait for another process's measurement
        return known
    with _alone(store, key, progress):
        if (known := _known(store, wanted, progress)) is not None:
            return known
        if ground.image is not None:  # imports are slow without what the image's Python compiled
            compiled = _ground(environment, root, store, engine, progress, compiled=True)
            spec = msgspec.structs.replace(spec, mounts=compiled.mounts)
        with progress.task(f"Surveying the environment {environment.name}"):
            if plain is not None:  # what an image holds was made by digest; a virtual environment anybody may edit
                check_installed(interpreter.parents[1])
            captured = _measure(spec, engine, store)
        found = Survey(captured=captured, variables=spec.environment, engine=said, memory=ground.resources.memory or 0)
        measured_at = timestamp(datetime.now(UTC))
        if key is not None:
            _keep(store, key, found, measured_at)
        return Surveyed(survey=found, measured_at=measured_at, kept=False)


def survey_key(spec: RunSpec, *, machine: Machine, engine: dict[str, str], plain: dict[str, Digest] | None) -> Digest:
    """The digest over everything that decides what a survey says.

    That is the RunSpec (image, program, variables, inputs by content, resources) but for its name and its places on
    this machine, the machine itself, the engine, and for a plain process its files.
    """
    nowhere = {"run_id", "output", "mounts"}
    return signature(
        {
            "schema": SCHEMA,
            "run": {name: getattr(spec, name) for name in RunSpec.__struct_fields__ if name not in nowhere},
            "mounts": {mount.name: mount.digest for mount in spec.mounts},
            "machine": machine,
            "engine": engine,
            "launching": _launching(),
            "plain": plain,
        }
    )


def _launching() -> dict[str, Digest]:
    """How engines start a run: walls and limits are no part of a RunSpec."""
    files = [*(Path(harness.__file__).parent / "engines").glob("*.py"), SECCOMP_PROFILE]
    return {path.name: digest_of_file(path) for path in sorted(files)}


def _ground(
    environment: Environment, root: Path, store: Store, engine: Engine, progress: Progress, *, compiled: bool
) -> Ground:
    return make_ground(
        environment.image,
        root=root,
        store=store,
        engine=engine,
        progress=progress,
        memory=None,
        time_limit=_SECONDS,
        compiled=compiled,
    )


def _run_spec(
    environment: Environment, *, root: Path, store: Store, engine: Engine, progress: Progress, profile: Profile
) -> tuple[RunSpec, Ground]:
    """The run, without an output folder yet. Nothing of the caller's variables or experiments is in it."""
    ground = _ground(environment, root, store, engine, progress, compiled=False)
    settings = Reproducibility(mode=Mode.STRICT)
    spec = RunSpec(
        run_id=f"survey-{environment.name}",
        image=ground.image,
        argv=_PROGRAM,
        environment=run_environment(settings, ground=ground, profile=profile, threads=1, inherited={}, progress=SILENT),
        mounts=ground.mounts,
        output="",
        resources=ground.resources,
        gpu=ground.variant == "cuda",
    )
    return spec, ground


def _measure(spec: RunSpec, engine: Engine, store: Store) -> Captured:
    printed = Printed()
    with store.temporary_folder() as folder:
        output = folder / "output"
        output.mkdir()
        result = engine.run(
            msgspec.structs.replace(spec, output=str(output)), on_stdout=lambda _: None, on_stderr=printed.feed
        )
        printed.close()
        require_strict(output)
        _require_success(result, printed.lines, spec)
        captured = read_document(output / "environment.json", Captured, ENVIRONMENT_SCHEMA)
    if not captured.probe:
        raise ToolError("The survey ended without having probed anything")
    if spec.gpu and captured.gpu is None:
        raise PrerequisiteError(
            "The container was given a GPU and does not find it",
            hint="Check the driver on this machine with nvidia-smi, and the NVIDIA Container Toolkit.",
        )
    return captured


def _require_success(result: RunResult, errors: list[str], spec: RunSpec) -> None:
    if result.exit_code == 0:
        return
    if result.timed_out:
        raise ToolError(f"The survey did not end within {spec.resources.time_limit:g} s and was stopped")
    if result.out_of_memory:
        raise ToolError("The survey needed more memory than this machine has")
    failure = refusal(errors, result.exit_code)
    if failure is not None:
        error = IntegrityError if failure.exit_code is ExitCode.INTEGRITY else ToolError
        raise error(failure.message, hint=failure.hint)
    tail = "\n  ".join(errors[-8:])
    raise ToolError(f"The survey ended with exit code {result.exit_code}; the end of what it printed:\n  {tail}")


@contextmanager
def _alone(store: Store, key: Digest | None, progress: Progress) -> Iterator[None]:
    """Let one process at a time measure what is kept under the same key: the others then find it."""
    if key is None:
        yield
        return
    waiting = "Another process is surveying this environment: waiting for it"
    with store.lock(f"survey-{hexadecimal(key)[:32]}", waiting=lambda: progress.note(waiting)):
        yield


def _place(store: Store, key: Digest) -> Path:
    return store.home / FOLDER / f"{hexadecimal(key)}.json"


def _seal(key: Digest, survey: Survey, measured_at: str) -> Digest:
    return signature([SCHEMA, key, survey, measured_at])


def _known(store: Store, key: Digest | None, progress: Progress) -> Surveyed | None:
    """What is kept under `key`; null, and said so, where it is damaged."""
    if key is None or not (path := _place(store, key)).exists():
        return None
    try:
        kept = read_document(path, _Kept, SCHEMA)
        if kept.key != key or kept.digest != _seal(key, kept.survey, kept.measured_at):
            raise IntegrityError(f"{path} is not what was written")
    except HarnessError as error:
        progress.note(f"{error.message}. The environment is surveyed anew")
        return None
    return Surveyed(survey=kept.survey, measured_at=kept.measured_at, kept=True)


def _keep(store: Store, key: Digest, survey: Survey, measured_at: str) -> None:
    kept = _Kept(key=key, survey=survey, measured_at=measured_at, digest=_seal(key, survey, measured_at))
    path = _place(store, key)
    with store.explaining():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, pretty_json(kept))
        # A new boot is a new key: what nothing asks for any more must not pile up.
        with suppress(FileNotFoundError):  # somebody else tidies up at this moment
            for file in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)[:-_MOST_KEPT]:
                file.unlink()
