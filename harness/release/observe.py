"""Observe an environment: what its locks say, and what it says of itself."""

from pathlib import Path

import msgspec

from harness.errors import OutdatedLockError, PrerequisiteError, ToolError
from harness.locking.check import check, input_digests
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import BUILDER_FORMAT, SCHEMA, ImageLock
from harness.locking.imagespec import load_image_spec
from harness.locking.lockfile import encode_lock, read_lock
from harness.locking.python import read_python_lock
from harness.record.hashing import digest_of
from harness.release.site import Site
from harness.release.state import EnvironmentState, Sources
from harness.runs.machine import gpu_driver
from harness.runs.opening import EngineName, Environment, environment, open_engine
from harness.runs.survey import Surveyed, survey
from harness.spec.run import Profile
from harness.spec.variables import image_variables


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """An environment as it is now, and when it was surveyed (UTC; null where it was not)."""

    state: EnvironmentState
    measured_at: str | None


def sources(root: Path, image: str) -> Sources:
    """What the image of that name is made from, as the checkout `root` says now; offline, in milliseconds.

    Whether its locks fit each other is not looked at.

    Raises:
        UsageError: its spec is missing or makes no sense, or a lock is missing.
        IntegrityError: a lock is not valid.
    """
    spec, folder = load_image_spec(root, image), root / "lockfiles" / image
    locked = folder / "image.lock"
    image_lock = read_lock(locked, ImageLock, schema=SCHEMA) if locked.exists() else None
    return Sources(
        spec=spec,
        debian=read_debian_lock(folder / "debian.lock"),
        python=read_python_lock(folder / "python.txt"),
        digests=input_digests(root, spec),
        variables=image_variables(spec.variant),
        builder=BUILDER_FORMAT,
        image=image_lock,
        image_digest=None if image_lock is None else digest_of(encode_lock(image_lock)),
    )


def observe(
    name: str, site: Site, *, root: Path | None = None, profile: Profile = Profile.NATIVE, fresh: bool = False
) -> Observation:
    """The environment of that name as it is now; what keeps it from being run here is said in its state.

    That may be the machine, or that a library of it cannot be imported: what its locks say is known all the same.
    `root` is where its spec and locks lie if not in the site's checkout. `host` is made from the CPU image's locks and
    has no image. With `fresh` nothing that was measured before is taken.

    Raises:
        UsageError: there is no such environment, or its spec or a lock is missing or makes no sense.
        IntegrityError: a lock is not valid, the image is not what its lock says, or the survey was not strict.
    """
    place = root or site.root
    known = environment(name, place)
    of = sources(place, known.image)
    if known.engine is EngineName.HOST:
        of = msgspec.structs.replace(of, image=None, image_digest=None)
    surveyed: Surveyed | None = None
    reason = obstacle(known, of, place)
    if reason is None:
        try:
            engine = open_engine(known.engine, place, site.store, site.progress)
            surveyed = survey(
                known,
                root=place,
                store=site.store,
                engine=engine,
                progress=site.progress,
                profile=profile,
                fresh=fresh,
            )
        except (PrerequisiteError, OutdatedLockError, ToolError) as error:
            reason = error.message
    state = EnvironmentState(
        name=name,
        engine=known.engine,
        profile=profile,
        sources=of,
        survey=None if surveyed is None else surveyed.survey,
        unsurveyed=reason,
    )
    return Observation(state=state, measured_at=None if surveyed is None else surveyed.measured_at)


def obstacle(known: Environment, of: Sources, root: Path) -> str | None:
    """Why an environment cannot be run here, as far as it can be told without trying; null if nothing is known."""
    problems = check(root, (known.image,))
    if known.engine is EngineName.HOST:  # of the image, its wheels are all that a plain process has
        problems = [problem for problem in problems if problem.lock.endswith("python.txt")]
    if problems:
        first = problems[0]
        return f"{first.lock} {first.message}; `{first.remedy}` mends it"
    if of.spec.variant == "cuda" and gpu_driver() is None:
        return "It needs an NVIDIA GPU with its driver, and this machine has none"
    return None
