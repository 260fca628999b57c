"""Images on their way into a real Docker daemon: one of the tests' own, so that it is empty at first."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.engines import delivery
from harness.engines.delivery import find_image
from harness.engines.docker import DockerEngine
from harness.errors import HarnessError
from harness.images.assembly import Assembly
from harness.images.build import Image
from harness.images.manifest import make_documents
from harness.locking.imagelock import ImageLock, LayerLock
from harness.spec.digest import digest_from_hex
from harness.store.progress import SILENT
from harness.store.store import Store

pytestmark = pytest.mark.docker


def tar_with(name: str, text: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def small_image(store: Store, *, missing: bool = False) -> Image:
    """Two layers in the store; with `missing`, a third that cannot be made."""
    contents = {"one": tar_with("one", b"1" * 100_000), "two": tar_with("folder/two", b"2")}
    layers = [LayerLock(name, store.put_bytes(data), len(data)) for name, data in contents.items()]
    if missing:
        layers.append(LayerLock("three", digest_from_hex("3" * 64), 3))
    documents = make_documents("small", architecture="amd64", variables={"A": "1"}, layers=layers, builder=1)
    lock = ImageLock(
        name="small",
        builder=1,
        inputs={},
        manifest=documents.manifest_digest,
        config=documents.config_digest,
        layers=tuple(layers),
    )

    def plan() -> Any:
        raise HarnessError("layer three cannot be made")

    return Image(lock, documents, Assembly("small", layers, plan, store=store, progress=SILENT), store)


def test_an_image_is_pulled_by_digest_named_and_known_again(private_daemon: Any, store: Store) -> None:
    image, engine = small_image(store), DockerEngine()
    client = private_daemon.client()
    assert find_image(client, image.reference) is None
    engine.prepare(image)
    found = find_image(client, image.reference)
    assert found in (image.reference.config, image.reference.manifest)
    shown = client.images.get(found)
    assert shown.tags == [f"harness/small:{image.reference.manifest[7:19]}"]
    # The containerd store has one for each of its names.
    assert {digest.rpartition("@")[2] for digest in shown.attrs["RepoDigests"]} == {image.reference.manifest}
    assert shown.labels["harness.image"] == "small"


def test_an_image_that_is_there_is_not_asked_for_again(
    private_daemon: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, engine = small_image(store), DockerEngine()
    engine.prepare(image)

    def no_more(*_: object) -> None:
        raise AssertionError("served again")

    monkeypatch.setattr(delivery, "serve", no_more)
    engine.prepare(image)


def test_where_the_loopback_cannot_be_reached_the_image_goes_as_an_archive(
    private_daemon: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = small_image(store)

    @contextmanager
    def elsewhere(image: Image) -> Iterator[str]:
        yield f"127.0.0.1:1/{image.lock.name}@{image.lock.manifest}"  # nobody listens at port 1

    monkeypatch.setattr(delivery, "serve", elsewhere)
    DockerEngine().prepare(image)
    found = find_image(private_daemon.client(), image.reference)
    assert found is not None
    assert private_daemon.client().images.get(found).tags == [f"harness/small:{image.reference.manifest[7:19]}"]


def test_the_reason_why_a_layer_cannot_be_made_is_what_the_user_reads(private_daemon: Any, store: Store) -> None:
    image = small_image(store, missing=True)
    with pytest.raises(HarnessError, match="layer three cannot be made"):
        DockerEngine().prepare(image)
    assert find_image(private_daemon.client(), image.reference) is None


def test_an_altered_layer_never_becomes_an_image(private_daemon: Any, store: Store) -> None:
    image = small_image(store)
    layer = image.lock.layers[0]
    path = store.path(layer.digest)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[50_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(HarnessError):
        DockerEngine().prepare(image)
    assert find_image(private_daemon.client(), image.reference) is None
