"""What a run stands on: the image in its engine (or none), the machine's share that it gets, its variables."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.engines.gpu import require_gpu
from harness.engines.host_environment import IMAGE as HOST_IMAGE
from harness.engines.interface import Engine
from harness.errors import PrerequisiteError, UsageError
from harness.images.build import open_image
from harness.locking.architecture import require_architecture
from harness.locking.imagespec import load_image_spec
from harness.locking.python import read_python_lock
from harness.record.hashing import signature
from harness.runs.bytecode import bytecode_mount
from harness.runs.inputs import CODE, PLUGINS, code_mount
from harness.spec.digest import Digest
from harness.spec.experiment import Reproducibility
from harness.spec.processor import missing_features, processor_facts
from harness.spec.reproducibility import BASE_SEED
from harness.spec.run import ImageReference, Mode, Mount, Profile, Resources
from harness.spec.variables import not_covered, overridden, run_variables
from harness.store.progress import Progress
from harness.store.store import Store

HOST = "host"
_BYTECODE_SECONDS = 180


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """An engine made ready. `image` is null where the engine has none.

    `locks` are the digests of the image's inputs, `libraries` its wheels' versions by name.
    """

    image: ImageReference | None
    locks: dict[str, Digest]
    variant: str
    libraries: dict[str, str]
    resources: Resources
    mounts: tuple[Mount, ...]


def make_ground(
    image: str,
    *,
    root: Path,
    store: Store,
    engine: Engine,
    progress: Progress,
    memory: int | None,
    time_limit: float | None,
    compiled: bool = True,
) -> Ground:
    """Build the image or find it, hand it to the engine, and gather the mounts that every run has.

    Without `compiled` the image's bytecode is left out: it changes no bit, and making and checking it takes time.

    Raises:
        IntegrityError: the image is not the committed one.
        PrerequisiteError: an artifact cannot be fetched, the engine is not there, the image is for another machine, or
            it is for CUDA and this machine has no GPU or too old a driver.
    """
    resources = Resources(
        cpus=tuple(sorted(os.sched_getaffinity(0))), memory=memory or _physical_memory(), time_limit=time_limit
    )
    code = code_mount(store)
    spec = load_image_spec(root, image)
    wheels = read_python_lock(root / "lockfiles" / spec.name / "python.txt").wheels
    libraries = {wheel.name: wheel.version for wheel in wheels}
    if engine.name == HOST:
        if spec.name != HOST_IMAGE:
            raise UsageError(
                f"The host engine runs in the environment of the image {HOST_IMAGE} alone, not of {spec.name}",
                hint=f"Leave --image out, or run {spec.name} with --engine docker.",
            )
        return Ground(
            image=None, locks={}, variant=spec.variant, libraries=libraries, resources=resources, mounts=(code,)
        )
    require_machine(image, root)
    with open_image(image, root=root, store=store, progress=progress) as made:
        engine.prepare(made)
        reference, locks = made.reference, dict(made.lock.inputs)
    bytecode = None
    if compiled:
        bytecode = bytecode_mount(
            reference,
            variant=spec.variant,
            code=code,
            engine=engine,
            resources=msgspec.structs.replace(resources, time_limit=_BYTECODE_SECONDS),
            store=store,
            progress=progress,
        )
    mounts = (code,) if bytecode is None else (code, bytecode)
    return Ground(
        image=reference, locks=locks, variant=spec.variant, libraries=libraries, resources=resources, mounts=mounts
    )


def require_machine(image: str, root: Path) -> None:
    """Refuse, before anything is fetched or built and before an engine is needed, an image that cannot run here.

    Raises:
        UsageError: there is no such image.
        PrerequisiteError: it is for another architecture, or for CUDA and this machine has no GPU or too old a driver.
    """
    spec = load_image_spec(root, image)
    require_architecture(spec.name, spec.debian.architecture)
    if spec.variant == "cuda":
        require_gpu(spec.name, read_python_lock(root / "lockfiles" / spec.name / "python.txt").wheels)


def require_processor(profile: Profile, mode: Mode) -> None:
    """Refuse, before anything is built, a strict run whose profile this machine's processor cannot run.

    Raises:
        PrerequisiteError: it lacks instructions that the profile's kernels are made of.
    """
    flags = processor_facts().get("flags", "").split()
    if mode is Mode.STRICT and (missing := missing_features(profile.value, flags)):
        raise PrerequisiteError(
            f"This processor cannot run the profile {profile.value}: it has no {', '.join(missing)}",
            hint="Run it on an x86-64 processor with AVX2, or use the profile native.",
        )


def run_environment(
    settings: Reproducibility,
    *,
    ground: Ground,
    profile: Profile,
    threads: int,
    inherited: Mapping[str, str],
    progress: Progress,
) -> dict[str, str]:
    """The variables of a run, from the table alone; what the caller had set otherwise is said to be overridden."""
    variables = run_variables(
        mode=settings.mode.value,
        profile=profile.value,
        variant=ground.variant,
        seed=base_seed(settings),
        version=settings.version,
        threads=threads,
        cores=len(ground.resources.cpus),
        libraries=ground.libraries,
    )
    for sentence in (*overridden(inherited, variables), *not_covered(profile.value)):
        progress.note(sentence)
    return variables


def code_digest(mounts: Sequence[Mount]) -> Digest:
    """The digest of the code that a run is made of: the rooms that run inside, and the user's plug-ins if any."""
    digests = {mount.name: mount.digest for mount in mounts if mount.name in (CODE, PLUGINS)}
    return signature(digests) if PLUGINS in digests else digests[CODE]


def base_seed(settings: Reproducibility) -> int:
    """The run's base seed: the settings' own, or the pipeline's, 42."""
    return BASE_SEED if settings.seed is None else settings.seed


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
