"""What the NVIDIA Container Toolkit needs of an image is in every image for CUDA, and in no other."""

import json
import tarfile
from pathlib import Path

import pytest
from image_packages import Checkout, deb, folder, member

from harness.errors import UsageError
from harness.images.build import build, open_image
from harness.locking.imagelock import ImageLock
from harness.spec.variables import image_variables

BASE_FILES = [folder("./etc/"), member("./etc/debian_version", b"12.15\n")]
LIBC_BIN = [
    member("./etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n"),
    folder("./etc/ld.so.conf.d/"),
    member("./etc/ld.so.conf.d/libc.conf", b"/usr/local/lib\n"),
    member("./sbin/ldconfig", b"program", mode=0o755),
]


@pytest.fixture
def cuda(checkout: Checkout) -> Checkout:
    checkout.spec = checkout.spec.replace("variant: cpu", "variant: cuda")
    checkout.debs |= {"base-files": deb("base-files", BASE_FILES), "libc-bin": deb("libc-bin", LIBC_BIN)}
    return checkout.write()


def make(checkout: Checkout) -> ImageLock:
    return build("tiny", root=checkout.root, store=checkout.store, update=True)


def members(checkout: Checkout) -> dict[str, tarfile.TarInfo]:
    """What a container of the image would see, by path."""
    found = {}
    for layer in make(checkout).layers:
        with tarfile.open(checkout.store.path(layer.digest)) as archive:
            found |= {member.name: member for member in archive}
    return found


def variables(checkout: Checkout) -> dict[str, str]:
    """The variables in the image's config."""
    make(checkout)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        lines = json.loads(image.config_bytes)["config"]["Env"]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_the_config_asks_for_gpus_and_for_what_a_run_needs_of_the_driver(cuda: Checkout) -> None:
    found = variables(cuda)
    assert found["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert found["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_the_config_says_nothing_by_which_a_runtime_would_judge_the_driver(cuda: Checkout) -> None:
    # With CUDA_VERSION the toolkit takes the image for one of NVIDIA's own old ones; NVIDIA_REQUIRE_* CDI ignores.
    assert not [name for name in variables(cuda) if name == "CUDA_VERSION" or name.startswith("NVIDIA_REQUIRE")]


def test_an_image_for_the_cpu_asks_for_no_gpu(checkout: Checkout) -> None:
    assert not [name for name in variables(checkout) if "NVIDIA" in name or "CUDA" in name]
    assert not [name for name in image_variables("cpu") if "NVIDIA" in name]


def test_the_toolkit_finds_debians_version_and_the_linkers_configuration(cuda: Checkout) -> None:
    found = members(cuda)
    assert found["etc/debian_version"].isreg()
    assert found["etc/ld.so.conf"].isreg()
    assert found["etc/ld.so.conf.d"].isdir()


def test_the_linkers_program_is_where_the_toolkit_and_triton_call_it(cuda: Checkout) -> None:
    found = members(cuda)
    assert found["sbin"].issym()
    assert found["sbin"].linkname == "usr/sbin"
    assert found["usr/sbin/ldconfig"].isreg()
    assert found["usr/sbin/ldconfig"].mode & 0o111 == 0o111


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("etc/debian_version", "base-files"),
        ("etc/ld.so.conf", "libc-bin"),
        ("etc/ld.so.conf.d*", "libc-bin"),
        ("usr/sbin/ldconfig", "libc-bin"),
    ],
)
def test_an_image_for_cuda_that_lacks_one_is_not_made(cuda: Checkout, path: str, package: str) -> None:
    cuda.spec = cuda.spec.replace("exclude: [usr/share/doc/*]", f"exclude: [usr/share/doc/*, {path}]")
    cuda.write()
    with pytest.raises(UsageError, match=rf"for CUDA and has no (file|folder) /{path.rstrip('*')} ") as caught:
        make(cuda)
    assert package in str(caught.value.hint)
    assert not (cuda.folder / "image.lock").exists()
    cuda.spec = cuda.spec.replace("variant: cuda", "variant: cpu")
    cuda.write()
    make(cuda)


def test_a_linkers_program_that_cannot_be_executed_is_none(cuda: Checkout) -> None:
    cuda.debs["libc-bin"] = deb("libc-bin", [*LIBC_BIN[:-1], member("./sbin/ldconfig", b"program", mode=0o644)])
    cuda.write()
    with pytest.raises(UsageError, match="/usr/sbin/ldconfig"):
        make(cuda)


def test_the_committed_cuda_image_holds_one_nccl() -> None:
    lock = (Path(__file__).parents[2] / "lockfiles/cuda/python.txt").read_text()
    assert [line.partition("==")[0] for line in lock.splitlines() if line.startswith("nvidia-nccl")] == [
        "nvidia-nccl-cu13"
    ]
