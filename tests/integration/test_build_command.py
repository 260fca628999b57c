"""`harness build`, `lock --check` and `image` as a person meets them: their own process, exit codes, one sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import Checkout

from harness.engines.connection import connect
from harness.engines.docker import DockerEngine
from harness.spec.digest import hexadecimal
from harness.store.store import Store

CHECKOUT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def environment(home: Path) -> dict[str, str]:
    """The caller's, with a store of its own and no place to fetch anything from."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_", "HARNESS_"))}
    nowhere = "http://127.0.0.1:9/"
    return {
        **kept,
        "PYTHONPATH": str(CHECKOUT),
        "HARNESS_HOME": str(home),
        "UV_DEFAULT_INDEX": (home / "no-such-index").as_uri(),
        "HARNESS_DEBIAN_MIRROR": nowhere,
        "UV_FIND_LINKS": str(home / "no-such-folder"),
        "http_proxy": nowhere,
        "https_proxy": nowhere,
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "harness", *map(str, arguments)]


def harness(checkout: Checkout, *arguments: object, home: Path | None = None, cwd: Path | None = None) -> Done:
    return subprocess.run(
        command(*arguments), cwd=cwd or checkout.root, env=environment(home or checkout.store.home),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout", Store(tmp_path / "store")).write()


@pytest.fixture
def built(checkout: Checkout) -> Checkout:
    done = harness(checkout, "build", "tiny", "--update")
    assert done.returncode == 0, done.stderr
    return checkout


def lock_of(checkout: Checkout) -> dict:
    return json.loads((checkout.folder / "image.lock").read_bytes())


def says_one_sentence(done: Done, code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("harness: ") == 1
    for word in words:
        assert word in done.stderr


def test_a_build_without_a_lock_asks_for_one_and_with_it_prints_the_image(checkout: Checkout) -> None:
    says_one_sentence(harness(checkout, "build", "tiny"), 2, "image.lock", "harness build tiny --update")
    done = harness(checkout, "build", "tiny", "--update")
    assert done.stdout == f"tiny@{lock_of(checkout)['manifest']}\n"
    as_json = harness(checkout, "build", "tiny", "--json")
    assert json.loads(as_json.stdout) == lock_of(checkout)


def test_a_build_with_nothing_changed_writes_nothing(built: Checkout) -> None:
    def state() -> dict[str, tuple[int, int]]:
        # An object's time says when it was last used; it would be replaced, not written to.
        objects = {str(path): (0, path.stat().st_ino) for path in (built.store.home / "objects").rglob("*")}
        return objects | {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in built.root.rglob("*")}

    before = state()
    done = harness(built, "build", "tiny")
    assert (done.returncode, done.stdout) == (0, f"tiny@{lock_of(built)['manifest']}\n")
    assert state() == before


@pytest.mark.parametrize("part", ["debian.lock", "python.txt"])
def test_a_lock_with_a_changed_hash_names_the_artifact(built: Checkout, tmp_path: Path, part: str) -> None:
    """The folder has the true file under the artifact's name, so somebody's file is wrong or the lock is."""
    path = built.folder / part
    name, data = ("small", built.wheels["small"]) if part == "python.txt" else ("base", built.debs["base"])
    digest = hexadecimal(built.store.put_bytes(data))
    path.write_text(path.read_text().replace(digest, "f" * 64))
    mirror = tmp_path / "mirror"
    target = mirror / ("small-1.0-py3-none-any.whl" if name == "small" else "pool/main/b/base/base_1.0_amd64.deb")
    target.parent.mkdir(parents=True)
    target.write_bytes(data)
    variable = {"UV_FIND_LINKS": str(mirror)} if name == "small" else {"HARNESS_DEBIAN_MIRROR": mirror.as_uri()}
    done = subprocess.run(
        command("build", "tiny"), cwd=built.root, env=environment(built.store.home) | variable,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    says_one_sentence(done, 4, target.name, "sha256:" + "f" * 64)


def test_an_artifact_that_nobody_has_is_named_with_the_places_and_what_to_do(built: Checkout, tmp_path: Path) -> None:
    done = harness(built, "build", "tiny", home=tmp_path / "empty")
    says_one_sentence(done, 2, "base", "127.0.0.1:9", "HARNESS_DEBIAN_MIRROR")


def test_a_lock_with_another_manifest_is_an_integrity_failure(built: Checkout) -> None:
    path, lock = built.folder / "image.lock", lock_of(built)
    path.write_text(path.read_text().replace(lock["manifest"], "sha256:" + "0" * 64))
    says_one_sentence(harness(built, "build", "tiny"), 4, "contradicts itself", "manifest", lock["manifest"])


@pytest.mark.parametrize("place", [0, -1])
def test_a_lock_with_another_layer_is_an_integrity_failure(built: Checkout, place: int) -> None:
    path, layer = built.folder / "image.lock", lock_of(built)["layers"][place]
    path.write_text(path.read_text().replace(layer["digest"], "sha256:" + "0" * 64))
    says_one_sentence(harness(built, "build", "tiny"), 4, "image.lock contradicts itself")


def test_another_input_names_the_layer_and_the_file_that_differ(built: Checkout) -> None:
    built.spec = built.spec.replace("hosts: files", "hosts: files dns")
    built.write()
    done = harness(built, "build", "tiny")
    assert done.returncode == 4
    assert "spec changed since" in done.stderr
    assert "etc/nsswitch.conf" in done.stderr
    assert "harness build tiny --update" in done.stderr


def test_a_damaged_layer_is_set_aside_and_made_again_when_it_is_next_read(built: Checkout, tmp_path: Path) -> None:
    layer = lock_of(built)["layers"][-1]
    path = built.store.path(layer["digest"])
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    done = harness(built, "image", "export", tmp_path / "image.tar", "--image", "tiny")
    assert done.returncode == 0, done.stderr
    assert any((built.store.home / "quarantine").iterdir())
    assert harness(built, "build", "tiny").returncode == 0
    with tarfile.open(tmp_path / "image.tar") as archive:
        member = archive.extractfile(f"blobs/sha256/{hexadecimal(layer['digest'])}")
        assert member is not None
        assert member.read() != bytes(data)


@pytest.mark.parametrize("name", ["nothing", "../tiny", "..", "tiny\n"])
@pytest.mark.parametrize("arguments", [("build",), ("image", "show"), ("lock",)])
def test_a_name_that_is_no_image_is_refused(built: Checkout, name: str, arguments: tuple[str, ...]) -> None:
    done = harness(built, *arguments, name, *(["--check"] if arguments == ("lock",) else []))
    says_one_sentence(done, 2)
    assert "tiny" in done.stderr or "name" in done.stderr


def test_a_build_outside_any_checkout_uses_the_harnesss_own(built: Checkout, tmp_path: Path) -> None:
    done = harness(built, "image", "ls", "--json", cwd=tmp_path)
    assert "cpu" in [image["name"] for image in json.loads(done.stdout)]


@pytest.mark.parametrize(
    "arguments", [("build", "--update"), ("build", "cpu", "--update"), ("build", "--from", "x", "--adopt"), ("lock",)]
)
def test_specs_and_locks_of_a_checkout_elsewhere_are_not_written(
    tmp_path: Path, built: Checkout, arguments: tuple[str, ...]
) -> None:
    says_one_sentence(harness(built, *arguments, cwd=tmp_path), 2, "needs a project with specs", "harness init")


def test_a_build_of_the_harnesss_own_image_from_elsewhere_says_so(tmp_path: Path, built: Checkout) -> None:
    done = harness(built, "build", "nothing", cwd=tmp_path)
    assert f"in no project with specs: building the image nothing of {CHECKOUT}" in done.stderr
    assert "in no project" not in harness(built, "build", "tiny").stderr


def test_image_ls_and_show_say_what_is_built(built: Checkout, tmp_path: Path) -> None:
    lock = lock_of(built)
    shown = json.loads(harness(built, "image", "show", "tiny", "--json").stdout)
    assert (shown["manifest"], shown["config"]) == (lock["manifest"], lock["config"])
    assert all(layer["stored"] for layer in shown["layers"])
    table = harness(built, "image", "ls").stdout
    assert "tiny" in table
    assert lock["manifest"][7:15] in table
    assert f"{len(lock['layers'])} of {len(lock['layers'])}" in table
    elsewhere = json.loads(harness(built, "image", "show", "tiny", "--json", home=tmp_path / "empty").stdout)
    assert not any(layer["stored"] for layer in elsewhere["layers"])


@pytest.mark.docker
def test_docker_loads_an_exported_archive_as_the_image_of_that_digest(
    built: Checkout, tmp_path: Path, docker_engine: DockerEngine
) -> None:
    assert harness(built, "image", "export", tmp_path / "image.tar", "--image", "tiny").returncode == 0
    client = connect()
    with (tmp_path / "image.tar").open("rb") as archive:
        loaded = client.images.load(archive)
    try:
        assert loaded[0].id in (lock_of(built)["config"], lock_of(built)["manifest"])
    finally:
        client.images.remove(loaded[0].id, force=True)


def test_an_export_over_a_layout_that_is_there_or_into_nowhere_is_refused(built: Checkout, tmp_path: Path) -> None:
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout" / "mine").touch()
    export = ("image", "export", "--image", "tiny", "--format", "layout")
    says_one_sentence(harness(built, *export, tmp_path / "layout"), 2, "layout")
    says_one_sentence(harness(built, *export, tmp_path / "no" / "such" / "layout"), 2, "layout")
    assert [path.name for path in (tmp_path / "layout").iterdir()] == ["mine"]


def test_two_builds_at_once_with_a_cold_store_make_one_image(built: Checkout) -> None:
    lock = lock_of(built)
    for layer in lock["layers"]:
        built.store.path(layer["digest"]).unlink()
    both = [
        subprocess.Popen(
            command("build", "tiny"), cwd=built.root, env=environment(built.store.home),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert {answer[0] for answer in answers} == {f"tiny@{lock['manifest']}\n"}
    assert not any((built.store.home / "temporary").iterdir())


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9])
def test_after_a_kill_in_mid_build_the_next_build_works(built: Checkout, seconds: float) -> None:
    lock = lock_of(built)
    for layer in lock["layers"]:
        built.store.path(layer["digest"]).unlink()
    process = subprocess.Popen(
        command("build", "tiny"), cwd=built.root, env=environment(built.store.home),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert harness(built, "build", "tiny").returncode == 0
    for layer in lock["layers"]:
        built.store.verified_path(layer["digest"])
    assert not any((built.store.home / "temporary").iterdir())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_sentence(built: Checkout, tiny_disk: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    for name, data in built.debs.items():
        path = mirror / f"pool/main/{name[0]}/{name}/{name}_1.0_amd64.deb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name, data in built.wheels.items():
        (mirror / f"{name}-1.0-py3-none-any.whl").write_bytes(data)
    done = subprocess.run(
        command("build", "tiny"), cwd=built.root, capture_output=True, text=True, timeout=120,
        env=environment(tiny_disk) | {"UV_FIND_LINKS": str(mirror), "HARNESS_DEBIAN_MIRROR": mirror.as_uri()},
    )  # fmt: skip
    says_one_sentence(done, 2, "disk is full")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what this checkout's locks are made from."""
    copy = tmp_path / "project"
    for name in ("docker", "lockfiles"):
        shutil.copytree(CHECKOUT / name, copy / name)
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    return copy


def check(project: Path, tmp_path: Path) -> Done:
    return subprocess.run(
        command("lock", "--check"), cwd=project, env=environment(tmp_path / "home"), capture_output=True, text=True
    )


def test_the_committed_locks_match(project: Path, tmp_path: Path) -> None:
    done = check(project, tmp_path)
    assert (done.returncode, done.stdout) == (0, "Every lock matches its spec and inputs.\n"), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "lock", "remedy"),
    [
        ("- numpy", "- rich\n    - numpy", "lockfiles/cpu/python.txt", "harness lock cpu"),
        ("variant: cpu", "variant: cpu\nlarge_wheel: 12345", "lockfiles/cpu/image.lock", "harness build cpu --update"),
    ],
)
def test_a_spec_that_its_locks_do_not_fit_is_named(
    project: Path, tmp_path: Path, old: str, new: str, lock: str, remedy: str
) -> None:
    spec = project / "docker" / "cpu.yaml"
    lines = [line for line in spec.read_text().splitlines() if not line.startswith("large_wheel")]
    text = "\n".join(lines) + "\n"
    assert old in text
    spec.write_text(text.replace(old, new, 1))
    done = check(project, tmp_path)
    assert done.returncode == 1
    assert lock in done.stdout
    assert remedy in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("variant: cpu", "variant: cpu\nflavour: x", "flavour"),
        ("variant: cpu", "variant: gpu", "variant"),
        ("variant: cpu\n", "", "variant"),
        ("variant: cpu", "variant: cpu\nvariant: cpu", "variant"),
    ],
)
def test_a_spec_that_makes_no_sense_names_the_key(
    project: Path, tmp_path: Path, old: str, new: str, problem: str
) -> None:
    spec = project / "docker" / "cpu.yaml"
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new, 1))
    says_one_sentence(check(project, tmp_path), 2, "docker/cpu.yaml", problem)
