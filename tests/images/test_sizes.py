"""Where the bytes of a small image are, whose every file the test knows."""

import hashlib
import json

import pytest
from image_packages import Checkout, deb, folder, member, wheel

from harness.cli.image import _show_sizes
from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.images.build import build
from harness.images.sizes import ImageSizes, Kind, Repeated, Same, image_sizes, library_name

SITE = "usr/local/lib/python3.11/dist-packages"


def noise(seed: bytes, size: int) -> bytes:
    return hashlib.shake_256(seed).digest(size)


NCCL_12, NCCL_13 = noise(b"12", 3000), noise(b"13", 2500)
WHEELS = {
    "one": {
        "one/__init__.py": b"",
        "one/libnccl.so.2": NCCL_12,
        "one/table.bin": noise(b"table", 700),
        "one/sibling.bin": noise(b"as large as table, and other", 700),
    },
    "two": {
        "two/__init__.py": b"",
        "two.libs/libnccl-0123abcd.so.2.29": NCCL_13,
        "two/copy.bin": noise(b"table", 700),
        "two/tests/left_out.bin": noise(b"excluded", 5000),
    },
}


@pytest.fixture
def made(checkout: Checkout) -> Checkout:
    """An image in which one library is there in two versions, and one content at two places."""
    checkout.wheels = {name: wheel(name, files) for name, files in WHEELS.items()}
    checkout.spec = checkout.spec.replace("requirements: [small]", "requirements: [one]")
    checkout.debs["tools"] = deb("tools", [folder("./usr/"), member("./lib/libtool.so.1.0", noise(b"tool", 400))])
    checkout.write()
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    return checkout


def measure(checkout: Checkout) -> ImageSizes:
    return image_sizes("tiny", checkout.root, checkout.store)


def repeated(sizes: ImageSizes, same: Same) -> dict[str, Repeated]:
    return {found.name: found for found in sizes.repeated if found.same is same}


def paths(found: Repeated) -> list[str]:
    return [file.path.removeprefix(f"{SITE}/") for file in found.files]


def test_a_library_in_two_wheels_is_found_whatever_its_version_and_mangled_name(made: Checkout) -> None:
    libraries = repeated(measure(made), Same.LIBRARY)
    assert set(libraries) == {"libnccl"}
    found = libraries["libnccl"]
    assert paths(found) == ["one/libnccl.so.2", "two.libs/libnccl-0123abcd.so.2.29"]
    assert [file.package for file in found.files] == ["one", "two"]
    assert found.spare == len(NCCL_13), "the larger one stays"


def test_equal_content_is_found_and_content_that_is_only_as_large_is_not(made: Checkout) -> None:
    groups = [paths(found) for found in repeated(measure(made), Same.CONTENT).values()]
    assert ["one/table.bin", "two/copy.bin"] in groups
    assert not any("one/sibling.bin" in group for group in groups)
    assert not any("one/__init__.py" in group for group in groups), "empty files spare nothing"
    (spare,) = [f.spare for f in repeated(measure(made), Same.CONTENT).values() if "one/table.bin" in paths(f)]
    assert spare == 700


def test_an_image_with_one_nccl_has_none_twice(made: Checkout) -> None:
    del made.wheels["two"]
    made.write()
    build("tiny", root=made.root, store=made.store, update=True)
    sizes = measure(made)
    assert repeated(sizes, Same.LIBRARY) == {}
    assert not any("one/table.bin" in paths(found) for found in sizes.repeated)


def test_every_byte_of_every_layer_is_accounted_for(made: Checkout) -> None:
    sizes = measure(made)
    assert sizes.size == sum(layer.size for layer in sizes.layers)
    assert sizes.content == sum(package.size for package in sizes.packages) == sum(file.size for file in sizes.files)
    assert sizes.size == sizes.content + sizes.overhead
    assert sum(layer.files for layer in sizes.layers) == sum(package.files for package in sizes.packages)
    assert len(sizes.files) == sum(layer.files for layer in sizes.layers)
    assert [file.size for file in sizes.files] == sorted((file.size for file in sizes.files), reverse=True)


def test_files_belong_to_the_package_that_brought_them(made: Checkout) -> None:
    sizes = measure(made)
    owners = {file.path: file.package for file in sizes.files}
    assert owners[f"{SITE}/one/libnccl.so.2"] == "one"
    assert owners[f"{SITE}/one-1.0.dist-info/RECORD"] == "one"
    assert owners["usr/lib/libtool.so.1.0"] == "tools"
    assert owners["var/lib/dpkg/status.d/tools"] == "tools"
    assert owners["etc/nsswitch.conf"] == owners["etc/passwd"] == "of no package"
    known = {(package.kind, package.name, package.version) for package in sizes.packages}
    assert {(Kind.WHEEL, "two", "1.0"), (Kind.DEBIAN, "tools", "1.0"), (Kind.OTHER, "of no package", None)} <= known
    assert f"{SITE}/two/tests/left_out.bin" not in owners


def test_packages_whose_files_are_gone_from_the_store_still_count(made: Checkout) -> None:
    before = measure(made)
    for data in made.debs.values():
        made.store.path(made.store.put_bytes(data)).unlink()
    after = measure(made)
    assert after.size == before.size
    assert sum(package.size for package in after.packages) == before.content
    assert {package.kind for package in after.packages} == {Kind.WHEEL, Kind.OTHER}


def test_an_image_that_is_not_built_or_not_locked_is_refused(made: Checkout) -> None:
    layer = measure(made).layers[0]
    digest = next(x.digest for x in build("tiny", root=made.root, store=made.store).layers if x.name == layer.name)
    made.store.path(digest).unlink()
    with pytest.raises(PrerequisiteError, match="lacks 1 of the") as caught:
        measure(made)
    assert caught.value.hint == "Run: harness build tiny"
    (made.folder / "image.lock").unlink()
    with pytest.raises(UsageError, match=r"no image\.lock yet"):
        measure(made)


def test_a_layer_that_is_no_archive_is_named(made: Checkout) -> None:
    lock = build("tiny", root=made.root, store=made.store)
    path = made.store.path(lock.layers[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"not an archive" * 100)
    with pytest.raises(IntegrityError, match=lock.layers[0].name):
        measure(made)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("nvidia/nccl/lib/libnccl.so.2", "libnccl"),
        ("usr/lib/libgomp.so.1.0.0", "libgomp"),
        ("xgboost.libs/libgomp-e985bcbb.so.1.0.0", "libgomp"),
        ("numpy.libs/libgfortran-040039e1-0352e75f.so.5.0.0", "libgfortran"),
        ("torch/lib/libtorch_cuda.so", "libtorch_cuda"),
        ("nvidia/cu13/lib/libnvrtc-builtins.so.13.0", "libnvrtc-builtins"),
        ("nvidia/cu13/lib/libnvrtc.alt.so.13", "libnvrtc.alt"),
        ("lib/libc.so", "libc"),
        ("numpy/_core/_simd.cpython-311-x86_64-linux-gnu.so", None),
        ("lib/libfoo.a", None),
        ("lib/libfoo.so.py", None),
        ("libfolder.so/readme", None),
    ],
)
def test_a_librarys_name_is_without_version_and_digest(path: str, name: str | None) -> None:
    assert library_name(path) == name


def test_the_command_prints_tables_or_one_document(
    made: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made.root)
    monkeypatch.setattr("harness.cli.image.find_root", lambda _: made.root)
    monkeypatch.setattr("harness.cli.image.open_store", lambda: made.store)
    assert _show_sizes("tiny", as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["size"] == measure(made).size
    assert {"layers", "packages", "files", "repeated", "overhead"} <= document.keys()
    assert _show_sizes("tiny", as_json=False) == 0
    shown = capsys.readouterr().out
    for words in ("Layers of tiny", "Largest files", "libnccl-0123abcd.so.2.29", "to spare", "of no package"):
        assert words in shown
