"""An image whose layers lie in the store by their digests, wherever they came from; below it there may be another.

Its manifest and config lie there too, so that `harness store gc` leaves all of it to whoever names its digest.
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from harness.errors import PrerequisiteError
from harness.images.assembly import Assembly
from harness.images.build import Image
from harness.images.growing import Span
from harness.images.manifest import Documents
from harness.locking.imagelock import BUILDER_FORMAT, ImageLock, LayerLock
from harness.spec.digest import Digest
from harness.store.progress import SILENT
from harness.store.store import Store


class StoredImage(Image):
    """An image made of `layers`; those that `below` has are its to make, the others are in the store."""

    def __init__(
        self,
        name: str,
        documents: Documents,
        layers: Sequence[LayerLock],
        *,
        store: Store,
        inputs: dict[str, Digest] | None = None,
        below: Image | None = None,
    ) -> None:
        lock = ImageLock(
            name=name,
            builder=BUILDER_FORMAT,
            inputs=inputs or {},
            manifest=documents.manifest_digest,
            config=documents.config_digest,
            layers=tuple(layers),
        )

        def missing() -> Any:
            raise PrerequisiteError(f"The store no longer holds every layer of {name}", hint="Run the command again.")

        for document in (documents.manifest, documents.config):  # whoever names the digest needs what they name
            store.put_bytes(document)
        super().__init__(lock, documents, Assembly(name, layers, missing, store=store, progress=SILENT), store)
        self._below = below

    def fetch(self) -> None:
        """Fetch what the image below needs to be made."""
        if self._below is not None:
            self._below.fetch()

    def blob(self, digest: Digest) -> Path:
        """As `Image.blob`; a layer of the image below is made there."""
        below = self._lies_below(digest)
        return below.blob(digest) if below is not None else super().blob(digest)

    def spans(self, digest: Digest, start: int, end: int) -> Generator[Span]:
        """As `Image.spans`; a layer of the image below is made there."""
        below = self._lies_below(digest)
        return below.spans(digest, start, end) if below is not None else super().spans(digest, start, end)

    def _lies_below(self, digest: Digest) -> Image | None:
        below = self._below
        return below if below is not None and any(layer.digest == digest for layer in below.lock.layers) else None

    def failure(self) -> BaseException | None:
        """As `Image.failure`, the image below included."""
        return (self._below.failure() if self._below is not None else None) or super().failure()
