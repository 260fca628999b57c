"""`harness exec` from end to end: a copy of the project, a program run in it, and what it wrote as one cell."""

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness.engines.interface import Engine
from harness.errors import ToolError, UsageError
from harness.record.attempts import WORK, Attempts, has_checkpoints
from harness.record.environment import SCHEMA as ENVIRONMENT_SCHEMA
from harness.record.environment import Captured
from harness.record.explain.cause import TIMES
from harness.record.explain.explanation import STDOUT
from harness.record.explain.explanation import summary as conclusion
from harness.record.hashing import digest_of, signature
from harness.record.jsonfile import pretty_json, read_document
from harness.record.layout import (
    METADATA,
    SCRIPT_FOLDER,
    SCRIPT_OUTPUTS,
    SCRIPT_STDOUT,
    TOUCHED,
)
from harness.record.results import RunFolder, writing
from harness.record.snapshot import SCRIPT_FAMILY, Code, Surroundings, build_script_snapshot, timestamp
from harness.record.touched import audit_lines
from harness.record.verdicts import Verdict
from harness.runs.collect import Collected, collect
from harness.runs.environment import HOST, Ground, base_seed, make_ground, require_processor, run_environment
from harness.runs.inputs import PROJECT, folder_mount, project_tree
from harness.runs.publish import CellReport, Cohort, Identity, RunReport, publish
from harness.runs.refusal import refused_operators, require_strict, unrecorded
from harness.runs.resume import Resume, attempt_id, begin_attempt, end_attempt, half_made, run_identity
from harness.runs.touched import MARKER, collect_touched
from harness.runs.uncommitted import Checkout, keep_checkout
from harness.spec.digest import Digest, digest_from_hex
from harness.spec.experiment import Reproducibility
from harness.spec.reproducibility import resolve
from harness.spec.run import Mode, Mount, Profile, RunResult, RunSpec
from harness.store.progress import Progress
from harness.store.store import Store
from harness.store.trees import Entry, checkout_tree, list_tree

_CAPTURE = "environment.json"
_NO_DATA = "no data"
_SIGPIPE = 141
_MOMENT = 315_532_800  # 1980-01-01, before which zip archives know no time
_KEPT = 16 << 20
"""How much of what a program prints is kept, in bytes."""


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """What a program printed on stdout: the digest of all of it, and its beginning. `started_at` is when it began."""

    digest: Digest
    kept: bytes
    started_at: datetime


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked `harness exec` for. Nulls leave what the environment says; `memory` is in bytes.

    `threads` are those of one reduction; a strict run's comparison group holds them.

    `require_clean` refuses a project that is not exactly one commit. `resume` goes on with an interrupted attempt.
    Strict runs have the same addresses each time unless `randomize_addresses`; `audit` tells all that a run touched.
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
    threads: int = 1
    require_clean: bool = False
    resume: Resume | None = None
    randomize_addresses: bool = False
    audit: bool = False


def execute_program(request: ExecRequest, *, root: Path, store: Store, engine: Engine, progress: Progress) -> int:
    """Run a program strictly and keep what it wrote; the program's own exit code.

    Its stdout goes to ours and its stderr to ours, byte for byte. The verdict goes to `progress`.

    Raises:
        HarnessError: the run could not be made or kept.
    """
    settings = _settings(request)
    require_processor(request.profile, settings.mode)
    identity = Identity.new("exec", request.run_name, request.results)
    with half_made(identity, progress) as folder:
        kept = keep_checkout(request.project, folder, identity.results, progress, clean=request.require_clean)
        copied = project_tree(store, request.project, results=request.results)
        project = Mount(name=PROJECT, source=str(request.project.absolute()), digest=copied)
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
        output = folder.path / WORK
        before = _copy(store, project, output / PROJECT)
        if request.audit:
            (output / MARKER).touch()
        spec = RunSpec(
            run_id=identity.run_id,
            image=ground.image,
            argv=request.argv,
            environment=run_environment(
                settings,
                ground=ground,
                profile=request.profile,
                threads=request.threads,
                inherited=os.environ,
                progress=progress,
            ),
            mounts=(*ground.mounts, *data),
            output=str(output.absolute()),
            working_directory=PROJECT,
            resources=ground.resources,
            randomize_addresses=request.randomize_addresses or settings.mode is not Mode.STRICT,
            gpu=ground.variant == "cuda",
        )
        attempts = begin_attempt(
            folder,
            identity,
            what=f"exec {shlex.join(request.argv)}",
            text=run_identity(
                spec, ground, request.profile, {"program": shlex.join(request.argv), "project": project.digest}
            ),
            resume=request.resume,
            progress=progress,
        )
        result, printed = _run(spec, engine)
        _say_how_it_ended(result, request, progress)
        require_strict(output)
        _require_start(result, output)
        for sentence in refused_operators(output, result.exit_code):
            progress.note(sentence)
        if result.exit_code != 0 and has_checkpoints(folder.path):
            progress.note(f"The program ended with exit code {result.exit_code} and can go on: no run is published")
            return result.exit_code
        captured = read_document(output / _CAPTURE, Captured, ENVIRONMENT_SCHEMA)
        unsaid = unrecorded(output, captured, strict=settings.mode is Mode.STRICT)
        touched = collect_touched(output, audited=request.audit, container=engine.name != HOST, project=PROJECT)
        folder.write(f"{SCRIPT_FOLDER}/{TOUCHED}", pretty_json(touched))
        left = collect(before, output / PROJECT, folder.path / SCRIPT_FOLDER / SCRIPT_OUTPUTS)
        end_attempt(folder, attempts)
        report = _record(
            request, settings, identity, attempts, ground, spec, project, kept, captured, result, printed, left,
            folder, engine,
        )  # fmt: skip
    for sentence in (*left.left, *unsaid, *(audit_lines(touched) if request.audit else ())):
        progress.note(sentence)
    for cell in report.cells:
        progress.note(f"{cell.verdict.value} {cell.fingerprint} {'; '.join(cell.reasons)}".rstrip())
        _say_causes(cell, progress)
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


def _copy(store: Store, project: Mount, target: Path) -> Mapping[str, Entry]:
    """A writable copy of the project for the program to work in, and what was in it; all of it is of one moment."""
    with writing(target):
        shutil.copytree(checkout_tree(store, project.digest), target, symlinks=True)
        for parent, _, files in os.walk(target):
            Path(parent).chmod(0o755)
            for name in files:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o200)
                    os.utime(path, (_MOMENT, _MOMENT))
            os.utime(parent, (_MOMENT, _MOMENT))
    return list_tree(target)


def _run(spec: RunSpec, engine: Engine) -> tuple[RunResult, Printed]:
    """Run the program with its output passed through; how it ended, and what it printed on stdout."""
    printed, kept, started_at = hashlib.sha256(), bytearray(), datetime.now(UTC)

    def stdout(chunk: bytes) -> None:
        printed.update(chunk)
        kept.extend(chunk[: _KEPT - len(kept)])
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
    return result, Printed(digest=digest_from_hex(printed.hexdigest()), kept=bytes(kept), started_at=started_at)


def _say_how_it_ended(result: RunResult, request: ExecRequest, progress: Progress) -> None:
    if result.timed_out:
        progress.note(f"The program did not end within {request.time_limit:g} s and was stopped.")
    if result.out_of_memory:
        progress.note("The program needed more memory than it may have. Give it more with --memory (MiB).")
    if result.killed:
        progress.note("Something killed the program (SIGKILL); where nobody did, the machine's memory ran out.")


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


def _say_causes(cell: CellReport, progress: Progress) -> None:
    """Name what differs from the earlier run, and why; what is printed beside files is named, but decides nothing."""
    printed = [cause for cause in cell.causes if cause.file == STDOUT]
    if cell.verdict is Verdict.IDENTICAL and printed:
        what = " in times only" if all(cause.kind in TIMES for cause in printed) else ""
        progress.note(f"Its files are compared; what it printed is not, and differs from {cell.against}{what}")
    for cause in cell.causes:
        progress.note(f"  {cause}")
    if cell.causes:
        progress.note(f"  {conclusion(cell.causes)}")


def _record(
    request: ExecRequest,
    settings: Reproducibility,
    identity: Identity,
    attempts: Attempts,
    ground: Ground,
    spec: RunSpec,
    project: Mount,
    kept: Checkout,
    captured: Captured,
    result: RunResult,
    printed: Printed,
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
    facts = msgspec.structs.replace(facts, attempt_id=attempt_id(attempts))
    data = next((mount.digest for mount in spec.mounts if mount.name == "data"), digest_of(_NO_DATA.encode()))
    snapshot = build_script_snapshot(
        request.argv,
        _outputs(left, result, printed.digest),
        Surroundings(facts=facts, captured=captured, image=ground.image, locks=ground.locks),
        dataset_signature=data,
        task_signature=signature({"argv": request.argv, "code": project.digest}),
        probe_signature=signature(captured.probe),
        threads=request.threads if settings.mode is Mode.STRICT else None,
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
                "started_at": timestamp(printed.started_at),
                "working_folder": str(Path(spec.output, PROJECT)),
                "stdout": printed.digest,
                "stdout_kept": len(printed.kept),
                "outputs": {name: {"digest": digest, "size": size} for name, (digest, size) in left.files.items()},
                "links": left.links,
                "removed": left.removed,
            }
        ),
    )
    folder.write(f"{SCRIPT_FOLDER}/{SCRIPT_STDOUT}", printed.kept)
    return publish(
        folder, identity, spec, [Cohort(snapshot=snapshot, folder=SCRIPT_FOLDER, metrics={SCRIPT_FAMILY: {}})]
    )


def _outputs(left: Collected, result: RunResult, printed: Digest) -> dict[str, Digest]:
    """What is compared: the files, and how the program ended.

    What it printed counts only where it is all that there is: libraries print how long they took.
    """
    outputs = left.outputs(SCRIPT_OUTPUTS) | {"exit_code": signature(result.exit_code)}
    return outputs if left.files else outputs | {"stdout": printed}
