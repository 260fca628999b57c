"""`harness exec` from end to end: a copy of the project, a program run in it, and what it wrote as one cell."""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.engines.interface import Engine
from harness.errors import HarnessError, ToolError, UsageError
from harness.record.environment import SCHEMA as ENVIRONMENT_SCHEMA
from harness.record.environment import Captured
from harness.record.hashing import digest_of, signature
from harness.record.jsonfile import pretty_json, read_document
from harness.record.layout import HISTORY, METADATA, SCRIPT_FOLDER, runs_folder
from harness.record.results import RunFolder, remove_leftovers, writing
from harness.record.snapshot import SCRIPT_FAMILY, Code, Surroundings, build_script_snapshot
from harness.record.verdicts import Verdict
from harness.runs.collect import Collected, collect
from harness.runs.environment import Ground, base_seed, make_ground, run_environment
from harness.runs.git import project_files
from harness.runs.inputs import folder_mount
from harness.runs.publish import Cohort, Identity, RunReport, publish
from harness.runs.refusal import require_strict, unrecorded
from harness.runs.uncommitted import Checkout, keep_checkout
from harness.spec.digest import Digest, digest_from_hex
from harness.spec.experiment import Reproducibility
from harness.spec.reproducibility import resolve
from harness.spec.run import Mode, Mount, Profile, RunResult, RunSpec
from harness.store.progress import Progress
from harness.store.store import Store
from harness.store.trees import Entry, checkout_tree, list_tree, put_tree

OUTPUTS = "outputs"
_CAPTURE = "environment.json"
_PROJECT = "project"
_WORK = "work"
_NEVER_COPIED = frozenset({".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".nox", ".tox"})
_NO_DATA = "no data"
_SIGPIPE = 141


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked `harness exec` for. Nulls leave what the environment says; `memory` is in bytes.

    `require_clean` refuses a project that is not exactly one commit.
    """

    argv: tuple[str, ...]
    image: str = "cpu"
    data: Path | None = None
    project: Path = Path()
    results: Path = Path("RESULTS")
    run_name: str | None = None
    seed: int | None = None
    mode: Mode | None = None
    profile: Profile = Profile.NATIVE
    time_limit: float | None = None
    memory: int | None = None
    require_clean: bool = False


def execute_program(request: ExecRequest, *, root: Path, store: Store, engine: Engine, progress: Progress) -> int:
    """Run a program strictly and keep what it wrote; the program's own exit code.

    Its stdout goes to ours and its stderr to ours, byte for byte. The verdict goes to `progress`.

    Raises:
        HarnessError: the run could not be made or kept.
    """
    settings = _settings(request)
    identity = Identity.new("exec", request.run_name, request.results)
    remove_leftovers(identity.results)
    with RunFolder.create(identity.results, identity.run_name) as folder:
        kept = keep_checkout(request.project, folder, identity.results, progress, clean=request.require_clean)
        project = _project_mount(request, store)
        ground = make_ground(
            request.image,
            root=root,
            store=store,
            engine=engine,
            progress=progress,
            memory=request.memory,
            time_limit=request.time_limit,
        )
        data = () if request.data is None else (folder_mount(store, request.data, name="data"),)
        output = folder.path / _WORK
        before = _copy(store, project, output / _PROJECT)
        spec = RunSpec(
            run_id=identity.run_id,
            image=ground.image,
            argv=request.argv,
            environment=run_environment(
                settings, ground=ground, profile=request.profile, threads=1, inherited=os.environ, progress=progress
            ),
            mounts=(*ground.mounts, *data),
            output=str(output.absolute()),
            working_directory=_PROJECT,
            resources=ground.resources,
            gpu=ground.variant == "cuda",
        )
        result, printed = _run(spec, engine)
        _say_how_it_ended(result, request, progress)
        require_strict(output)
        _require_start(result, output)
        captured = read_document(output / _CAPTURE, Captured, ENVIRONMENT_SCHEMA)
        unsaid = unrecorded(output, captured)
        left = collect(before, output / _PROJECT, folder.path / SCRIPT_FOLDER / OUTPUTS)
        report = _record(
            request, settings, identity, ground, spec, project, kept, captured, result, printed, left, folder, engine
        )
    for sentence in (*left.left, *unsaid):
        progress.note(sentence)
    for cell in report.cells:
        progress.note(f"{cell.verdict.value} {cell.fingerprint} {'; '.join(cell.reasons)}".rstrip())
        if cell.verdict is Verdict.IDENTICAL and left.files and cell.against is not None:
            _compare_printed(identity.results, cell.against, printed, progress)
    for note in report.notes:
        progress.note(note)
    progress.note(f"Results  {report.folder}")
    return result.exit_code


def _settings(request: ExecRequest) -> Reproducibility:
    settings = resolve(Reproducibility(), os.environ)
    if request.seed is not None:
        if request.seed < 0:
            raise UsageError(f"The seed is {request.seed}", hint="A seed is 0 or above.")
        settings = msgspec.structs.replace(settings, seed=request.seed)
    if request.mode is not None:
        settings = msgspec.structs.replace(settings, mode=request.mode)
    return settings


def _project_mount(request: ExecRequest, store: Store) -> Mount:
    """The project as it is now: what git tracks or would track; without git all but environments and results.

    Raises:
        UsageError: it is no folder, or one that holds far more than a project.
    """
    folder = request.project.absolute()
    if not folder.is_dir():
        raise UsageError(f"{request.project} is not a folder", hint="Give --project the folder of your program.")
    if folder.resolve() in (Path("/"), Path.home().resolve()):
        raise UsageError(
            f"{folder} is no project: all of it would be copied",
            hint="Stand in the folder of your program, or name it with --project.",
        )
    files = project_files(folder)
    parents = {str(parent) for name in files or () for parent in Path(name).parents}

    def wanted(path: str) -> bool:
        if Path(path).name in _NEVER_COPIED or _holds_results(folder / path, request.results):
            return False
        return files is None or path in files or path in parents

    return Mount(name=_PROJECT, source=str(folder), digest=put_tree(store, folder, include=wanted))


def _holds_results(path: Path, results: Path) -> bool:
    """Whether runs are kept here: this one's, or those of another `--output-dir`."""
    if path.name == results.name and path.resolve() == results.resolve():
        return True
    return (path / HISTORY).is_file() and runs_folder(path).is_dir()


def _copy(store: Store, project: Mount, target: Path) -> Mapping[str, Entry]:
    """A writable copy of the project for the program to work in, and what was in it."""
    with writing(target):
        shutil.copytree(checkout_tree(store, project.digest), target, symlinks=True)
        for parent, _, files in os.walk(target):
            Path(parent).chmod(0o755)
            for name in files:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o200)
    return list_tree(target)


def _run(spec: RunSpec, engine: Engine) -> tuple[RunResult, Digest]:
    """Run the program with its output passed through; how it ended, and the digest of what it printed on stdout."""
    printed = hashlib.sha256()

    def stdout(chunk: bytes) -> None:
        printed.update(chunk)
        try:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Nobody reads on: end as any program in a pipe does, and leave nothing for the interpreter to flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(_SIGPIPE) from None

    def stderr(chunk: bytes) -> None:
        sys.stderr.buffer.write(chunk)
        sys.stderr.buffer.flush()

    result = engine.run(spec, on_stdout=stdout, on_stderr=stderr)
    return result, digest_from_hex(printed.hexdigest())


def _say_how_it_ended(result: RunResult, request: ExecRequest, progress: Progress) -> None:
    if result.timed_out:
        progress.note(f"The program did not end within {request.time_limit:g} s and was stopped.")
    if result.out_of_memory:
        progress.note("The program needed more memory than it may have. Give it more with --memory (MiB).")


def _require_start(result: RunResult, output: Path) -> None:
    """Refuse to keep a run whose program was never started: the launcher writes its capture just before.

    Raises:
        ToolError: something was in the way.
    """
    if (output / _CAPTURE).exists():
        return
    raise ToolError(
        f"The program could not be started (exit code {result.exit_code})",
        hint="See what was said above. A program must be in the project, or on PATH in the image.",
    )


def _compare_printed(results: Path, other: str, printed: Digest, progress: Progress) -> None:
    """Say where two runs with the same files printed different things: times, as a rule."""
    try:
        metadata = msgspec.json.decode((runs_folder(results) / other / SCRIPT_FOLDER / METADATA).read_bytes())
        before = metadata["stdout"]
    except (OSError, HarnessError, msgspec.DecodeError, KeyError, TypeError):
        return
    if before != printed:
        progress.note(f"Its files are compared; what it printed is not, and differs from {other}")


def _record(
    request: ExecRequest,
    settings: Reproducibility,
    identity: Identity,
    ground: Ground,
    spec: RunSpec,
    project: Mount,
    kept: Checkout,
    captured: Captured,
    result: RunResult,
    printed: Digest,
    left: Collected,
    folder: RunFolder,
    engine: Engine,
) -> RunReport:
    shutil.rmtree(spec.output)
    git = kept.git
    facts = identity.facts(
        experiment=None,
        train_seed=base_seed(settings),
        mode=settings.mode,
        profile=request.profile,
        code=Code(commit=git.commit, dirty=git.dirty, digest=project.digest, diff=kept.diff),
        host={**engine.describe(), "cores": len(ground.resources.cpus)},
    )
    data = next((mount.digest for mount in spec.mounts if mount.name == "data"), digest_of(_NO_DATA.encode()))
    snapshot = build_script_snapshot(
        request.argv,
        _outputs(left, result, printed),
        Surroundings(facts=facts, captured=captured, image=ground.image, locks=ground.locks),
        dataset_signature=data,
        task_signature=signature({"argv": request.argv, "code": project.digest}),
        probe_signature=signature(captured.probe),
    )
    folder.write(
        f"{SCRIPT_FOLDER}/{METADATA}",
        pretty_json(
            {
                "argv": request.argv,
                "exit_code": result.exit_code,
                "wall_seconds": result.wall_seconds,
                "timed_out": result.timed_out,
                "out_of_memory": result.out_of_memory,
                "peak_memory": result.peak_memory,
                "stdout": printed,
                "outputs": {name: {"digest": digest, "size": size} for name, (digest, size) in left.files.items()},
                "links": left.links,
                "removed": left.removed,
            }
        ),
    )
    return publish(
        folder, identity, spec, [Cohort(snapshot=snapshot, folder=SCRIPT_FOLDER, metrics={SCRIPT_FAMILY: {}})]
    )


def _outputs(left: Collected, result: RunResult, printed: Digest) -> dict[str, Digest]:
    """What is compared: the files, and how the program ended.

    What it printed counts only where it is all that there is: libraries print how long they took.
    """
    outputs = left.outputs(OUTPUTS) | {"exit_code": signature(result.exit_code)}
    return outputs if left.files else outputs | {"stdout": printed}
