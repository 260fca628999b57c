"""The image with a project in it, run by plain `docker run` as a remote node would."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from harness.engines.docker import DockerEngine
from harness.errors import UsageError
from harness.images.build import Image, open_image
from harness.images.export import tag
from harness.runs.inputs import PROJECT, project_tree
from harness.runs.selfcontained import open_chosen, self_contained
from harness.store.progress import SILENT
from harness.store.store import Store

CHECKOUT = Path(__file__).parents[2]

SCRIPT = """
import json, os, random, sys
import numpy as np
print(json.dumps({
    "argv": sys.argv[1:], "draw": random.random(), "numpy": np.random.default_rng().random(), "hash": hash("a"),
    "cwd": os.getcwd(), "files": sorted(os.listdir()), "seed": os.environ["REPRO_SEED"], "home": os.environ["HOME"],
}))
open("written.txt", "w").write("x")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "package").mkdir(parents=True)
    (folder / "train.py").write_text(SCRIPT)
    (folder / "package" / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "package" / "tool.sh").chmod(0o755)
    (folder / "link.py").symlink_to("train.py")
    (folder / ".env").write_text("TOKEN=secret")
    (folder / ".gitignore").write_text(".env\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.fixture
def environment() -> Iterator[Image]:
    """The committed CPU image."""
    with open_image("cpu", root=CHECKOUT, store=Store.default()) as image:
        yield image


def made(environment: Image, project: Path) -> Image:
    return self_contained(environment, project, root=CHECKOUT, store=Store.default())


def members(image: Image) -> list[str]:
    import tarfile

    with tarfile.open(image.blob(image.lock.layers[-1].digest)) as tar:
        return tar.getnames()


def test_the_code_is_the_last_layer_and_the_environment_stays_as_it_is(environment: Image, project: Path) -> None:
    image = made(environment, project)
    assert image.lock.layers[:-1] == environment.lock.layers
    assert image.lock.layers[-1].name == "code"
    names = members(image)
    for path in ("train.py", "link.py", "package/tool.sh", ".gitignore"):
        assert f"harness/project/{path}" in names
    assert "harness/code/harness/strict/launch.py" in names
    assert not [name for name in names if ".env" in name or "/.git/" in name or "cli" in name.split("/")]
    labels = json.loads(image.config_bytes)["config"]["Labels"]
    assert labels["harness.environment"] == environment.lock.manifest
    assert labels["harness.project"] == project_tree(Store.default(), project, results=Path("RESULTS"))


def test_it_is_the_same_whoever_builds_it_and_another_where_the_code_differs(
    environment: Image, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(environment, project).lock
    for path in (project, *project.rglob("*")):
        if not path.is_symlink() and ".git" not in path.parts:
            path.touch()
    monkeypatch.setenv("REPRO_SEED", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert made(environment, project).lock == first
    (project / ".env").write_text("TOKEN=another")
    assert made(environment, project).lock == first
    (project / "train.py").write_text(SCRIPT + "\n")
    assert made(environment, project).lock.manifest != first.manifest


def test_a_secret_that_git_would_track_is_refused_and_one_that_it_tracks_is_not(
    environment: Image, project: Path
) -> None:
    (project / ".gitignore").write_text("")
    with pytest.raises(UsageError, match=r"\.env would be in the image"):
        made(environment, project)
    subprocess.run(["git", "add", ".env"], cwd=project, check=True)
    assert "harness/project/.env" in members(made(environment, project))


@pytest.mark.parametrize("name", [".env.local", "id_rsa", "server.key", "tls.pem", ".netrc"])
def test_without_git_nothing_that_looks_like_a_secret_goes_along(name: str, environment: Image, tmp_path: Path) -> None:
    (tmp_path / name).write_text("secret")
    with pytest.raises(UsageError, match="for everybody who can pull it"):
        made(environment, tmp_path)
    (tmp_path / name).rename(tmp_path / f"{name}.example")
    assert f"harness/{PROJECT}/{name}.example" in members(made(environment, tmp_path))


@pytest.mark.parametrize("with_git", [False, True])
def test_every_file_with_credentials_that_git_does_not_know_is_named(
    with_git: bool, environment: Image, tmp_path: Path
) -> None:
    names = (
        ".ENV",
        ".aws/credentials",
        ".docker/config.json",
        ".npmrc",
        ".ssh/id_ed25519_work",
        "app.keystore",
        "notes",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"-----BEGIN PRIVATE KEY-----\n{'A' * 64}\n")
    (tmp_path / "train.py").write_text(SCRIPT)
    if with_git:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(UsageError, match=f"{', '.join(map(re.escape, names))} would be in the image") as refused:
        made(environment, tmp_path)
    assert ".gitignore (`git init` first" in (refused.value.hint or "")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("".join(f"{name}\n" for name in names))
    found = members(made(environment, tmp_path))
    assert "harness/project/train.py" in found
    assert not [name for name in names if f"harness/project/{name}" in found]


@pytest.fixture
def plain_run(
    docker_engine: DockerEngine, environment: Image, project: Path
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`docker run` of the image in the engine, with nothing but what a user types."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client")
    if docker_engine.describe()["engine"] == "podman":
        pytest.skip("Docker's own client cannot attach to podman 4.3 (unable to upgrade to tcp, received 409)")
    with open_chosen("cpu", project, root=CHECKOUT, store=Store.default(), progress=SILENT) as image:
        name = docker_engine.load(image)

    def run(*arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = ["docker", "run", "--rm", "--network", "none", *options, name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    yield run
    docker.from_env().images.remove(name)


@pytest.mark.docker
def test_plain_docker_run_is_strict_and_repeats(
    plain_run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    first = plain_run("python", "train.py", "--epochs", "3")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert said["argv"] == ["--epochs", "3"]
    assert said["cwd"] == "/harness/project"
    assert said["files"] == [".gitignore", "link.py", "package", "train.py"]
    assert said["seed"] == "42"
    assert plain_run("train.py", "--epochs", "3").stdout == first.stdout, "a script is a program, and repeats"
    assert plain_run("train.py", options=("--user", "1234:1234")).returncode == 0, "whoever the node runs it as"
    other = plain_run("train.py", "--epochs", "3", options=("-e", "REPRO_SEED=7"))
    assert json.loads(other.stdout)["draw"] != said["draw"]
    loose = plain_run("train.py", options=("-e", "PYTHONHASHSEED=random"))
    assert loose.returncode == 4, "a run that would not be strict is refused"
    output = tmp_path / "output"
    output.mkdir()
    assert plain_run("train.py", options=("-v", f"{output}:/harness/output")).returncode == 0
    assert json.loads((output / "environment.json").read_text())["python"]


@pytest.mark.docker
def test_the_command_builds_it_loads_it_and_says_its_digest(
    docker_engine: DockerEngine, environment: Image, project: Path
) -> None:
    command = [sys.executable, "-m", "harness", "build", "cpu", "--with-code", "--project", str(project), "--load"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    image = made(environment, project)
    assert done.stdout == f"cpu-code@{image.lock.manifest}\n  in the engine as {tag(image)}\n"
    shown = docker.from_env().images.get(tag(image))
    assert shown.id in (image.lock.config, image.lock.manifest)
    docker.from_env().images.remove(tag(image))


def test_what_goes_with_code_alone_says_so() -> None:
    for arguments in (("--load",), ("--project", "."), ("--with-code", "--update"), ("--with-code", "--anew")):
        command = [sys.executable, "-m", "harness", "build", "cpu", *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "--with-code" in done.stderr
