"""`harness init` as a person meets it, and an image with a base in a real engine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from docker.errors import ImageNotFound

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import member
from test_base import Layout

from harness.engines.connection import connect
from harness.engines.docker import DockerEngine
from harness.errors import PrerequisiteError, ToolError
from harness.images.build import build, open_image
from harness.locking.archive import read_release
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.imagespec import ImageSpec
from harness.locking.lockfile import read_lock
from harness.locking.place import place
from harness.locking.python import encode_python_lock, read_python_lock
from harness.locking.template import render_spec, template
from harness.spec.documents import parse_document
from harness.store.index import resolve
from harness.store.progress import SILENT
from harness.store.sources import uv_environment
from harness.store.store import Store

CHECKOUT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def harness(folder: Path, *arguments: str, **variables: str) -> Done:
    return subprocess.run(
        [sys.executable, "-P", "-m", "harness", *arguments], cwd=folder, capture_output=True, text=True, timeout=600,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(CHECKOUT), **variables},
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


OWN = """\
[project]
name = "own-project"
version = "1"
dependencies = ["rfc8785==0.1.4"]

[tool.harness]
apt = ["libyaml-0-2"]
"""
PROGRAM = """\
import ctypes, json, os, sys
import rfc8785
import own.numbers
library = ctypes.CDLL("libyaml-0.so.2")
library.yaml_get_version_string.restype = ctypes.c_char_p
version = library.yaml_get_version_string().decode()
said = {"own": [own.numbers.ANSWER, os.path.dirname(own.__file__)], "library": version}
sys.stdout.buffer.write(rfc8785.dumps(said))
"""


@pytest.fixture(scope="module")
def built(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ImageLock]]:
    """Somebody's project, with its code under `src`, after `harness init` and `harness build --update`."""
    try:
        read_release(template().debian.suite)
        resolve(["--no-deps"], "rfc8785==0.1.4\n", uv_environment())
    except (PrerequisiteError, ToolError) as error:
        pytest.skip(f"locks are made from an index and a mirror: {error.message}")
    project = tmp_path_factory.mktemp("project")
    (project / "src" / "own").mkdir(parents=True)
    (project / "programs").mkdir()
    (project / "pyproject.toml").write_text(OWN)
    (project / "src" / "own" / "__init__.py").touch()
    (project / "src" / "own" / "numbers.py").write_text("ANSWER = 42\n")
    (project / "programs" / "train.py").write_text(PROGRAM)
    for words in (("init",), ("build", "--update")):
        done = harness(project, *words, **os.environ)
        assert done.returncode == 0, done.stderr
    lock = read_lock(project / "lockfiles" / "cpu" / "image.lock", ImageLock, schema=SCHEMA)
    yield project, lock
    client = connect()
    for identity in (lock.config, lock.manifest):
        with suppress(ImageNotFound):
            client.api.remove_image(identity, force=True)


@pytest.mark.docker
def test_a_program_finds_its_project_its_wheel_and_its_debian_package(built: tuple[Path, ImageLock]) -> None:
    project, lock = built
    assert [wheel.name for wheel in read_python_lock(project / "lockfiles/cpu/python.txt").wheels] == ["rfc8785"]
    assert "libyaml-0-2" in {
        package.name for package in read_debian_lock(project / "lockfiles/cpu/debian.lock").packages
    }
    done = harness(project, "exec", "--", "python", "programs/train.py", **os.environ)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["own"] == [42, "/harness/output/project/src/own"]
    assert said["library"].startswith("0.2.")
    recorded = [path.read_text() for path in (project / "RESULTS").glob("runs/*/exec/snapshot.json")]
    assert recorded
    assert all(lock.manifest in text for text in recorded)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import yaml", "No module named 'yaml'"),
        ("import ctypes; ctypes.CDLL('libGL.so.1')", "libGL.so.1: cannot open shared object file"),
    ],
)
def test_a_program_does_not_find_what_was_not_asked_for(built: tuple[Path, ImageLock], line: str, said: str) -> None:
    done = harness(built[0], "exec", "--", "python", "-c", line, **os.environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


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
    text = re.sub(r"  requirements:\n(    - .*\n)+", "  requirements: [rfc8785]\n", text)
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
