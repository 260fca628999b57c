"""Images for another machine: made by the same code, named rightly, and never of mixed parts."""

import json
from pathlib import Path

import msgspec
import pytest
from image_packages import Checkout, deb, folder, member, symlink

from harness.errors import IntegrityError, OutdatedLockError
from harness.images.build import build, open_image
from harness.images.deb import read_deb
from harness.images.tree import Directory, File
from harness.locking.debian import DebianLock, DebianPackage, read_debian_lock
from harness.locking.imagelock import ImageLock
from harness.locking.lockfile import write_lock


@pytest.fixture
def arm(checkout: Checkout) -> Checkout:
    """The image `tiny` for arm64, its packages too."""
    swap(checkout.root / "docker" / "tiny.yaml", "architecture: amd64", "architecture: arm64")
    swap(checkout.root / "docker" / "tiny.yaml", "x86_64-manylinux", "aarch64-manylinux")
    swap(checkout.folder / "python.txt", "x86_64-manylinux", "aarch64-manylinux")
    lock = read_debian_lock(checkout.folder / "debian.lock")
    packages = []
    for package in lock.packages:
        data = deb(package.name, [member(f"./usr/share/{package.name}", b"arm")], architecture="arm64")
        digest = checkout.store.put_bytes(data)
        path = package.path.replace("_amd64.deb", "_arm64.deb")
        packages.append(
            msgspec.structs.replace(package, architecture="arm64", path=path, digest=digest, size=len(data))
        )
    write_lock(
        checkout.folder / "debian.lock",
        msgspec.structs.replace(lock, architecture="arm64", packages=tuple(packages)),
    )
    return checkout


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def make(checkout: Checkout) -> ImageLock:
    return build("tiny", root=checkout.root, store=checkout.store, update=True)


def config_of(checkout: Checkout) -> dict[str, object]:
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        return dict(json.loads(image.config_bytes))


def test_an_image_for_arm64_says_so_with_its_variant(arm: Checkout) -> None:
    lock = make(arm)
    assert config_of(arm)["architecture"] == "arm64"
    assert config_of(arm)["variant"] == "v8"
    assert build("tiny", root=arm.root, store=arm.store, anew=True) == lock


def test_an_image_for_amd64_has_no_variant(checkout: Checkout) -> None:
    make(checkout)
    assert config_of(checkout)["architecture"] == "amd64"
    assert "variant" not in config_of(checkout)


def test_locks_of_another_architecture_than_the_spec_are_refused(checkout: Checkout) -> None:
    swap(checkout.root / "docker" / "tiny.yaml", "architecture: amd64", "architecture: arm64")
    swap(checkout.root / "docker" / "tiny.yaml", "x86_64-manylinux", "aarch64-manylinux")
    with pytest.raises(OutdatedLockError, match=r"debian.lock is for the architecture amd64, .* asks for arm64"):
        make(checkout)
    assert not (checkout.folder / "image.lock").exists()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("manylinux_2_36", "manylinux_2_35", "the platform x86_64-manylinux_2_36, .* x86_64-manylinux_2_35"),
        ('version: "3.11"', 'version: "3.13"', r"the Python 3\.11, .* 3\.13"),
    ],
)
def test_wheels_locked_for_another_python_or_platform_than_the_spec_are_refused(
    checkout: Checkout, old: str, new: str, what: str
) -> None:
    swap(checkout.root / "docker" / "tiny.yaml", old, new)
    with pytest.raises(OutdatedLockError, match=what):
        make(checkout)


@pytest.mark.parametrize("tags", ["cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_aarch64"])
def test_a_wheel_for_another_machine_or_python_is_refused_before_it_is_fetched(arm: Checkout, tags: str) -> None:
    swap(arm.folder / "python.txt", "small-1.0-py3-none-any.whl", f"small-1.0-{tags}.whl")
    with pytest.raises(IntegrityError, match=r"small-1.0-.* is not for Python 3.11 on aarch64-manylinux_2_36"):
        make(arm)


def test_a_package_whose_control_file_names_another_architecture_is_refused(arm: Checkout) -> None:
    lock = read_debian_lock(arm.folder / "debian.lock")
    data = deb("base", [member("./usr/share/base", b"amd")], architecture="amd64")
    base = msgspec.structs.replace(lock.packages[0], digest=arm.store.put_bytes(data), size=len(data))
    write_lock(arm.folder / "debian.lock", with_package(lock, base))
    with pytest.raises(IntegrityError, match=r"for arm64 says in its control file that it is base .* amd64"):
        make(arm)


def with_package(lock: DebianLock, package: DebianPackage) -> DebianLock:
    return msgspec.structs.replace(lock, packages=(package, *lock.packages[1:]))


def test_the_links_of_a_merged_usr_may_come_in_a_package(package: DebianPackage, tmp_path: Path) -> None:
    """As from Debian 13 on; but a link from there to any other place is not the merged /usr."""
    path = tmp_path / "package.deb"
    path.write_bytes(deb("evil", [folder("./usr/bin/"), symlink("./bin", "usr/bin"), member("./bin/sh", b"sh")]))
    entries = dict(read_deb(package, path, lambda deb: deb.data(tmp_path)))
    assert isinstance(entries["usr/bin"], Directory)
    assert isinstance(entries["usr/bin/sh"], File)
    path.write_bytes(deb("evil", [folder("./usr/bin/"), symlink("./bin", "usr/lib")]))
    with pytest.raises(IntegrityError, match="usr/bin is there twice"):
        read_deb(package, path, lambda deb: deb.data(tmp_path))
