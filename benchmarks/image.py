"""From lockfiles to an image that the engine can run, artifacts at hand: the harness against BuildKit and buildah."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import docker

from benchmarks.builders import BASE, COLD, WARM, WHEELS, Buildah, BuildKit, lay_out
from benchmarks.changed import Changed
from benchmarks.commands import ROOT, harness, peak_memory, run
from benchmarks.daemon import private_daemon
from benchmarks.figures import Bound, Check, Figure, Result, Skipped, ratios
from benchmarks.rounds import rounds, seconds
from harness.errors import HarnessError, PrerequisiteError
from harness.images.build import build
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.lockfile import read_lock
from harness.locking.python import read_python_lock
from harness.spec.digest import Digest
from harness.store.store import Store

IMAGE = "cpu"
CUDA = "cuda"
_SMALL_WHEEL = "idna"
_LOCKS = ROOT / "lockfiles" / IMAGE

Note = Callable[[str], None]


def image_figures(count: int, note: Note) -> list[Result]:
    """Times from lockfiles to runnable, cold, warm and with nothing changed; memory and size, and whether it is one."""
    store = Store.default()
    note("the image's artifacts and Debian layer")
    build(IMAGE, root=ROOT, store=store)
    with tempfile.TemporaryDirectory(prefix="hb-", dir=store.home.parent) as scratch:
        try:
            with private_daemon() as address:
                return [
                    *_against_builders(Path(scratch), address, store, count, note),
                    *_unchanged(Path(scratch) / "home", address, count, note),
                    *_alone(Path(scratch), store, count, note),
                ]
        except PrerequisiteError as error:
            return [Skipped(name="image", reason=error.message)]


def _against_builders(scratch: Path, address: str, store: Store, count: int, note: Note) -> list[Result]:
    base = scratch / "base.tar"
    debian = next(layer for layer in _image_lock(IMAGE).layers if layer.name == "debian")
    shutil.copyfile(store.verified_path(debian.digest), base)
    buildkit = BuildKit(address, scratch, base)
    wheels = scratch / "wheels"
    lay_out(wheels, _LOCKS / "python.txt", _wheel_files(store))
    buildkit.take(wheels, scratch)
    ours: list[str] = []
    theirs: list[str] = []
    home = scratch / "home"
    environment = {"HARNESS_HOME": str(home), "DOCKER_HOST": address}

    def assemble() -> float:
        _cold_home(home, store, IMAGE)
        _empty(address)
        return seconds(lambda: ours.append(_ready(environment)))

    sizes: list[int] = []

    def build_with_docker() -> float:
        buildkit.forget()
        taken = seconds(lambda: theirs.append(buildkit.build(COLD)))
        sizes.append(buildkit.size(theirs[-1]))
        return taken

    arms = {"harness": assemble, "docker build": build_with_docker}
    skipped: list[Result] = []
    try:
        buildah = Buildah(scratch, base)
    except HarnessError as error:
        skipped.append(Skipped(name="image", reason=error.message))
    else:
        arms["buildah"] = lambda: _buildah(buildah, wheels)
    taken = rounds(count, arms, note)
    results = _cold_results(taken, ours, theirs, sizes[-1])
    changed = _changed(scratch, store, home, environment, buildkit, count, note)
    return [*results, *skipped, *changed]


def _buildah(buildah: Buildah, wheels: Path) -> float:
    images: list[str] = []
    taken = seconds(lambda: images.append(buildah.build(wheels)))
    buildah.forget(images[0])
    return taken


def _cold_results(taken: dict[str, list[float]], ours: list[str], theirs: list[str], size: int) -> list[Result]:
    results: list[Result] = [
        Figure(
            name="image",
            statement=f"lockfiles to runnable in the engine: time against `{other}` with uv",
            unit="x",
            values=ratios(taken["harness"], taken[other]),
            bound=Bound.AT_MOST,
            target=1.0,
        )
        for other in taken
        if other != "harness"
    ]
    results += [
        Figure(name="seconds", statement=f"cold: {name}", unit="s", values=tuple(values))
        for name, values in taken.items()
    ]
    return [
        *results,
        Check(
            name="image",
            statement="the harness's images are one",
            holds=len(set(ours)) == 1,
            detail=f"{len(ours)} builds, {len(set(ours))} digest(s)",
        ),
        Check(
            name="image",
            statement="`docker build`'s images are not (so there is something to gain)",
            holds=len(set(theirs)) == len(theirs) > 1,
            detail=f"{len(theirs)} builds, {len(set(theirs))} id(s)",
        ),
        Figure(
            name="image",
            statement="size of the image against `docker build`'s, on the same base",
            unit="x",
            values=(sum(layer.size for layer in _image_lock(IMAGE).layers) / size,),
            bound=Bound.AT_MOST,
            target=1.0,
        ),
    ]


def _changed(
    scratch: Path, store: Store, home: Path, environment: dict[str, str], buildkit: BuildKit, count: int, note: Note
) -> list[Result]:
    """One small wheel is another; both sides keep what the build before left, uv's cache of unpacked wheels too."""
    checkout = Changed(ROOT, scratch / "checkout", IMAGE, _SMALL_WHEEL)
    own = Store(_cold_home(home, store, IMAGE))
    folder = scratch / "changed"

    def rebuild() -> tuple[float, float]:
        built = seconds(lambda: harness("build", IMAGE, "--update", environment=environment, cwd=checkout.root))
        return built, seconds(lambda: _ready(environment, checkout.root))

    def change() -> tuple[float, float]:
        checkout.change(own)
        return rebuild()

    def change_with_docker() -> float:
        lay_out(folder, checkout.locks / "python.txt", [(w.filename, own.path(w.digest)) for w in checkout.wheels])
        buildkit.take(folder, scratch)
        return seconds(lambda: buildkit.build(WARM))

    note("one build of each, for what a build leaves to the next")
    rebuild()
    change_with_docker()
    ours: list[tuple[float, float]] = []
    theirs: list[float] = []
    for number in range(count):  # always in this order: both build what the first one changes
        note(f"round {number + 1} of {count}: one wheel changed")
        ours.append(change())
        theirs.append(change_with_docker())
    wheel = f"one wheel ({_SMALL_WHEEL}) changed"
    whole = tuple(map(sum, ours))
    return [
        Figure(
            name="image",
            statement=f"{wheel}: `harness build --update`, and the engine has the image",
            unit="s",
            values=whole,
            bound=Bound.AT_MOST,
            target=3.0,
        ),
        Figure(name="seconds", statement=f"{wheel}: the build alone", unit="s", values=tuple(b for b, _ in ours)),
        Figure(
            name="image",
            statement="the same, engine included, against `docker build` with uv's cache warm",
            unit="x",
            values=ratios(whole, theirs),
            bound=Bound.AT_MOST,
            target=1.0,
        ),
        Figure(name="seconds", statement="warm: docker build", unit="s", values=tuple(theirs)),
    ]


def _unchanged(home: Path, address: str, count: int, note: Note) -> list[Result]:
    environment = {"HARNESS_HOME": str(home), "DOCKER_HOST": address}
    _ready(environment)
    unchanged = rounds(
        2 * count,
        {
            "build": lambda: seconds(lambda: harness("build", IMAGE, environment=environment)),
            "ready": lambda: seconds(lambda: _ready(environment)),
        },
        note,
    )
    return [
        Figure(
            name="image",
            statement="`harness build cpu` with nothing changed",
            unit="s",
            values=tuple(unchanged["build"]),
            bound=Bound.AT_MOST,
            target=0.3,
        ),
        Figure(
            name="image",
            statement="the same, and the engine asked for the image",
            unit="s",
            values=tuple(unchanged["ready"]),
            bound=Bound.AT_MOST,
            target=0.5,
        ),
    ]


def _alone(scratch: Path, store: Store, count: int, note: Note) -> list[Result]:
    """Assembly with no engine and nothing to compare with: time and memory."""
    results: list[Result] = []
    for image, most in ((IMAGE, None), (CUDA, 30.0)):
        if reason := _lacks(image, store):
            results.append(Skipped(name="image", reason=reason))
            continue
        environment = {"HARNESS_HOME": str(_cold_home(scratch / "alone", store, image))}
        command = [sys.executable, "-m", "harness", "build", image, "--anew"]
        taken: list[float] = []
        memory: list[float] = []
        for number in range(count):
            note(f"round {number + 1} of {count}: {image} alone")
            taken.append(seconds(lambda: memory.append(peak_memory(command, environment=environment))))  # noqa: B023
        results += [
            Figure(
                name="image",
                statement=f"{image}: every layer made from its artifacts",
                unit="s",
                values=tuple(taken),
                bound=Bound.AT_MOST if most else None,
                target=most,
            ),
            Figure(
                name="image",
                statement=f"{image}: peak memory of that",
                unit="GiB",
                values=tuple(memory),
                bound=Bound.AT_MOST,
                target=500e6 / 2**30,
            ),
        ]
    return results


def _lacks(image: str, store: Store) -> str | None:
    """Why an image can't be assembled here without fetching anything; none if it can."""
    if not (ROOT / "lockfiles" / image / "image.lock").exists():
        return f"there is no lockfiles/{image}/image.lock"
    missing = sum(not store.has(digest) for digest in _artifacts(image))
    return f"the store lacks {missing} artifacts of {image}: harness build {image}" if missing else None


def _image_lock(image: str) -> ImageLock:
    return read_lock(ROOT / "lockfiles" / image / "image.lock", ImageLock, schema=SCHEMA)


def _artifacts(image: str) -> list[Digest]:
    locks = ROOT / "lockfiles" / image
    packages = [package.digest for package in read_debian_lock(locks / "debian.lock").packages]
    return [*packages, *(wheel.digest for wheel in read_python_lock(locks / "python.txt").wheels)]


def _wheel_files(store: Store) -> list[tuple[str, Path]]:
    wheels = read_python_lock(_LOCKS / "python.txt").wheels
    return [(wheel.filename, store.path(wheel.digest)) for wheel in wheels]


def _ready(environment: dict[str, str], root: Path = ROOT) -> str:
    return run([sys.executable, "-m", "benchmarks.ready", IMAGE, root], environment=environment).strip()


def _cold_home(home: Path, store: Store, image: str) -> Path:
    """A store that holds the image's artifacts and nothing else."""
    shutil.rmtree(home, ignore_errors=True)
    cold = Store(home)
    for digest in _artifacts(image):
        cold.path(digest).parent.mkdir(exist_ok=True)
        os.link(store.path(digest), cold.path(digest))
    return home


def _empty(address: str) -> None:
    """Take every image out of the engine but those that builds begin with."""
    client = docker.DockerClient(base_url=address)
    for image in client.images.list(all=True):
        if not {BASE, WHEELS} & set(image.tags):
            client.api.remove_image(str(image.id), force=True)
