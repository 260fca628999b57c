"""What is inside the CPU image, as its own programs, Debian's and Python's tools see it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from debian.deb822 import Packages

from harness.engines.docker import DockerEngine
from harness.images.build import open_image
from harness.locking.debian import read_debian_lock
from harness.store.store import Store
from tests.unpack import unpack

CHECKOUT = Path(__file__).parents[2]
LDCONFIG = shutil.which("ldconfig", path="/sbin:/usr/sbin")

INSIDE = """
import base64, ctypes.util, hashlib, importlib.metadata, shutil
print("compiler", shutil.which("gcc") or shutil.which("cc") or shutil.which("ld"))
print("gomp", ctypes.util.find_library("gomp"))
print("missing", ctypes.util.find_library("no-such-library"))
checked = 0
for distribution in importlib.metadata.distributions():
    for file in distribution.files:
        data = file.locate().read_bytes()
        if file.hash is not None:
            digest = hashlib.new(file.hash.mode, data).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == file.hash.value, file
            checked += 1
print("files", checked)
import lightgbm, lightning, numpy.f2py, pyarrow.csv, pyarrow.feather, pyarrow.fs, pyarrow.json, pyarrow.substrait
import scipy.io, scipy.stats, sklearn.datasets, torch._dynamo, torch._inductor, torch.distributed, torch.onnx
import torch.testing, torch.utils.data, xgboost
import pyarrow.dataset, pyarrow.parquet
for name in ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"):
    getattr(sklearn.datasets, f"load_{name}")()
pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2]}), "/tmp/a.parquet")
print("rows", pyarrow.dataset.dataset("/tmp/a.parquet").to_table().num_rows)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's Debian packages and configuration, unpacked."""
    root = tmp_path_factory.mktemp("root")
    with open_image("cpu", root=CHECKOUT, store=Store.default()) as image:
        image.fetch()
        for layer in image.lock.layers:
            if layer.name in ("debian", "configuration"):
                unpack(image.blob(layer.digest), root)
    return root


def locked() -> dict[str, str]:
    lock = read_debian_lock(CHECKOUT / "lockfiles" / "cpu" / "debian.lock")
    return {package.name: package.version for package in lock.packages}


def fragments(root: Path) -> list[Path]:
    folder = root / "var" / "lib" / "dpkg" / "status.d"
    return sorted(path for path in folder.iterdir() if path.suffix != ".md5sums")


@pytest.mark.docker
def test_libraries_are_found_without_a_compiler_and_records_are_true(
    docker_engine: DockerEngine, tmp_path: Path
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "inside.py").write_text(INSIDE)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "exec", "--project", tmp_path / "project", "--output-dir",
         tmp_path / "results", "--", "python", "inside.py"],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said | {"files": ""} == {
        "compiler": "None", "gomp": "libgomp.so.1", "missing": "None", "files": "", "rows": "2"
    }  # fmt: skip
    assert int(said["files"]) > 5000


@pytest.mark.skipif(LDCONFIG is None, reason="there is no ldconfig on this machine")
def test_ldconfig_lists_the_images_own_cache_as_it_would_make_it(root: Path, tmp_path: Path) -> None:
    ours = root / "etc" / "ld.so.cache"
    data = ours.read_bytes()
    (tmp_path / "ours").write_bytes(data)
    listed = subprocess.check_output([str(LDCONFIG), "-p", "-C", tmp_path / "ours"], text=True).splitlines()
    assert "\tlibgomp.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libgomp.so.1" in listed
    made = subprocess.run([str(LDCONFIG), "-r", root], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("only root may let ldconfig work on a folder")
    theirs = ours.read_bytes()
    end = int.from_bytes(data[32:36], "little")  # of all but the name of the program that wrote it
    assert data[:end] == theirs[:end]
    assert data != theirs


def test_scanners_see_exactly_the_locked_packages(root: Path) -> None:
    seen = {}
    for path in fragments(root):
        with path.open(encoding="utf-8") as file:
            paragraphs = list(Packages.iter_paragraphs(file, use_apt_pkg=False))
        assert [paragraph["Package"] for paragraph in paragraphs] == [path.name]
        seen[path.name] = paragraphs[0]["Version"]
    assert seen == locked()


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="there is no dpkg-query on this machine")
def test_dpkg_lists_the_packages_as_installed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("\n".join(path.read_text() for path in fragments(root)))
    for folder in ("updates", "info"):
        (tmp_path / folder).mkdir()
    listed = subprocess.check_output(
        ["dpkg-query", "--admindir", tmp_path, "--show", "--showformat", "${db:Status-Abbrev} ${Package} ${Version}\n"],
        text=True,
    )
    assert {tuple(line.split()) for line in listed.splitlines()} == {
        ("ii", name, version) for name, version in locked().items()
    }


@pytest.mark.skipif(shutil.which("md5sum") is None, reason="there is no md5sum on this machine")
def test_the_sums_of_packages_are_those_of_their_files(root: Path) -> None:
    lists = sorted((root / "var" / "lib" / "dpkg" / "status.d").glob("*.md5sums"))
    assert len(lists) > 30
    done = subprocess.run(["md5sum", "--check", *lists], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r": OK$", done.stdout, re.MULTILINE)) > 800
