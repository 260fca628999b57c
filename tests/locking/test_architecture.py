from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from harness.errors import PrerequisiteError
from harness.locking import architecture
from harness.locking.architecture import ARCHITECTURES, fits, machine_of, not_here, require_architecture
from harness.locking.debian import read_debian_lock
from harness.locking.imagespec import image_names, load_image_spec

ROOT = Path(__file__).parents[2]
ARM = "aarch64-manylinux_2_36"


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64")]
)
def test_a_machine_runs_its_own_architecture_and_no_other(machine: str, name: str) -> None:
    assert not_here(name, machine=machine) is None
    for other in ARCHITECTURES.keys() - {name}:
        assert f"it is for {other}" in str(not_here(other, machine=machine))


def test_an_image_for_another_machine_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture.platform, "machine", lambda: "x86_64")
    require_architecture("cpu", "amd64")
    with pytest.raises(PrerequisiteError, match=r"cpu-arm64 does not run here: it is for arm64, .* x86_64"):
        require_architecture("cpu-arm64", "arm64")


@pytest.mark.parametrize(
    ("filename", "fitting"),
    [
        ("a-1-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", True),
        ("a-1-py3-none-any.whl", True),
        ("a-1-cp39-abi3-manylinux_2_28_aarch64.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp312-cp312-manylinux_2_17_aarch64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_38_aarch64.whl", False),
        ("a-1-cp311-cp311-musllinux_1_2_aarch64.whl", False),
        ("a-1-cp311-cp311-macosx_11_0_arm64.whl", False),
    ],
)
def test_a_wheel_fits_its_own_python_machine_and_libc_alone(filename: str, fitting: bool) -> None:
    assert fits(parse_wheel_filename(filename)[3], "3.11", ARM) is fitting


def test_every_committed_lock_is_for_the_architecture_of_its_spec() -> None:
    found = {}
    for name in image_names(ROOT):
        spec = load_image_spec(ROOT, name)
        lock = read_debian_lock(ROOT / "lockfiles" / name / "debian.lock")
        found[name] = lock.architecture
        assert lock.architecture == spec.debian.architecture, name
        assert ARCHITECTURES[lock.architecture].machine == machine_of(spec.python.platform), name
    assert found["cpu-arm64"] == "arm64"
    assert found["trixie"] == "amd64"
