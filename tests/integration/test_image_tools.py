"""Images as independent tools read them: skopeo and umoci, where they are installed."""

import hashlib
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import Checkout

from harness.images.build import Image, build, open_image
from harness.images.export import export_archive, export_layout, tag
from harness.images.inputs import Inputs
from harness.images.plan import plan_layers
from harness.images.readings import Readings
from harness.images.registry import serve
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.debian import read_debian_lock
from harness.locking.imagespec import load_image_spec
from harness.locking.python import read_python_lock
from harness.spec.digest import hexadecimal
from harness.store.store import Store
from tests.tools import need

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Facts = tuple[str, int, str]


@pytest.fixture
def skopeo() -> Run:
    return tool("skopeo")


def tool(name: str) -> Run:
    path = need(name)

    def run(*arguments: object, check: bool = True) -> "subprocess.CompletedProcess[str]":
        argv = [path, *map(str, arguments)]
        return subprocess.run(argv, capture_output=True, text=True, check=check, timeout=120)

    return run


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path / "checkout", Store(tmp_path / "store")).write()
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    return checkout


@pytest.fixture
def image(checkout: Checkout) -> Iterator[Image]:
    with open_image("tiny", root=checkout.root, store=checkout.store) as opened:
        yield opened


@pytest.fixture
def layout(image: Image, tmp_path: Path) -> Path:
    export_layout(image, tmp_path / "layout")
    return tmp_path / "layout"


def check_inspected(said: dict[str, Any], image: Image) -> None:
    assert said["Digest"] == image.lock.manifest
    assert said["Layers"] == [layer.digest for layer in image.lock.layers]
    assert said["Labels"]["harness.image"] == "tiny"
    assert (said["Os"], said["Architecture"]) == ("linux", "amd64")


def test_skopeo_finds_our_digests_in_a_layout(skopeo: Run, layout: Path, image: Image) -> None:
    check_inspected(json.loads(skopeo("inspect", f"oci:{layout}").stdout), image)


def test_skopeo_finds_our_digests_in_the_registry(skopeo: Run, image: Image, tmp_path: Path) -> None:
    with serve(image) as reference:
        said = skopeo("inspect", "--no-tags", "--tls-verify=false", f"docker://{reference}").stdout
        check_inspected(json.loads(said), image)
        skopeo("copy", "--src-tls-verify=false", f"docker://{reference}", f"dir:{tmp_path}/copy")
    assert hashlib.sha256((tmp_path / "copy" / "manifest.json").read_bytes()).hexdigest() == hexadecimal(
        image.lock.manifest
    )


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_skopeo_reads_the_archive_both_ways(kind: str, skopeo: Run, image: Image, tmp_path: Path) -> None:
    export_archive(image, tmp_path / "image.tar")
    name = f":{tag(image)}" if kind == "docker-archive" else ""
    said = json.loads(skopeo("inspect", f"{kind}:{tmp_path}/image.tar{name}").stdout)
    assert said["Layers"] == [layer.digest for layer in image.lock.layers]


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_skopeo_refuses_a_layer_with_one_flipped_bit(
    number: int, skopeo: Run, layout: Path, image: Image, tmp_path: Path
) -> None:
    blob = layout / "blobs" / "sha256" / hexadecimal(image.lock.layers[number].digest)
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    copied = skopeo("copy", f"oci:{layout}", f"oci:{tmp_path}/copy", check=False)
    assert copied.returncode != 0
    assert "digest" in copied.stderr.lower()


def test_umoci_unpacks_the_tree_that_was_planned(
    layout: Path, image: Image, checkout: Checkout, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    reference = tag(image).rpartition(":")[2]
    tool("umoci")("unpack", "--rootless", "--image", f"{layout}:{reference}", bundle)
    unpacked = {str(path.relative_to(bundle / "rootfs")): facts_of(path) for path in (bundle / "rootfs").rglob("*")}
    assert unpacked == {path: planned_facts(entry) for path, entry in planned(checkout).items()}
    assert len(unpacked) > 60
    links = [path.stat().st_ino for path in ((bundle / "rootfs" / "usr/bin" / name) for name in ("sh", "ash"))]
    assert links[0] == links[1]


def planned(checkout: Checkout) -> dict[str, Entry]:
    inputs = Inputs(
        spec=load_image_spec(checkout.root, "tiny"),
        debian=read_debian_lock(checkout.folder / "debian.lock"),
        python=read_python_lock(checkout.folder / "python.txt"),
    )
    python = inputs.spec.python
    readings = Readings(
        checkout.store,
        checkout.store.verified_path,
        python=python.version,
        platform=python.platform,
        exclude=python.exclude,
        anew=True,
    )
    with checkout.store.temporary_folder() as folder:
        layers = plan_layers(inputs, readings, folder, workers=1)
    return {path: entry for layer in layers for path, entry in layer.entries}


def facts_of(path: Path) -> Facts:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return ("link", 0, str(path.readlink()))
    if stat.S_ISDIR(mode):
        return ("folder", stat.S_IMODE(mode), "")
    return ("file", stat.S_IMODE(mode), hashlib.sha256(path.read_bytes()).hexdigest())


def planned_facts(entry: Entry) -> Facts:
    match entry:
        case Symlink(target):
            return ("link", 0, target)
        case Directory(mode):
            return ("folder", mode, "")
        case File(mode, content):
            return ("file", mode, hashlib.sha256(b"".join(content.chunks())).hexdigest())
