"""Build an image from its spec and locks, and hold it against its `image.lock`."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.errors import IntegrityError, OutdatedLockError, UsageError
from harness.images.assembly import Assembly, make_layers, note_waiting, stored_layer, workers
from harness.images.difference import describe_layer
from harness.images.growing import Span
from harness.images.inputs import Inputs
from harness.images.layer import PlannedLayer
from harness.images.manifest import Documents, make_documents
from harness.images.nvidia import require_toolkit_files
from harness.images.outcomes import is_outcome, note_outcome
from harness.locking.base import BaseImage
from harness.locking.check import input_digests
from harness.locking.debian import DebianLock, read_debian_lock
from harness.locking.imagelock import BUILDER_FORMAT, SCHEMA, ImageLock, LayerLock
from harness.locking.imagespec import ImageSpec, load_image_spec
from harness.locking.lockfile import read_lock, write_lock
from harness.locking.python import PythonLock, read_python_lock
from harness.spec.digest import Digest
from harness.spec.run import ImageReference
from harness.spec.variables import image_variables
from harness.store.progress import SILENT, Progress
from harness.store.store import CorruptObjectError, MissingObjectError, Store


class Image:
    """An image whose every digest is known; its layers are made when they are asked for.

    `reference` is its identity, `lock` what it was held against, the two documents are the bytes behind their digests.
    """

    def __init__(
        self,
        lock: ImageLock,
        documents: Documents,
        assembly: Assembly,
        store: Store,
        fetch: Callable[[], None] = lambda: None,
        fetch_base: Callable[[], object] = lambda: None,
    ) -> None:
        self.lock = lock
        self._fetch = fetch
        self._fetch_base = fetch_base
        self._base = frozenset(layer.digest for layer in base_layers(lock))
        self.manifest_bytes = documents.manifest
        self.config_bytes = documents.config
        self.reference = ImageReference(lock.name, lock.manifest, lock.config)
        self._assembly = assembly
        self._store = store
        self._sizes = {layer.digest: layer.size for layer in lock.layers}
        self._sizes |= {lock.manifest: len(documents.manifest), lock.config: len(documents.config)}

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob of this image has; None if it has no such blob."""
        return self._sizes.get(digest)

    def fetch(self) -> None:
        """Fetch the artifacts of layers that the store lacks; nothing if it lacks none.

        Called before layers are asked for, in the thread that Ctrl-C reaches: downloads may take minutes.

        Raises:
            PrerequisiteError: an artifact can't be fetched from anywhere.
            IntegrityError: likewise, and somebody has another file under its name.
        """
        missing = {layer.digest for layer in self.lock.layers if not self._store.has(layer.digest)}
        if missing & self._base:
            self._fetch_base()
        if missing - self._base:
            self._fetch()

    def blob(self, digest: Digest) -> Path:
        """The file of a layer, of the manifest or of the config; waits until it is made. Its bytes are right.

        Raises:
            KeyError: the image has no such blob.
            HarnessError: the layer could not be made.
            IntegrityError: it came out with another digest than the lock says.
        """
        for known, data in ((self.lock.manifest, self.manifest_bytes), (self.lock.config, self.config_bytes)):
            if digest == known:
                return self._store.path(self._store.put_bytes(data))
        if digest not in self._base:
            return self._assembly.layer(digest)
        try:
            return self._store.verified_path(digest)
        except (MissingObjectError, CorruptObjectError):
            self._fetch_base()
        return self._store.verified_path(digest)

    def spans(self, digest: Digest, start: int, end: int) -> Generator[Span]:
        """The bytes of a blob from `start` to `end`, those of a layer as they are made: the reader checks the digest.

        Raises:
            KeyError, HarnessError: as `blob`; what fails late does so after some bytes.
        """
        if digest in (layer.digest for layer in self.lock.layers) and digest not in self._base:
            yield from self._assembly.spans(digest, start, end)
            return
        with self.blob(digest).open("rb") as file:
            yield Span(file, start, end - start)

    def failure(self) -> BaseException | None:
        """Why a layer could not be made, if one could not: the reason behind an engine's failed pull."""
        return self._assembly.failure()


class _Project(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkout says about an image: spec, locks, and the digest of each input by name."""

    root: Path
    inputs: Inputs
    digests: dict[str, Digest]
    path: Path
    lock: ImageLock | None


@contextmanager
def open_image(name: str, *, root: Path, store: Store, progress: Progress = SILENT) -> Iterator[Image]:
    """The image that `lockfiles/NAME/image.lock` names, for the time of a `with` block.

    Nothing is made until a layer is asked for, and then only what the store lacks; but where it has layers of a lock to
    which no build came yet, the image is planned, and what it lacks is made, to compare the two.

    Raises:
        UsageError: there is no such image, or no `image.lock` yet.
        OutdatedLockError: spec, locks or variables are not those that `image.lock` was made from.
        IntegrityError: `image.lock` contradicts itself, or the image is not what it says.
        PrerequisiteError: an artifact can't be fetched, or the disk is full.
    """
    with _opened(_read(name, root), store, progress) as image:
        yield image


@contextmanager
def _opened(project: _Project, store: Store, progress: Progress) -> Iterator[Image]:
    lock, documents = _fitting(project)
    _check_sizes(lock, store, progress)
    _require_outcome(project, lock, store, progress)
    own = lock.layers[len(base_layers(lock)) :]

    def plan() -> list[PlannedLayer]:
        return _plan(project.inputs, store, progress, _require_base(project, lock, store, progress))

    def whole() -> None:
        note_outcome(lock, store)

    assembly = Assembly(project.inputs.spec.name, own, plan, store=store, progress=progress, whole=whole)
    try:
        yield Image(
            lock,
            documents,
            assembly,
            store,
            lambda: _fetch(project.inputs, store, progress),
            lambda: _require_base(project, lock, store, progress),
        )
    finally:
        assembly.close()


def build(
    name: str, *, root: Path, store: Store, progress: Progress = SILENT, update: bool = False, anew: bool = False
) -> ImageLock:
    """Make the image `name` in the store and hold it against `lockfiles/NAME/image.lock`; with `update`, write that.

    If the lock fits its inputs and the store has every layer, nothing is done, unless it is to be made `anew`: then
    every layer is made again from its artifacts, each checked, and nothing that was made before counts.

    Raises:
        UsageError: there is no such image, or no `image.lock` yet and `update` is false.
        IntegrityError: the image is not what the lock says, an artifact is damaged or hostile, or a new `debian.lock`
            describes a maintainer script otherwise than it is read.
        PrerequisiteError: an artifact can't be fetched, or the disk is full.
    """
    project = _read(name, root)
    if update:
        _check_scripts(project, store, progress)
        lock = _make(project, store, progress, anew=anew)
        if lock != project.lock:
            write_lock(project.path, lock)
        return lock
    lock = _required(project)
    stale = _stale(project, lock)
    if stale:
        progress.note(f"{', '.join(stale)} changed since {project.path} was made: the image is made anew to compare")
    if anew and not stale:
        _check_documents(project, lock, _documents(project.inputs.spec, lock.layers, _base(lock)))
    if stale or anew:
        _compare(project, lock, _make(project, store, progress, anew=anew), store)
        return lock
    with _opened(project, store, progress) as image:
        image.fetch()
        for digest in [layer.digest for layer in lock.layers if not store.has(layer.digest)]:
            image.blob(digest)
    return lock


def image_inputs(name: str, root: Path) -> tuple[Inputs, ImageLock]:
    """What an image is made from, and the lock that it is made to.

    Raises:
        HarnessError: as for `open_image`.
    """
    project = _read(name, root)
    lock, _ = _fitting(project)
    return project.inputs, lock


def artifact_reader(inputs: Inputs, store: Store, progress: Progress) -> Callable[[Digest], Path]:
    """A function from a digest to that artifact's verified file. All that the store lacks are fetched first.

    Raises:
        PrerequisiteError: an artifact can't be fetched from anywhere.
        IntegrityError: likewise, and somebody has another file under its name.
    """
    _fetch(inputs, store, progress)

    def artifact(digest: Digest) -> Path:
        try:
            return store.verified_path(digest)
        except CorruptObjectError as error:
            progress.note(f"{error.message}. It is fetched again")
        _fetch(inputs, store, progress)
        return store.verified_path(digest)

    return artifact


def image_state(name: str, root: Path) -> tuple[dict[str, Digest], ImageLock | None, list[str]]:
    """The digests of an image's inputs, its lock if there is one, and the inputs that changed since that was made.

    Raises:
        UsageError: there is no such image.
        IntegrityError: a lock of it is not valid.
    """
    project = _read(name, root)
    return project.digests, project.lock, _stale(project, project.lock) if project.lock else []


def _read(name: str, root: Path) -> _Project:
    spec = load_image_spec(root, name)
    folder = root / "lockfiles" / name
    debian, python = read_debian_lock(folder / "debian.lock"), read_python_lock(folder / "python.txt")
    _check_target(spec, debian, python, folder)
    digests = input_digests(root, spec)
    path = folder / "image.lock"
    lock = read_lock(path, ImageLock, schema=SCHEMA) if path.exists() else None
    inputs = Inputs(spec=spec, debian=debian, python=python)
    return _Project(root=root, inputs=inputs, digests=digests, path=path, lock=lock)


def _fitting(project: _Project) -> tuple[ImageLock, Documents]:
    lock = _required(project)
    if stale := _stale(project, lock):
        raise OutdatedLockError(
            f"{project.path} was made from other inputs: {', '.join(stale)} changed since",
            hint=f"Run `harness build {lock.name} --update`, and commit the lock.",
        )
    documents = _documents(project.inputs.spec, lock.layers, _base(lock))
    _check_documents(project, lock, documents)
    return lock, documents


def _required(project: _Project) -> ImageLock:
    if project.lock is None:
        name = project.inputs.spec.name
        raise UsageError(f"There is no {project.path}", hint=f"Run `harness build {name} --update`, and commit it.")
    return project.lock


def _stale(project: _Project, lock: ImageLock) -> list[str]:
    """The inputs that are not those that the lock was made from."""
    names = sorted(project.digests | lock.inputs)
    changed = [name for name in names if project.digests.get(name) != lock.inputs.get(name)]
    return [*changed, *(["the builder's format"] if lock.builder != BUILDER_FORMAT else [])]


def _check_target(spec: ImageSpec, debian: DebianLock, python: PythonLock, folder: Path) -> None:
    """Refuse locks that are for another architecture, platform or Python than the spec: no part of them fits."""
    for lock, what, locked, wanted in (
        ("debian.lock", "architecture", debian.architecture, spec.debian.architecture),
        ("python.txt", "platform", python.platform, spec.python.platform),
        ("python.txt", "Python", python.version, spec.python.version),
    ):
        if locked != wanted:
            raise OutdatedLockError(
                f"{folder / lock} is for the {what} {locked}, and docker/{spec.name}.yaml asks for {wanted}",
                hint=f"Run `harness lock {spec.name}`, then `harness build {spec.name} --update`, and commit both.",
            )


def base_layers(lock: ImageLock) -> tuple[LayerLock, ...]:
    """The layers of a lock that are its base's: the first ones."""
    base = _base(lock)
    return lock.layers[: len(base.layers)] if base is not None else ()


def _base(lock: ImageLock) -> BaseImage | None:
    return lock.base if isinstance(lock.base, BaseImage) else None


def _require_base(project: _Project, lock: ImageLock, store: Store, progress: Progress) -> BaseImage | None:
    """The base that a lock names, its layers in the store.

    Raises:
        IntegrityError: the spec's base is not what the lock says.
        HarnessError: it is not there.
    """
    base = _base(lock)
    if base is None or all(store.has(layer.digest) for layer in base.layers):
        return base
    from harness.images.base import load_base  # archives, compressors: of no use where there is no base

    found = load_base(project.inputs.spec, project.root, store, progress)
    if found != base:
        raise IntegrityError(
            f"The base of {lock.name} is not what {project.path} says",
            hint=f"Restore it from version control, or run `harness build {lock.name} --update`.",
        )
    return found


def _documents(spec: ImageSpec, layers: Sequence[LayerLock], base: BaseImage | None) -> Documents:
    return make_documents(
        spec.name,
        architecture=spec.debian.architecture,
        variables=image_variables(spec.variant),
        layers=layers,
        builder=BUILDER_FORMAT,
        inherited=base.variables if base is not None else None,
    )


def _check_documents(project: _Project, lock: ImageLock, documents: Documents) -> None:
    base = _base(lock)
    named = [(layer.digest, layer.size) for layer in base.layers] if base is not None else []
    there = [(layer.digest, layer.size) for layer in base_layers(lock)]
    if (base is None) != (project.inputs.spec.base is None) or named != there:
        raise IntegrityError(
            f"{project.path} contradicts itself: its first layers are not those of its base",
            hint=f"Restore it from version control, or run `harness build {lock.name} --update`.",
        )
    for what, expected, actual in (
        ("config", lock.config, documents.config_digest),
        ("manifest", lock.manifest, documents.manifest_digest),
    ):
        if expected != actual:
            raise IntegrityError(
                f"{project.path} contradicts itself: its layers make the {what} {actual}, and it says {expected}",
                hint=f"Restore it from version control, or run `harness build {lock.name} --update`.",
            )


def _check_sizes(lock: ImageLock, store: Store, progress: Progress) -> None:
    """Refuse a lock with other sizes than its layers have, as far as they are there; what is damaged is set aside."""
    for layer in lock.layers:
        if store.has(layer.digest) and store.path(layer.digest).stat().st_size != layer.size:
            try:
                stored_layer(layer, store)
            except CorruptObjectError as error:
                progress.note(f"{error.message}. Layer {layer.name} of {lock.name} is made again")


def _require_outcome(project: _Project, lock: ImageLock, store: Store, progress: Progress) -> None:
    """Refuse a lock that no build comes to, though it is consistent and the store has layers that it names.

    Where the store has none of them, each is compared as it is made. Where it has all and lacks artifacts, they came
    from a registry, by a digest that somebody asked for, and there is nothing here to compare them with.

    Raises:
        IntegrityError: the image is not what the lock says.
    """
    own = lock.layers[len(base_layers(lock)) :]
    missing = [layer for layer in own if not store.has(layer.digest)]
    if len(missing) == len(own) or is_outcome(lock, store):
        return
    if missing or all(store.has(artifact.digest) for artifact in project.inputs.artifacts()):
        base = _require_base(project, lock, store, progress)
        _compare(project, lock, _make(project, store, progress, anew=False, base=base), store)


def _plan(
    inputs: Inputs, store: Store, progress: Progress, base: BaseImage | None, *, anew: bool = False
) -> list[PlannedLayer]:
    """The layers' contents, all artifacts fetched that the store lacks. A base's layers are in the store already."""
    from harness.images.plan import plan_layers  # a quarter of a second, which an unchanged build need not wait
    from harness.images.readings import Readings

    artifact = artifact_reader(inputs, store, progress)
    python = inputs.spec.python
    readings = Readings(
        store, artifact, python=python.version, platform=python.platform, exclude=python.exclude, anew=anew
    )
    with store.temporary_folder() as folder:
        below = [store.verified_path(layer.digest) for layer in base.layers] if base is not None else []
        return plan_layers(inputs, readings, folder, workers=workers(), base=below)


def _fetch(inputs: Inputs, store: Store, progress: Progress) -> None:
    from harness.store.fetch import fetch

    fetch(store, inputs.artifacts(), progress=progress)


def _make(
    project: _Project, store: Store, progress: Progress, *, anew: bool, base: BaseImage | None = None
) -> ImageLock:
    """Make every layer, from its artifacts where it is to be `anew`, and say what came out; `base` if it is known."""
    spec = project.inputs.spec
    made: dict[str, LayerLock] = {}
    failures: list[BaseException] = []
    stop = threading.Event()

    def done(name: str, layer: LayerLock | BaseException) -> None:
        if isinstance(layer, LayerLock):
            made[name] = layer
        else:
            failures.append(layer)
            stop.set()

    with store.lock(f"image-{spec.name}", waiting=lambda: note_waiting(spec.name, progress)):
        if spec.base is not None and base is None:
            from harness.images.base import load_base

            base = load_base(spec, project.root, store, progress)
        planned = _plan(project.inputs, store, progress, base, anew=anew)
        if spec.variant == "cuda" and base is None:  # a base may hold what our own layers lack
            require_toolkit_files(spec.name, (entry for layer in planned for entry in layer.entries))
        try:
            make_layers(planned, store, progress, stop, done, anew=anew)
        finally:
            stop.set()
    if failures:
        raise failures[0]
    below = [LayerLock(f"base-{n}", layer.digest, layer.size) for n, layer in enumerate(base.layers if base else (), 1)]
    layers = (*below, *(made[layer.name] for layer in planned))
    documents = _documents(spec, layers, base)
    lock = ImageLock(
        name=spec.name,
        builder=BUILDER_FORMAT,
        inputs=project.digests,
        manifest=documents.manifest_digest,
        config=documents.config_digest,
        layers=layers,
        base=base if base is not None else msgspec.UNSET,
    )
    note_outcome(lock, store)
    return lock


def _check_scripts(project: _Project, store: Store, progress: Progress) -> None:
    """Refuse a `debian.lock` that describes a maintainer script otherwise than it is read, before it is built upon.

    Not one that the image was made from before: it was read then, a wheel that changes should cost nothing more, and
    what was committed can be built for ever, also by a version that reads scripts better.
    """
    if project.lock is not None and project.lock.inputs.get("debian.lock") == project.digests["debian.lock"]:
        return
    from harness.locking.rereading import other_scripts, read_again  # a shell's parser, which other builds need not

    lock, name = project.inputs.debian, project.inputs.spec.name
    if other := other_scripts(lock, read_again(lock, artifact_reader(project.inputs, store, progress))):
        raise IntegrityError(
            f"lockfiles/{name}/debian.lock describes {other[0]} otherwise than it is read: "
            "it was edited by hand, or made by another version",
            hint=f"Run `harness lock {name}`, which reads the scripts again.",
        )


def _compare(project: _Project, expected: ImageLock, actual: ImageLock, store: Store) -> None:
    """Raise if the image is not what the lock says, naming the first layer that differs."""
    problem = None
    names, wanted = [layer.name for layer in actual.layers], [layer.name for layer in expected.layers]
    if names != wanted:
        problem = f"it has the layers {', '.join(names)}, and the lock names {', '.join(wanted)}"
    elif different := [pair for pair in zip(expected.layers, actual.layers, strict=True) if pair[0] != pair[1]]:
        problem = describe_layer(*different[0], store)
        problem += f" ({len(different) - 1} more layers differ)" if len(different) > 1 else ""
    elif actual.manifest != expected.manifest:
        problem = f"its layers are alike, but its config is {actual.config}, and the lock says {expected.config}"
    if problem:
        raise IntegrityError(
            f"The image {expected.name} is not what {project.path} says: {problem}",
            hint=f"If the change is wanted, run `harness build {expected.name} --update`, and commit the lock. If not, "
            "`--anew` reads every artifact again.",
        )
