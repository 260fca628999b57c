"""An `image.lock` that was written by hand, its manifest and config made to fit: no build comes to it."""

import msgspec
import pytest
from image_packages import Checkout

from harness.errors import IntegrityError
from harness.images.build import build, open_image
from harness.images.manifest import make_documents
from harness.locking.imagelock import ImageLock, LayerLock
from harness.locking.lockfile import write_lock
from harness.spec.variables import image_variables


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
