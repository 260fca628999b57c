"""Going on with an interrupted run: what must be equal, which attempt this is, and what is said of checkpoints."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.errors import IncomparableError, UsageError
from harness.record.attempts import (
    ATTEMPTS,
    CHECKPOINTS,
    IDENTITY,
    KEPT_SECONDS,
    WORK,
    Attempt,
    Attempts,
    Interrupted,
    interrupted_runs,
    newest_checkpoints,
    remove_checkpoints_from,
    remove_interrupted,
    take_checkpoints,
    verify_newest,
    write_attempts,
)
from harness.record.files import write_atomically
from harness.record.hashing import signature
from harness.record.layout import runs_folder
from harness.record.results import RunFolder, remove_leftovers, writing
from harness.runs.environment import Ground, code_digest
from harness.runs.machine import this_machine
from harness.runs.publish import Identity
from harness.spec.run import Profile, RunSpec
from harness.store.progress import Progress

_START_ANEW = "Leave --resume out to start anew; `harness clean --checkpoints` removes what interrupted runs left."


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked for: to go on with the newest attempt of the same run, or with that of the run called `run`.

    `before` removes its checkpoints from that step on, where the newest is damaged.
    """

    run: str | None = None
    before: int | None = None

    @classmethod
    def asked(cls, *, resume: bool, run: str | None, before: int | None) -> "Resume | None":
        """What three options of the command line mean together.

        Raises:
            UsageError: a step to go back before, and nothing to resume.
        """
        if not resume and run is None:
            if before is not None:
                raise UsageError("--resume-before says where to go on, and nothing is resumed", hint="Add --resume.")
            return None
        return cls(run=run, before=before)


@contextmanager
def half_made(identity: Identity, progress: Progress) -> Iterator[RunFolder]:
    """The folder of a run in the making; what killed runs left is tidied first, and what is kept of this one is said.

    Raises:
        HarnessError: as `RunFolder.create`.
    """
    runs = runs_folder(identity.results)
    remove_leftovers(identity.results)
    for path, size in remove_interrupted(runs, older_than=KEPT_SECONDS):
        progress.note(f"Removing the checkpoints of {path.name} ({_megabytes(size)}): a week old")
    folder = RunFolder.create(identity.results, identity.run_name)
    try:
        with folder:
            yield folder
    finally:
        if folder.kept is not None:
            say_kept(folder.kept, progress)


def run_identity(spec: RunSpec, ground: Ground, profile: Profile, what: Mapping[str, object]) -> str:
    """What must be equal for a run to go on from another's checkpoints, one fact a line.

    Code, data, image (or the locked libraries of the host environment) and every variable; under `native` also the
    processor. `what` is what is run. Names, time and memory limits, and how many fits run side by side can change no
    bit and are not in it.
    """
    facts: dict[str, object] = {
        **what,
        "harness": code_digest(spec.mounts),
        "data": next((mount.digest for mount in spec.mounts if mount.name == "data"), None),
        "image": None if spec.image is None else spec.image.manifest,
        "libraries": signature(ground.libraries),
        "profile": profile.value,
        "processor": _processor() if profile is Profile.NATIVE else None,
        **{f"variable {name}": value for name, value in spec.environment.items()},
    }
    return "".join(f"{name}: {_text(value)}\n" for name, value in sorted(facts.items()))


def begin_attempt(
    folder: RunFolder, identity: Identity, *, what: str, text: str, resume: Resume | None, progress: Progress
) -> Attempts:
    """Note which attempt this is, and bring the checkpoints that it goes on from; `text` is the run's identity.

    The output folder, `work`, must be there.

    Raises:
        UsageError: the run that was named left nothing.
        IncomparableError: an interrupted attempt of the same program is there, and something is not as it was then.
        IntegrityError: its newest checkpoint is damaged; it is left as it was.
    """
    found = None if resume is None else _find(identity, what, text, resume, progress)
    work = folder.path / WORK
    earlier = () if found is None else found.attempts.attempts
    attempt = Attempt(run_id=identity.run_id, run_name=identity.run_name, created_at=identity.created_at)
    attempts = Attempts(what=what, identity=text, attempts=(*earlier, attempt))
    with writing(folder.path):
        write_attempts(folder.path, attempts)
        if found is None or resume is None:
            (work / CHECKPOINTS).mkdir()
        else:
            verify_newest(found.path / CHECKPOINTS, before=resume.before)
            take_checkpoints(found, work)
            if resume.before is not None:
                remove_checkpoints_from(work / CHECKPOINTS, resume.before)
            newest = newest_checkpoints(work / CHECKPOINTS)
            attempt = msgspec.structs.replace(attempt, resumed_from=newest)
            attempts = msgspec.structs.replace(attempts, attempts=(*earlier, attempt))
            write_attempts(folder.path, attempts)
            progress.note(f"Resuming {found.name}, attempt {len(attempts.attempts)}, from {_named(newest)}")
        # Replaced, not written through: the earlier attempt's program may have put a link in its place.
        write_atomically(work / CHECKPOINTS / IDENTITY, text.encode())
    return attempts


def end_attempt(folder: RunFolder, attempts: Attempts) -> None:
    """Before publishing: the run tells of its attempts if it was resumed."""
    if len(attempts.attempts) == 1:
        (folder.path / ATTEMPTS).unlink(missing_ok=True)


def attempt_id(attempts: Attempts) -> str:
    """The run's id, and which attempt it is."""
    return f"{attempts.attempts[-1].run_id}-{len(attempts.attempts)}"


def say_kept(kept: Path, progress: Progress) -> None:
    """Say what an interrupted attempt left, how large it is and what can be done with it."""
    for one in interrupted_runs(kept.parent):
        if one.path == kept:
            progress.note(
                f"The checkpoints of {one.name} are kept for a week in {kept} ({_named(one.newest)}, "
                f"{_megabytes(one.size)}): go on with --resume, or remove them with `harness clean --checkpoints`"
            )


def _find(identity: Identity, what: str, text: str, resume: Resume, progress: Progress) -> Interrupted | None:
    """The newest interrupted attempt to go on from; None, and said so, where there is none of this program."""
    left = interrupted_runs(runs_folder(identity.results))
    if resume.run is not None:
        left = tuple(one for one in left if one.name == resume.run)
        if not left:
            raise UsageError(f"No interrupted attempt of {resume.run} is in {identity.results}", hint=_START_ANEW)
    else:
        left = tuple(one for one in left if one.attempts.what == what)
    for one in left:
        if one.attempts.identity == text:
            return one
    if left:
        difference = _difference(left[0].attempts.identity, text)
        raise IncomparableError(f"{left[0].name} cannot be gone on with: {difference}", hint=_START_ANEW)
    progress.note(f"Nothing to resume: no interrupted attempt of {what} is in {identity.results}. Starting anew")
    return None


def _difference(then: str, now: str) -> str:
    """The facts that differ between two identities, the first three of them."""
    before, after = (dict(line.partition(": ")[::2] for line in text.splitlines()) for text in (then, now))
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    told = [f"{name} was {before.get(name, 'not set')}, and is {after.get(name, 'not set')}" for name in names[:3]]
    return "; ".join(told) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _processor() -> str:
    machine = this_machine()
    kinds = () if machine is None else machine.processors
    return ", ".join(sorted({kind.get("model name", "unknown") for kind in kinds})) or os.uname().machine


def _text(value: object) -> str:
    return " ".join(str(value).split()) if value is not None else "none"


def _named(newest: tuple[str, ...]) -> str:
    if not newest:
        return "the beginning"
    return newest[0] if len(newest) == 1 else f"{len(newest)} trainings' checkpoints"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
