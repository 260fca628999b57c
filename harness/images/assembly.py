"""Make layers in the background, so that an engine can take each as soon as it is there."""

import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from harness.errors import HarnessError, IntegrityError, advising
from harness.images.difference import describe_layer
from harness.images.growing import Growing, Span
from harness.images.inputs import UNFIT
from harness.images.layer import PlannedLayer, layer_chunks, layer_recipe
from harness.locking.imagelock import LayerLock
from harness.record.files import write_atomically
from harness.spec.digest import Digest, hexadecimal
from harness.store.progress import Progress
from harness.store.store import CorruptObjectError, Store
from harness.store.writer import ObjectWriter

LAYERS = "layers"
"""The store's folder of notes: which layer came of which recipe."""
_RESTORE = "Restore image.lock from version control, or make it again: `harness build NAME --update`."


class ClosedError(HarnessError):
    """The image was closed while a layer of it was still being made."""


class Assembly:
    """The layers of one image's lock. `plan` says what they hold; it is called only if one must be made.

    `whole` is told when all were made here, and each is what the lock says.

    Safe to use from several threads. Where several processes make the same image at once, one does and the others wait.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[LayerLock],
        plan: Callable[[], Sequence[PlannedLayer]],
        *,
        store: Store,
        progress: Progress,
        whole: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._whole = whole
        self._layers = {layer.digest: layer for layer in layers}
        self._plan = plan
        self._store = store
        self._progress = progress
        self._mutex = threading.Lock()
        self._making: dict[Digest, Growing] = {}
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def layer(self, digest: Digest) -> Path:
        """The file of a layer, once it is there: bytes made just now, or checked just now.

        The first call for a layer that the store lacks starts making all that it lacks. A layer in the store that is
        damaged is set aside and made again.

        Raises:
            KeyError: the lock names no such layer.
            HarnessError: it could not be made.
            IntegrityError: it came out with another digest.
        """
        found = self._find(digest)
        return found.path() if isinstance(found, Growing) else found

    def spans(self, digest: Digest, start: int, end: int) -> Generator[Span]:
        """As `layer`, for one who checks the digest: the bytes from `start` to `end`, each as soon as it is made.

        Raises:
            KeyError, HarnessError: as `layer`; what fails late does so after some bytes.
        """
        found = self._find(digest)
        if isinstance(found, Growing):
            yield from found.spans(start, end)
            return
        with found.open("rb") as file:
            yield Span(file, start, end - start)

    def failure(self) -> BaseException | None:
        """Why a layer could not be made, if one could not."""
        failures = (making.failure() for making in list(self._making.values()))
        return next((failure for failure in failures if failure is not None), None)

    def close(self) -> None:
        """Stop what is still being made, and wait until it has stopped."""
        self._closed.set()
        for thread in self._threads:
            thread.join()

    def _find(self, digest: Digest) -> Path | Growing:
        layer = self._layers[digest]
        if digest not in self._making and self._store.has(digest):
            try:
                return stored_layer(layer, self._store)
            except CorruptObjectError as error:
                self._progress.note(f"{error.message}. Layer {layer.name} of {self._name} is made again")
        with self._mutex:
            if digest not in self._making:
                self._start(digest)
        return self._making[digest]

    def _start(self, digest: Digest) -> None:
        wanted = [
            layer for layer in self._layers.values() if layer.digest == digest or not self._store.has(layer.digest)
        ]
        wanted = [layer for layer in wanted if layer.digest not in self._making]
        self._making |= {layer.digest: Growing() for layer in wanted}
        thread = threading.Thread(target=self._make, args=(wanted,), name=f"image-{self._name}")
        self._threads.append(thread)
        thread.start()

    def _make(self, wanted: list[LayerLock]) -> None:
        try:
            with self._store.lock(f"image-{self._name}", waiting=lambda: note_waiting(self._name, self._progress)):
                missing = {layer.name: layer for layer in wanted if not self._is_there(layer)}
                if missing:
                    planned = self._planned()
                    chosen = [layer for layer in planned if layer.name in missing]
                    make_layers(chosen, self._store, self._progress, self._closed, self._done, grown=self._grown)
                    if len(chosen) == len(self._layers) and self.failure() is None:
                        self._whole()
        except BaseException as error:  # handed on to whoever waits for a layer
            for layer in wanted:
                if not self._making[layer.digest].ended():
                    self._making[layer.digest].fail(error)

    def _is_there(self, layer: LayerLock) -> bool:
        """Whether another process has made a layer in the meantime; then it is handed out."""
        try:
            path = stored_layer(layer, self._store) if self._store.has(layer.digest) else None
        except CorruptObjectError:
            return False
        if path is not None:
            self._making[layer.digest].finish(path)
        return path is not None

    def _planned(self) -> Sequence[PlannedLayer]:
        planned = self._plan()
        names, locked = [layer.name for layer in planned], [layer.name for layer in self._layers.values()]
        if names != locked:
            raise IntegrityError(
                f"The image {self._name} has the layers {', '.join(names)}, and its lock names {', '.join(locked)}"
            )
        return planned

    def _grown(self, name: str, temporary: Path, size: int) -> None:
        locked = self._locked(name)
        # The last byte waits for the verdict: a layer with another digest than its lock's never arrives whole.
        self._making[locked.digest].grow(temporary, min(size, locked.size - 1))

    def _done(self, name: str, made: LayerLock | BaseException) -> None:
        locked = self._locked(name)
        making = self._making[locked.digest]
        if isinstance(made, BaseException):
            making.fail(made)
        elif made != locked:
            problem = f"{self._name}: {describe_layer(locked, made, self._store)}"
            again = f"`harness build {self._name} --anew` reads every artifact again; does it say so too?"
            hint = again if made.digest != locked.digest else _RESTORE
            making.fail(IntegrityError(problem, hint=hint))
        else:
            making.finish(self._store.path(made.digest))

    def _locked(self, name: str) -> LayerLock:
        return next(layer for layer in self._layers.values() if layer.name == name)


def stored_layer(layer: LayerLock, store: Store) -> Path:
    """The file of a layer that the store holds, checked.

    Raises:
        MissingObjectError: the store does not hold it.
        CorruptObjectError: it is altered or truncated; it has been set aside.
        IntegrityError: it is whole, and has another size than its lock says: a manifest of that size fits no layer.
    """
    path = store.verified_path(layer.digest)
    if (size := path.stat().st_size) != layer.size:
        raise IntegrityError(f"Layer {layer.name} has {size} bytes, and its lock says {layer.size}", hint=_RESTORE)
    return path


def make_layers(
    planned: Sequence[PlannedLayer],
    store: Store,
    progress: Progress,
    stop: threading.Event,
    done: Callable[[str, LayerLock | BaseException], None],
    *,
    grown: Callable[[str, Path, int], None] = lambda _name, _path, _size: None,
    anew: bool = True,
) -> None:
    """Write layers to the store, side by side; `done` is told of each, by name, what came out. Returns at the end.

    `grown` is told, by name, in which file a layer is being written, and how many of its bytes are there.
    Unless they are to be made `anew`, one that was made before, from the same recipe, and is still there is taken.
    """
    with (
        progress.task("layers", total=sum(layer.size for layer in planned), unit="bytes") as task,
        ThreadPoolExecutor(workers(), thread_name_prefix="layer") as pool,
    ):

        def write(layer: PlannedLayer) -> LayerLock:
            def written(writer: ObjectWriter, more: int) -> None:
                grown(layer.name, writer.path, writer.size)
                task.advance(more)

            return _write(layer, store, stop, written)

        def make(layer: PlannedLayer) -> None:
            try:
                kept = None if anew else _kept(layer, store)
                if kept:
                    task.advance(layer.size)
                done(layer.name, kept or write(layer))
            except BaseException as error:  # handed on to whoever waits for the layer
                done(layer.name, error)

        for layer in _in_order(planned):
            pool.submit(make, layer)


def workers() -> int:
    """How many threads work side by side: one a core. Inflating, hashing and writing hold no lock of Python's."""
    return max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)


def note_waiting(name: str, progress: Progress) -> None:
    """Say that another process makes the same image."""
    progress.note(f"Another process is making the image {name}: waiting for it")


def _write(
    layer: PlannedLayer, store: Store, stop: threading.Event, written: Callable[[ObjectWriter, int], None]
) -> LayerLock:
    # Not durable: waiting for the disk costs seconds, and a layer is checked whenever it leaves the store.
    with advising(IntegrityError, UNFIT), store.writer(durable=False) as writer:
        for chunk in layer_chunks(layer.entries):
            if stop.is_set():
                raise ClosedError(f"Layer {layer.name} is no longer wanted")
            writer.write(chunk)
            writer.flush()
            written(writer, len(chunk))
    made = LayerLock(layer.name, writer.digest, writer.size)
    with store.explaining():
        note = _note(layer, store)
        note.parent.mkdir(exist_ok=True)
        write_atomically(note, msgspec.json.encode(made))
    return made


def _kept(layer: PlannedLayer, store: Store) -> LayerLock | None:
    """The layer, if one of the same recipe was made before and is still there, whatever it was called."""
    try:
        noted = msgspec.json.decode(_note(layer, store).read_bytes(), type=LayerLock)
        whole = store.has(noted.digest) and store.path(noted.digest).stat().st_size == noted.size
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    return LayerLock(layer.name, noted.digest, noted.size) if whole else None


def _note(layer: PlannedLayer, store: Store) -> Path:
    return store.home / LAYERS / hexadecimal(layer_recipe(layer.entries))


def _in_order(planned: Sequence[PlannedLayer]) -> Iterable[PlannedLayer]:
    """The order in which layers are begun: the bottom one, the largest (it takes longest), then from the bottom up."""
    begin = [*planned[:1], *sorted(planned[1:], key=lambda layer: -layer.size)[:1]]
    return [*begin, *(layer for layer in planned if layer.name not in [first.name for first in begin])]
