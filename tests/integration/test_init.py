"""`harness init` as a person meets it, and an image with a base in a real engine."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import member
from test_base import Layout

from harness.engines.connection import connect
from harness.engines.docker import DockerEngine
from harness.images.build import build, open_image
from harness.locking.imagespec import ImageSpec
from harness.locking.initial import place
from harness.locking.python import encode_python_lock, read_python_lock
from harness.locking.template import render_spec, template
from harness.spec.documents import parse_document
from harness.store.progress import SILENT
from harness.store.store import Store

CHECKOUT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def harness(folder: Path, *arguments: str) -> Done:
    return subprocess.run(
        [sys.executable, "-P", "-m", "harness", *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        ({}, ["init"], "has neither a pyproject.toml"),
        ({"requirements.txt": "numpy"}, ["init", "Not-A-Name"], "is not the name of an image"),
        ({"requirements.txt": "numpy"}, ["init", "--variant", "tpu"], "There is no variant 'tpu'"),
        ({"requirements.txt": "numpy"}, ["init", "--waive", "libgl1"], "gives no reason"),
        ({"requirements.txt": "numpy"}, ["init", "--project", "missing"], "is not a folder"),
        ({"requirements.txt": "git+https://h.example/x"}, ["init"], "line 1: git+https://h.example/x is an address"),
        ({"requirements.txt": "numpy", "docker/cpu.yaml": "x"}, ["init"], "docker/cpu.yaml is there already"),
        ({"pyproject.toml": "[project]\nname='x'\nrequires-python='<3.10'\ndependencies=['a']"}, ["init"], "has 3.11"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    files: dict[str, str], arguments: list[str], said: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = harness(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in left if not name.startswith(".cache/")} == set(files)


@pytest.mark.docker
def test_the_engine_runs_what_lies_over_a_base(tmp_path: Path) -> None:
    """The CPU image's Debian packages, and one of its wheels, over a base that brings files, a variable, a whiteout."""
    store = Store.default()
    layout = Layout(tmp_path / "base")
    digest = layout.image(
        [member("srv/kept", b"from the base\n"), member("srv/deleted", b"")],
        [member("srv/.wh.deleted")],
        variables=["GREETING=hello"],
    )
    text = (CHECKOUT / "docker" / "cpu.yaml").read_text() + f"\nbase: oci-layout:base@{digest}\n"
    locks = CHECKOUT / "lockfiles" / "cpu"
    wheels = read_python_lock(locks / "python.txt")
    one = tuple(wheel for wheel in wheels.wheels if wheel.name == "rfc8785")
    files = {
        "lockfiles/cpu/debian.lock": (locks / "debian.lock").read_bytes(),
        "lockfiles/cpu/python.txt": encode_python_lock(msgspec.structs.replace(wheels, wheels=one)),
        "docker/cpu.yaml": text.encode(),
    }
    place(tmp_path, files)
    lock = build("cpu", root=tmp_path, store=store, update=True)
    assert [layer.name for layer in lock.layers[:2]] == ["base-1", "base-2"]
    engine = DockerEngine(progress=SILENT)
    with open_image("cpu", root=tmp_path, store=store) as image:
        engine.prepare(image)
    program = "import os, json, rfc8785; print(json.dumps([os.environ['GREETING'], sorted(os.listdir('/srv'))]))"
    client = connect()
    digests = {each.id: " ".join(each.attrs.get("RepoDigests") or []) for each in client.images.list()}
    found = next(key for key, names in digests.items() if lock.manifest in names)
    printed = client.containers.run(found, ["python3", "-c", program], network_mode="none", remove=True)
    assert json.loads(printed) == ["hello", ["kept"]]


def test_a_new_spec_differs_from_the_cpu_images_in_its_requirements_alone() -> None:
    text = render_spec(name="cpu", title="x", variant="cpu", requirements=template().python.requirements)
    made = parse_document(text, ImageSpec, "x")
    assert made.debian == template().debian
    assert made.postinst == template().postinst
