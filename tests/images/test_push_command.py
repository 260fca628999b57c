"""`harness push` and `harness pull` as a user types them, with Debian's registry on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_packages import Checkout
from registries import PASSWORD, USER, Registry, debian_registry

from harness.engines.connection import connect
from harness.errors import PrerequisiteError
from harness.images.build import build
from harness.locking.imagelock import ImageLock

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def lock(checkout: Checkout) -> ImageLock:
    return build("tiny", root=checkout.root, store=checkout.store, update=True)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with debian_registry(tmp_path / "registry", login=True) as running:
        yield running


def harness(checkout: Checkout, *arguments: str, store: Path | None = None) -> subprocess.CompletedProcess[str]:
    home = checkout.root.parent
    variables = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "HOME": str(home),
        **({"DOCKER_HOST": os.environ["DOCKER_HOST"]} if "DOCKER_HOST" in os.environ else {}),
        "HARNESS_HOME": str(store or checkout.store.home), "XDG_RUNTIME_DIR": str(home / "run"),
    }  # fmt: skip
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=checkout.root, env=variables, capture_output=True, text=True, check=False)


def log_in(checkout: Checkout, registry: Registry) -> None:
    import base64

    folder = checkout.root.parent / ".docker"
    folder.mkdir()
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": encoded}}}))


def test_what_was_pushed_is_pulled_on_another_machine_and_is_the_committed_image(
    lock: ImageLock, checkout: Checkout, registry: Registry, tmp_path: Path
) -> None:
    log_in(checkout, registry)
    pushed = harness(checkout, "push", "tiny", f"{registry.host}/team/tiny:v1")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"{registry.host}/team/tiny:v1@{lock.manifest}\n"
    place = f"{registry.host}/team/tiny@{lock.manifest}"
    pulled = harness(checkout, "pull", place, "--store-only", store=tmp_path / "other")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout == f"tiny@{lock.manifest}\n  the committed image tiny of this checkout\n"
    # Nothing is left to build: the artifacts are not even there.
    built = harness(checkout, "build", "tiny", store=tmp_path / "other")
    assert (built.returncode, built.stdout) == (0, f"tiny@{lock.manifest}\n")
    assert PASSWORD not in pushed.stdout + pushed.stderr + pulled.stdout + pulled.stderr


def test_a_compressed_push_says_which_digest_is_which(
    lock: ImageLock, checkout: Checkout, registry: Registry, tmp_path: Path
) -> None:
    log_in(checkout, registry)
    done = harness(checkout, "push", "tiny", f"{registry.host}/team/tiny", "--compress", "zstd", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["image"] == lock.manifest != answer["manifest"]
    assert answer["config"] == lock.config
    said = harness(checkout, "push", "tiny", f"{registry.host}/team/tiny", "--compress", "zstd").stdout
    assert said.splitlines()[0] == answer["reference"]
    assert f"unpacked it is tiny@{lock.manifest} again" in said
    place = f"{registry.host}/team/tiny@{answer['manifest']}"
    pulled = json.loads(harness(checkout, "pull", place, "--store-only", "--json", store=tmp_path / "other").stdout)
    assert pulled == {
        "name": "tiny", "manifest": lock.manifest, "config": lock.config, "transport": answer["manifest"],
        "committed": ["tiny"], "engine": None,
    }  # fmt: skip


def test_nobody_who_has_not_logged_in_may_push(lock: ImageLock, checkout: Checkout, registry: Registry) -> None:
    done = harness(checkout, "push", "tiny", f"{registry.host}/team/tiny")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "asks for credentials, and there are none" in done.stderr
    assert f"docker login {registry.host}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("push", "tiny", "team/tiny"), "names no registry"),
        (("push", "other", "127.0.0.1:1/tiny"), "There is no image spec"),
        (("push", "tiny", f"127.0.0.1:1/tiny@sha256:{'0' * 64}"), "A push names no digest"),
        (("push", "tiny", "127.0.0.1:1/tiny", "--compress", "xz"), "'xz' is not one of"),
        (("push", "tiny", "127.0.0.1:1/tiny", "--ca", "missing.pem"), "Certificates cannot be read from missing.pem"),
        (("push", "tiny", "127.0.0.1:1/tiny", "--project", "."), "--project is about --with-code"),
        (("pull", "127.0.0.1:1/tiny:latest"), "by a tag"),
        (("pull", "127.0.0.1:1/tiny@sha256:123"), "is not a digest"),
    ],
)
def test_what_makes_no_sense_is_explained(
    arguments: tuple[str, ...], said: str, lock: ImageLock, checkout: Checkout
) -> None:
    done = harness(checkout, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.docker
def test_a_pulled_image_is_in_the_engine_under_the_name_that_is_printed(
    lock: ImageLock, checkout: Checkout, registry: Registry, tmp_path: Path
) -> None:
    try:
        client = connect()
    except PrerequisiteError as error:
        pytest.skip(f"no Docker engine: {error.message}")
    log_in(checkout, registry)
    pushed = json.loads(
        harness(checkout, "push", "tiny", f"{registry.host}/team/tiny", "--compress", "gzip", "--json").stdout
    )
    place = f"{registry.host}/team/tiny@{pushed['manifest']}"
    for _ in range(2):  # the second time nothing is left to bring
        pulled = harness(checkout, "pull", place, store=tmp_path / "other")
        assert pulled.returncode == 0, pulled.stderr
        name = f"harness/tiny:{lock.manifest[7:19]}"
        assert pulled.stdout.splitlines()[:2] == [f"tiny@{lock.manifest}", f"  in the engine as {name}"]
        shown = client.images.get(name)
        assert shown.id in (lock.config, lock.manifest)
        assert shown.attrs["RootFS"]["Layers"] == [layer.digest for layer in lock.layers]
    client.images.remove(shown.id, force=True)
