"""What a spec and its wheels ask for, held against the locks."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from harness.locking.check import check
from harness.locking.debian import read_debian_lock
from harness.locking.imagespec import ImageSpec, image_names, load_image_spec
from harness.locking.lockfile import write_lock
from harness.locking.needs import missing_packages, unmet_needs, unmet_requirements
from harness.locking.python import LockedWheel, PythonLock, encode_python_lock, read_python_lock
from harness.spec.digest import digest_from_hex

ROOT = Path(__file__).parents[2]


def locked(versions: Mapping[str, str], machine: str = "x86_64") -> PythonLock:
    wheels = [
        LockedWheel(name, version, f"{name}-{version}-py3-none-any.whl", digest_from_hex(f"{number:064x}"))
        for number, (name, version) in enumerate(sorted(versions.items()), 1)
    ]
    platform = f"{machine}-manylinux_2_36"
    return PythonLock(inputs=digest_from_hex("0" * 64), version="3.11", platform=platform, wheels=tuple(wheels))


def asking(*requirements: str, without: Mapping[str, str] = {}) -> ImageSpec:
    spec = load_image_spec(ROOT, "cpu")
    python = msgspec.structs.replace(spec.python, requirements=requirements, without=dict(without))
    return msgspec.structs.replace(spec, python=python)


@pytest.mark.parametrize("image", image_names(ROOT))
def test_the_committed_locks_have_what_their_specs_name(image: str) -> None:
    spec, folder = load_image_spec(ROOT, image), ROOT / "lockfiles" / image
    assert missing_packages(spec, read_debian_lock(folder / "debian.lock")) == []
    assert unmet_requirements(spec, read_python_lock(folder / "python.txt")) == []


@pytest.mark.parametrize(
    ("requirement", "versions", "met"),
    [
        ("one", {"one": "1.0"}, True),
        ("one", {"other": "1.0"}, False),
        ("One_Two>=1", {"one-two": "1.0"}, True),
        ("one>=2", {"one": "1.0"}, False),
        ("one>=2", {"one": "2.0rc1"}, False),
        ("one>=2.0rc1", {"one": "2.0rc1"}, True),
        ("one", {"one": "2.0rc1"}, True),  # uv takes a pre-release where there is nothing else
        ("one==2.5", {"one": "2.5+cpu"}, True),
        ("one; sys_platform == 'win32'", {}, True),
        ("one; python_version < '3.11'", {}, True),
        ("one; python_version < '3.12'", {}, False),
        ("one; platform_machine == 'aarch64'", {}, True),
        ("one; platform_machine == 'x86_64'", {}, False),
        ("one; platform_release >= '20'", {}, True),
    ],
)
def test_a_requirement_is_met_by_a_locked_version_where_its_marker_holds(
    requirement: str, versions: dict[str, str], met: bool
) -> None:
    assert unmet_requirements(asking(requirement), locked(versions)) == ([] if met else [requirement])


def test_markers_are_of_the_images_machine_and_not_of_this_one() -> None:
    spec = asking("one; platform_machine == 'aarch64'")
    assert unmet_requirements(spec, locked({}, "aarch64")) == list(spec.python.requirements)


@pytest.mark.parametrize(
    ("requirement", "needs", "unmet"),
    [
        ("one", {"one": ["two"]}, []),
        ("one", {"one": ["two<2"]}, []),
        ("one", {"one": ["two>=2"]}, [("one", "two>=2")]),
        ("one", {"one": ["three"]}, [("one", "three")]),
        ("one", {"two": ["three"]}, [("two", "three")]),
        ("one", {"one": ["three; extra == 'more'"]}, []),
        ("one[More]", {"one": ["three; extra == 'more'"]}, [("one", 'three; extra == "more"')]),
        ("one", {"one": ["two[more]"], "two": ["three; extra == 'more'"]}, [("two", 'three; extra == "more"')]),
        ("one[all]", {"one": ["one[b]; extra == 'all'", "three; extra == 'b'"]}, [("one", 'three; extra == "b"')]),
        ("one", {"one": ["three; platform_machine == 'aarch64'"]}, []),
        ("one", {"one": ["left-out", "this is none >"]}, []),
        ("one", {"one": ["two[more]"], "two": ["one[more]", "two[more]"]}, []),
    ],
)  # fmt: skip
def test_what_a_wheel_needs_is_met_or_left_out_or_not_asked_for(
    requirement: str, needs: dict[str, list[str]], unmet: list[tuple[str, str]]
) -> None:
    spec = asking(requirement, without={"left-out": "a test"})
    assert list(dict.fromkeys(unmet_needs(spec, locked({"one": "1.0", "two": "1.0"}), needs))) == unmet


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("docker", "lockfiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_debian_lock_without_a_package_that_the_spec_names_does_not_match(project: Path) -> None:
    assert check(project, ["cpu"]) == []
    path = project / "lockfiles" / "cpu" / "debian.lock"
    lock = read_debian_lock(path)
    fewer = tuple(package for package in lock.packages if package.name != "libgomp1")
    write_lock(path, msgspec.structs.replace(lock, packages=fewer))
    (problem,) = check(project, ["cpu"])
    assert problem.lock == "lockfiles/cpu/debian.lock"
    assert problem.message == "lacks libgomp1, which docker/cpu.yaml names"
    assert problem.remedy == "harness lock cpu"


def test_a_python_lock_that_does_not_meet_a_requirement_does_not_match(project: Path) -> None:
    path = project / "lockfiles" / "cpu" / "python.txt"
    lock = read_python_lock(path)
    fewer = tuple(wheel for wheel in lock.wheels if wheel.name != "msgspec")
    path.write_bytes(encode_python_lock(msgspec.structs.replace(lock, wheels=fewer)))
    (problem,) = check(project, ["cpu"])
    assert problem.lock == "lockfiles/cpu/python.txt"
    assert problem.message == "does not meet msgspec, which docker/cpu.yaml asks for"
