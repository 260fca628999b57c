"""An `image.lock` that was written by hand, its manifest and config made to fit: no build comes to it."""

import shutil
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from image_packages import Checkout

from harness.errors import IntegrityError
from harness.images import build as build_module
from harness.images.build import build, open_image
from harness.images.layer import PlannedLayer
from harness.images.manifest import make_documents
from harness.locking.imagelock import ImageLock, LayerLock
from harness.locking.lockfile import write_lock
from harness.record.hashing import digest_of
from harness.spec.digest import hexadecimal
from harness.spec.variables import image_variables
from harness.store.gc import Kind, find_garbage, remove_garbage


def forge(checkout: Checkout, layers: tuple[LayerLock, ...], lock: ImageLock) -> ImageLock:
    """`lock` with other layers, consistent in itself, in the checkout."""
    documents = make_documents(
        lock.name, architecture="amd64", variables=image_variables("cpu"), layers=layers, builder=lock.builder
    )
    forged = msgspec.structs.replace(
        lock, layers=layers, manifest=documents.manifest_digest, config=documents.config_digest
    )
    write_lock(checkout.folder / "image.lock", forged)
    return forged


def with_sizes(checkout: Checkout, lock: ImageLock, more: int) -> ImageLock:
    """A lock that says of one layer that it has so many bytes more than it has."""
    layers = tuple(
        msgspec.structs.replace(layer, size=layer.size + more) if layer.name == "wheels" else layer
        for layer in lock.layers
    )
    return forge(checkout, layers, lock)


def make(checkout: Checkout) -> ImageLock:
    return build("tiny", root=checkout.root, store=checkout.store, update=True)


def remove_layers(checkout: Checkout, lock: ImageLock) -> None:
    for layer in lock.layers:
        checkout.store.path(layer.digest).unlink()


@pytest.mark.parametrize("more", [512, -512])
@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_lock_with_another_size_of_a_layer_is_refused(there: bool, anew: bool, more: int, checkout: Checkout) -> None:
    lock = make(checkout)
    forged = with_sizes(checkout, lock, more)
    if not there:
        remove_layers(checkout, lock)
    real, said = (next(layer.size for layer in one.layers if layer.name == "wheels") for one in (lock, forged))
    with pytest.raises(IntegrityError, match=rf"(?i)layer wheels has {real} bytes, and its lock says {said}"):
        build("tiny", root=checkout.root, store=checkout.store, anew=anew)


@pytest.mark.parametrize("more", [512, -512])
def test_a_layer_of_another_size_than_the_lock_says_never_arrives_whole(more: int, checkout: Checkout) -> None:
    lock = make(checkout)
    forged = with_sizes(checkout, lock, more)
    remove_layers(checkout, lock)
    layer = next(layer for layer in forged.layers if layer.name == "wheels")
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        arrived: list[int] = []

        def receive() -> None:
            for span in image.spans(layer.digest, 0, layer.size):
                arrived.append(span.size)

        with pytest.raises(IntegrityError, match="bytes, and its lock says"):
            receive()
        assert sum(arrived) < layer.size
        assert isinstance(image.failure(), IntegrityError)


def test_a_layer_that_another_process_made_meanwhile_is_held_against_its_size(checkout: Checkout) -> None:
    lock = make(checkout)
    aside = {layer.digest: checkout.store.path(layer.digest).read_bytes() for layer in lock.layers}
    forged = with_sizes(checkout, lock, 512)
    remove_layers(checkout, lock)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        for data in aside.values():
            checkout.store.put_bytes(data)
        for layer in forged.layers:
            if layer in lock.layers:
                assert image.blob(layer.digest).read_bytes() == aside[layer.digest]
            else:
                with pytest.raises(IntegrityError, match="bytes, and its lock says"):
                    image.blob(layer.digest)


def test_a_truncated_layer_is_damage_and_not_a_wrong_lock(checkout: Checkout) -> None:
    lock = make(checkout)
    path = checkout.store.path(lock.layers[0].digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    assert build("tiny", root=checkout.root, store=checkout.store) == lock
    assert checkout.store.verified_path(lock.layers[0].digest).stat().st_size == lock.layers[0].size
    assert len(list((checkout.store.home / "quarantine").iterdir())) == 1


def without_notes(checkout: Checkout) -> None:
    """As a machine is on which nothing was built: what lies in the store came from somewhere."""
    for name in ("images", "layers", "readings"):
        shutil.rmtree(checkout.store.home / name, ignore_errors=True)


def remove_artifacts(checkout: Checkout) -> None:
    for data in (*checkout.debs.values(), *checkout.wheels.values()):
        checkout.store.path(digest_of(data)).unlink()


def dropped(checkout: Checkout, lock: ImageLock) -> ImageLock:
    return forge(checkout, tuple(layer for layer in lock.layers if layer.name != "wheels"), lock)


def swapped(checkout: Checkout, lock: ImageLock) -> ImageLock:
    return forge(checkout, (lock.layers[1], lock.layers[0], *lock.layers[2:]), lock)


def replaced(checkout: Checkout, lock: ImageLock) -> ImageLock:
    """With the layer of another image in place of its own."""
    data = b"another image's" + bytes(1000)
    other = LayerLock("wheels", checkout.store.put_bytes(data), len(data))
    return forge(checkout, tuple(other if layer.name == "wheels" else layer for layer in lock.layers), lock)


Forging = Callable[[Checkout, ImageLock], ImageLock]


@pytest.mark.parametrize("forging", [dropped, swapped, replaced])
@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize("there", ["all", "some", "none"])
def test_a_lock_with_other_layers_is_refused_whatever_the_store_has(
    there: str, noted: bool, forging: Forging, checkout: Checkout
) -> None:
    lock = make(checkout)
    forged = forging(checkout, lock)
    if not noted:
        without_notes(checkout)
    for digest in {
        "all": set(),
        "some": {lock.layers[-1].digest},
        "none": {layer.digest for layer in (*lock.layers, *forged.layers)},
    }[there]:
        checkout.store.path(digest).unlink()
    with pytest.raises(IntegrityError, match=r"has the layers|layer wheels is"):
        build("tiny", root=checkout.root, store=checkout.store)
    if there != "none":
        with (
            pytest.raises(IntegrityError, match=r"is not what .*image\.lock says"),
            open_image("tiny", root=checkout.root, store=checkout.store),
        ):
            pass
    write_lock(checkout.folder / "image.lock", lock)
    assert build("tiny", root=checkout.root, store=checkout.store) == lock


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each time that an image is planned."""
    times: list[str] = []
    real = build_module._plan

    def watched(*arguments: Any, **options: Any) -> list[PlannedLayer]:
        times.append("planned")
        return real(*arguments, **options)

    monkeypatch.setattr(build_module, "_plan", watched)
    return times


def test_an_image_that_was_made_in_passing_is_not_planned_again(checkout: Checkout, planned: list[str]) -> None:
    lock = make(checkout)
    without_notes(checkout)
    remove_layers(checkout, lock)
    planned.clear()
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        for layer in lock.layers:
            image.blob(layer.digest)
    assert planned == ["planned"]
    assert build("tiny", root=checkout.root, store=checkout.store) == lock
    assert planned == ["planned"]


def test_layers_that_came_from_elsewhere_are_held_against_the_locks_once(
    checkout: Checkout, planned: list[str]
) -> None:
    lock = make(checkout)
    without_notes(checkout)
    planned.clear()
    for _ in range(2):
        with open_image("tiny", root=checkout.root, store=checkout.store) as image:
            assert image.lock == lock
    assert planned == ["planned"]


def test_layers_that_were_pulled_need_no_artifacts(checkout: Checkout, planned: list[str]) -> None:
    lock = make(checkout)
    without_notes(checkout)
    remove_artifacts(checkout)
    planned.clear()
    assert build("tiny", root=checkout.root, store=checkout.store) == lock
    assert planned == []


def test_a_note_that_is_not_whole_is_none(checkout: Checkout, planned: list[str]) -> None:
    lock = make(checkout)
    (note,) = (checkout.store.home / "images").iterdir()
    note.write_bytes(b"")
    planned.clear()
    assert build("tiny", root=checkout.root, store=checkout.store) == lock
    assert planned == ["planned"]
    assert note.read_text() == f"{lock.manifest}\n"


def test_the_note_goes_with_the_image_and_not_before(checkout: Checkout) -> None:
    lock = make(checkout)
    checkout.store.close()
    (note,) = (checkout.store.home / "images").iterdir()

    def going(*needed: str) -> bool:
        found = find_garbage(checkout.store, needed, older_than=-60)
        return any(item.kind is Kind.OUTCOME for item in found.garbage)

    assert not going(hexadecimal(lock.manifest))
    assert going(hexadecimal(lock.layers[0].digest))
    remove_garbage(checkout.store, find_garbage(checkout.store, (), older_than=-60))
    assert not note.exists()
