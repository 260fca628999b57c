"""Bundles as a person meets them: `harness vendor` here, `harness build --from` where there is no network at all."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import Checkout

from harness.images.build import open_image
from harness.images.export import export_layout
from harness.store.store import Store
from tests.offline_build import copy_harness, without_network

CHECKOUT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def harness(*arguments: object, home: Path, cwd: Path, before: tuple[str, ...] = (), code: Path = CHECKOUT) -> Done:
    """The command with no variables but those it needs: what index or mirror somebody set is not there to help."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HARNESS_HOME": str(home),
        "PYTHONPATH": str(code),
    }
    command = [*before, sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path / "checkout", Store(tmp_path / "store")).write()
    done = harness("build", "tiny", "--update", home=checkout.store.home, cwd=checkout.root)
    assert done.returncode == 0, done.stderr
    return checkout


@pytest.fixture
def bundle(checkout: Checkout, tmp_path: Path) -> Path:
    done = harness("vendor", "tiny", "--out", tmp_path / "tiny.bundle", home=checkout.store.home, cwd=checkout.root)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256((tmp_path / "tiny.bundle").read_bytes()).hexdigest()
    assert f"sha256:{digest}" in done.stdout
    return tmp_path / "tiny.bundle"


@pytest.fixture
def nowhere() -> tuple[str, ...]:
    """A namespace of its own, in which even the loopback is down."""
    try:
        return without_network()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets its user have no network namespace, or has no unshare of util-linux")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package with no checkout around it."""
    return copy_harness(tmp_path / "installed")


def test_a_bundle_builds_the_committed_image_with_neither_network_nor_checkout_nor_store(
    checkout: Checkout, bundle: Path, tmp_path: Path, nowhere: tuple[str, ...], installed: Path
) -> None:
    (tmp_path / "empty").mkdir()
    lock = json.loads((checkout.folder / "image.lock").read_bytes())
    shutil.rmtree(checkout.root)
    shutil.rmtree(checkout.store.home)
    home, cwd = tmp_path / "fresh", tmp_path / "empty"
    done = harness("build", "--from", bundle, home=home, cwd=cwd, before=nowhere, code=installed)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"tiny@{lock['manifest']}\n"
    store = Store(home)
    for layer in lock["layers"]:
        store.verified_path(layer["digest"])
    assert not list(cwd.iterdir())


def test_a_bundle_of_ones_own_image_builds_outside_a_project_whatever_the_harnesss_checkout_calls_so(
    checkout: Checkout, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder, bundle, home = checkout.root, tmp_path / "cpu.bundle", checkout.store.home
    (folder / "docker" / "cpu.yaml").write_text(checkout.spec.replace("name: tiny", "name: cpu"))
    checkout.folder.rename(folder / "lockfiles" / "cpu")
    (folder / "docker" / "tiny.yaml").unlink()
    for words in (("build", "--update"), ("vendor", "cpu", "--out", bundle)):
        done = harness(*words, home=home, cwd=folder)
        assert done.returncode == 0, done.stderr
    lock = json.loads((folder / "lockfiles" / "cpu" / "image.lock").read_bytes())
    done = harness("build", "--from", bundle, home=tmp_path / "fresh", cwd=tmp_path / "elsewhere")
    assert (done.returncode, done.stdout) == (0, f"cpu@{lock['manifest']}\n"), done.stderr
    assert "This folder is in no project with specs" in done.stderr
    inside = harness("build", "--from", bundle, home=tmp_path / "fresh", cwd=CHECKOUT)
    assert (inside.returncode, inside.stdout) == (2, "")
    assert f"{CHECKOUT} has another" in inside.stderr


def test_a_bundle_of_an_image_over_a_base_builds_it_where_neither_network_nor_base_is(
    checkout: Checkout, tmp_path: Path, nowhere: tuple[str, ...]
) -> None:
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        export_layout(image, checkout.root / "base")
        checkout.spec += f"base: oci-layout:base@{image.lock.manifest}\n"
    checkout.write()
    home, bundle, elsewhere = checkout.store.home, tmp_path / "over.bundle", tmp_path / "elsewhere"
    for words in (("build", "tiny", "--update"), ("vendor", "tiny", "--out", bundle)):
        done = harness(*words, home=home, cwd=checkout.root)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(checkout.root / "base")
    (elsewhere / "docker").mkdir(parents=True)
    done = harness("build", "--from", bundle, home=tmp_path / "fresh", cwd=elsewhere, before=nowhere)
    lock = json.loads((checkout.folder / "image.lock").read_bytes())
    assert (done.returncode, done.stdout) == (0, f"tiny@{lock['manifest']}\n"), done.stderr
    assert len(lock["base"]["layers"]) >= 2


def test_without_a_bundle_the_same_namespace_can_build_nothing(
    checkout: Checkout, tmp_path: Path, nowhere: tuple[str, ...]
) -> None:
    done = harness("build", "tiny", home=tmp_path / "fresh", cwd=checkout.root, before=nowhere)
    assert done.returncode == 2
    assert "could not be fetched from anywhere" in done.stderr


def test_the_json_says_what_was_written_and_what_was_built(checkout: Checkout, bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.bundle"
    done = harness("vendor", "tiny", "--out", again, "--json", home=checkout.store.home, cwd=checkout.root)
    told = json.loads(done.stdout)
    assert again.read_bytes() == bundle.read_bytes()
    assert told["digest"] == f"sha256:{hashlib.sha256(again.read_bytes()).hexdigest()}"
    assert (told["size"], told["artifacts"], told["image"]) == (again.stat().st_size, 4, "tiny")
    built = harness("build", "--from", again, "--json", home=tmp_path / "fresh", cwd=checkout.root)
    assert json.loads(built.stdout) == json.loads((checkout.folder / "image.lock").read_bytes())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--update",), "--from"), (("--with-code",), "--from"), (("--load",), "--from"), (("cpu",), "not of cpu"),
    ],
)  # fmt: skip
def test_what_goes_ill_with_a_bundle_is_refused(
    checkout: Checkout, bundle: Path, arguments: tuple[str, ...], word: str
) -> None:
    done = harness("build", "--from", bundle, *arguments, home=checkout.store.home, cwd=checkout.root)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr


def test_an_altered_bundle_is_one_sentence_and_code_4(checkout: Checkout, bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    done = harness("build", "--from", bundle, home=tmp_path / "fresh", cwd=checkout.root)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert done.stderr.count("harness: ") == 1
    assert "damaged" in done.stderr
    assert not list((tmp_path / "fresh" / "temporary").iterdir())


def test_adopting_without_a_bundle_is_refused(checkout: Checkout) -> None:
    done = harness("build", "tiny", "--adopt", home=checkout.store.home, cwd=checkout.root)
    assert done.returncode == 2
    assert "--from" in done.stderr
