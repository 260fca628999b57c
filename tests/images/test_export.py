import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_packages import Checkout, wheel

from harness.errors import HarnessError, UsageError
from harness.images.build import Image, build, open_image
from harness.images.export import archive_chunks, export_archive, export_layout, list_images, show_image, tag
from harness.record.hashing import digest_of


@pytest.fixture
def image(checkout: Checkout) -> Iterator[Image]:
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    with open_image("tiny", root=checkout.root, store=checkout.store) as opened:
        yield opened


def test_a_layout_leads_from_its_index_to_every_blob(image: Image, tmp_path: Path) -> None:
    export_layout(image, tmp_path / "layout")
    root = tmp_path / "layout"
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((root / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == image.lock.manifest
    blobs = {path.name: digest_of(path.read_bytes()) for path in (root / "blobs" / "sha256").iterdir()}
    assert all(digest == f"sha256:{name}" for name, digest in blobs.items())
    assert set(blobs.values()) == {image.lock.manifest, image.lock.config, *(x.digest for x in image.lock.layers)}


def test_an_archive_is_the_same_every_time_and_names_what_both_kinds_of_engine_need(
    image: Image, tmp_path: Path
) -> None:
    export_archive(image, tmp_path / "image.tar")
    data = (tmp_path / "image.tar").read_bytes()
    assert data == b"".join(archive_chunks(image))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isreg()}
        content = {name: stream.read() for name, stream in files.items() if stream}
    (docker,) = json.loads(content["manifest.json"])
    assert docker["RepoTags"] == [tag(image)] == [f"harness/tiny:{image.lock.manifest[7:19]}"]
    assert digest_of(content[docker["Config"]]) == image.lock.config
    assert [digest_of(content[layer]) for layer in docker["Layers"]] == [layer.digest for layer in image.lock.layers]
    (entry,) = json.loads(content["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == f"docker.io/{tag(image)}"
    assert digest_of(content[f"blobs/sha256/{entry['digest'][7:]}"]) == image.lock.manifest


def test_an_archive_that_is_there_is_replaced_and_a_layout_is_not(image: Image, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"old")
    export_archive(image, tmp_path / "image.tar")
    assert tarfile.is_tarfile(tmp_path / "image.tar")
    (tmp_path / "layout").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        export_layout(image, tmp_path / "layout")
    with pytest.raises(UsageError, match="is a folder"):
        export_archive(image, tmp_path)


def test_where_nothing_can_be_written_it_is_said(image: Image, tmp_path: Path) -> None:
    for export in (export_archive, export_layout):
        with pytest.raises(UsageError, match="can't be written"):
            export(image, tmp_path / "no" / "such" / "folder")


def test_a_failed_export_leaves_nothing(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Path:
        raise HarnessError("no layer")

    monkeypatch.setattr(image, "blob", fail)
    target = tmp_path / "target"
    target.mkdir()
    for export in (export_archive, export_layout):
        with pytest.raises(HarnessError, match="no layer"):
            export(image, target / "x")
    assert list(target.iterdir()) == []


def test_images_are_listed_with_what_is_known_of_them(checkout: Checkout) -> None:
    (before,) = list_images(checkout.root, checkout.store)
    assert (before.name, before.manifest, before.size, before.layers) == ("tiny", None, None, ())
    lock = build("tiny", root=checkout.root, store=checkout.store, update=True)
    checkout.store.path(lock.layers[1].digest).unlink()
    after = show_image("tiny", checkout.root, checkout.store)
    assert (after.manifest, after.config, after.stale) == (lock.manifest, lock.config, ())
    assert [(layer.digest, layer.stored) for layer in after.layers] == [
        (layer.digest, number != 1) for number, layer in enumerate(lock.layers)
    ]
    checkout.wheels["small"] = wheel("small", {})
    assert show_image("tiny", checkout.write().root, checkout.store).stale == ("python.txt",)


def test_an_unknown_image_is_not_shown(checkout: Checkout) -> None:
    with pytest.raises(UsageError, match="tiny"):
        show_image("other", checkout.root, checkout.store)
