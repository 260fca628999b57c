"""Images to a real registry (Debian's, on loopback) and back."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_packages import Checkout
from registries import KNOWN, PASSWORD, USER, Registry, certificate, debian_registry, repository

from harness.errors import IntegrityError, PrerequisiteError, ToolError, UsageError
from harness.images.build import Image, build, open_image
from harness.images.compression import Compression
from harness.images.credentials import Credentials
from harness.images.transport import pull_image, push_image
from harness.record.hashing import digest_of
from harness.store.store import Store

__all__ = ["certificate"]


@pytest.fixture
def image(checkout: Checkout) -> Iterator[Image]:
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    with open_image("tiny", root=checkout.root, store=checkout.store) as opened:
        yield opened


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with debian_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of another machine."""
    return Store(tmp_path / "other")


def name_of(reference: str) -> str:
    """`HOST/NAME@DIGEST` without the tag that a push says beside it."""
    place, _, digest = reference.partition("@")
    return f"{place.rpartition(':')[0]}@{digest}"


@pytest.mark.parametrize("compression", Compression)
def test_an_image_that_went_through_a_registry_is_the_image_that_was_pushed(
    compression: Compression, image: Image, registry: Registry, checkout: Checkout, other: Store
) -> None:
    pushed = push_image(image, repository(registry.host, push=True), store=checkout.store, compression=compression)
    assert (pushed.image, pushed.config) == (image.lock.manifest, image.lock.config)
    assert (pushed.manifest == image.lock.manifest) == (compression is Compression.NONE)
    pulled = pull_image(repository(name_of(pushed.reference)), store=other)
    assert pulled.lock.manifest == image.lock.manifest
    assert pulled.manifest_bytes == image.manifest_bytes
    assert pulled.config_bytes == image.config_bytes
    assert pulled.lock.layers == image.lock.layers
    assert pulled.lock.name == "tiny"
    for layer in image.lock.layers:
        assert other.read_bytes(layer.digest) == image.blob(layer.digest).read_bytes()
    assert not list(other.temporary.iterdir())


def test_what_the_registry_holds_is_not_sent_again(image: Image, registry: Registry, checkout: Checkout) -> None:
    first = push_image(image, repository(registry.host, push=True), store=checkout.store)
    again = push_image(image, repository(registry.host, push=True), store=checkout.store)
    total = sum({one.digest: one.size for one in image.lock.layers}.values()) + len(image.config_bytes)
    assert (first.sent, first.held) == (total, 0)
    assert (again.sent, again.held) == (0, total)
    assert again.reference == first.reference


def test_a_compressed_push_is_the_same_each_time_and_smaller(
    image: Image, registry: Registry, checkout: Checkout
) -> None:
    plain = push_image(image, repository(registry.host, push=True), store=checkout.store)
    for compression in (Compression.GZIP, Compression.ZSTD):
        first = push_image(image, repository(registry.host, push=True), store=checkout.store, compression=compression)
        again = push_image(image, repository(registry.host, push=True), store=checkout.store, compression=compression)
        assert first.manifest == again.manifest != plain.manifest
        assert 0 < first.sent < plain.sent


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("compression", Compression)
def test_skopeo_reads_what_was_pushed(
    compression: Compression, image: Image, registry: Registry, checkout: Checkout, tmp_path: Path
) -> None:
    pushed = push_image(image, repository(registry.host, push=True), store=checkout.store, compression=compression)
    place = f"docker://{name_of(pushed.reference)}"
    inspect = ["skopeo", "inspect", "--tls-verify=false"]
    shown = json.loads(subprocess.check_output([*inspect, place]))
    assert shown["Digest"] == pushed.manifest
    assert digest_of(subprocess.check_output([*inspect, "--raw", place])) == pushed.manifest
    config = json.loads(subprocess.check_output([*inspect, "--config", place]))
    assert config["rootfs"]["diff_ids"] == [layer.digest for layer in image.lock.layers]
    layout = tmp_path / "layout"
    copy = ["skopeo", "copy", "-q", "--preserve-digests", "--src-tls-verify=false"]
    subprocess.run([*copy, place, f"oci:{layout}:x"], check=True)
    assert json.loads((layout / "index.json").read_text())["manifests"][0]["digest"] == pushed.manifest


@pytest.mark.needs("skopeo")
def test_what_skopeo_pushed_can_be_pulled(image: Image, registry: Registry, other: Store, tmp_path: Path) -> None:
    from harness.images.export import export_archive

    export_archive(image, tmp_path / "tiny.tar")
    place = f"docker://{registry.host}/from/skopeo:x"
    copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false"]
    for kind in ("v2s2", "oci"):  # Docker's own manifests, whose layers skopeo compresses, and OCI's
        subprocess.run([*copy, "-f", kind, f"docker-archive:{tmp_path}/tiny.tar", place], check=True)
        shown = json.loads(subprocess.check_output(["skopeo", "inspect", "--tls-verify=false", place]))
        pulled = pull_image(repository(f"{registry.host}/from/skopeo@{shown['Digest']}"), store=other)
        assert [one.digest for one in pulled.lock.layers] == [one.digest for one in image.lock.layers]


def test_credentials_are_asked_for_and_taken(image: Image, checkout: Checkout, other: Store, tmp_path: Path) -> None:
    with debian_registry(tmp_path / "registry", login=True) as registry:
        with pytest.raises(PrerequisiteError, match="asks for credentials, and there are none") as nobody:
            push_image(image, repository(registry.host, push=True), store=checkout.store)
        assert "docker login" in str(nobody.value.hint)
        wrong = repository(registry.host, push=True, credentials=Credentials(USER, "not it"))
        with pytest.raises(PrerequisiteError, match="does not accept your credentials") as refused:
            push_image(image, wrong, store=checkout.store)
        assert "not it" not in str(refused.value)
        assert not list(registry.folder.rglob("data"))
        pushed = push_image(image, repository(registry.host, push=True, credentials=KNOWN), store=checkout.store)
        place = name_of(pushed.reference)
        assert pull_image(repository(place, credentials=KNOWN), store=other).lock.manifest == image.lock.manifest
        assert PASSWORD not in registry.log


def test_a_registry_with_a_certificate_of_its_own_is_trusted_when_told(
    image: Image, checkout: Checkout, other: Store, tmp_path: Path, certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with debian_registry(tmp_path / "registry", login=True, certificate=certificate) as registry:
        with pytest.raises(ToolError, match=r"certificate of .* is not accepted") as stranger:
            push_image(image, repository(registry.host, push=True, credentials=KNOWN), store=checkout.store)
        assert "--ca" in str(stranger.value.hint)
        told = repository(registry.host, push=True, credentials=KNOWN, ca=certificate[0])
        pushed = push_image(image, told, store=checkout.store)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        pulled = pull_image(repository(name_of(pushed.reference), credentials=KNOWN), store=other)
        assert pulled.lock.manifest == image.lock.manifest


def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.crt").write_text("nothing")
    for path in (tmp_path / "none.crt", tmp_path / "missing.crt"):
        with pytest.raises(UsageError, match=r"Certificates cannot be read from .*\.crt"):
            repository("127.0.0.1:5000", ca=path)


def test_a_tag_is_no_image_to_pull(registry: Registry, other: Store) -> None:
    for place in (f"{registry.host}/team/tiny:latest", f"{registry.host}/team/tiny"):
        with pytest.raises(UsageError, match="by a tag") as refused:
            pull_image(repository(place), store=other)
        assert "@sha256:" in str(refused.value.hint)


def test_what_the_registry_does_not_hold_is_named(registry: Registry, other: Store) -> None:
    with pytest.raises(PrerequisiteError, match="holds no image sha256:0000"):
        pull_image(repository(f"{registry.host}/team/tiny@sha256:{'0' * 64}"), store=other)


def test_a_tag_can_be_chosen_and_else_it_is_the_digests_beginning(
    image: Image, registry: Registry, checkout: Checkout
) -> None:
    pushed = push_image(image, repository(registry.host, push=True), store=checkout.store)
    assert pushed.reference == f"{registry.host}/team/tiny:{image.lock.manifest[7:19]}@{image.lock.manifest}"
    chosen = push_image(image, repository(f"{registry.host}/team/tiny:v1", push=True), store=checkout.store)
    assert chosen.reference == f"{registry.host}/team/tiny:v1@{image.lock.manifest}"
    tags = registry.folder / "docker/registry/v2/repositories/team/tiny/_manifests/tags"
    assert {path.name for path in tags.iterdir()} == {"v1", image.lock.manifest[7:19]}


def test_a_layer_that_the_registry_lost_half_of_never_becomes_an_image(
    image: Image, registry: Registry, checkout: Checkout, other: Store
) -> None:
    pushed = push_image(image, repository(registry.host, push=True), store=checkout.store)
    layer = image.lock.layers[0]
    blob = next(registry.folder.rglob(f"{layer.digest[7:]}/data"))
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"served other bytes as {layer.digest}"):
        pull_image(repository(name_of(pushed.reference)), store=other)
    assert not other.has(layer.digest)
    assert not other.has(image.lock.manifest)
    assert not list(other.temporary.iterdir())
