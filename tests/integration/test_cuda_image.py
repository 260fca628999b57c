"""The committed CUDA image itself, 5 GB: `nox -s cuda_image` builds it and runs these; they are skipped elsewhere."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.engines.docker import DockerEngine
from harness.engines.gpu import cuda_version, find_driver, require_gpu
from harness.errors import PrerequisiteError
from harness.images.build import Image, build, open_image
from harness.images.export import archive_chunks
from harness.images.sizes import Same, image_sizes
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.lockfile import read_lock
from harness.locking.python import read_python_lock
from harness.spec.digest import hexadecimal
from harness.spec.run import RunSpec
from harness.store.store import Store

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "lockfiles/cuda"
WANTED = "HARNESS_TEST_CUDA_IMAGE"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(WANTED not in os.environ, reason="it is 5 GB large: nox -s cuda_image builds and tests it"),
]

IMPORTS = """
import json
import lightgbm, numpy, sklearn, torch, xgboost
from ctypes import CDLL
from importlib.metadata import version
from xgboost.collective import _find_nccl
generator = numpy.random.default_rng(42)
rows, wanted = generator.normal(size=(200, 4)), generator.normal(size=200)
grown = xgboost.train({"device": "cpu", "nthread": 1}, xgboost.DMatrix(rows, wanted), 3)
leaves = lightgbm.train({"num_threads": 1, "verbose": -1}, lightgbm.Dataset(rows, wanted), 3)
print(json.dumps({
    "versions": {name: version(name) for name in ("lightgbm", "numpy", "scikit-learn", "torch", "triton", "xgboost")},
    "cuda": torch.version.cuda, "available": torch.cuda.is_available(), "xgboost": xgboost.build_info()["USE_CUDA"],
    "nccl": [_find_nccl(), bool(CDLL(_find_nccl())), list(torch.cuda.nccl.version())],
    "trees": [grown.num_boosted_rounds(), leaves.num_trees()], "product": float(torch.ones(8) @ torch.ones(8)),
}))
"""


@pytest.fixture(scope="module")
def store() -> Store:
    return Store.default()


@pytest.fixture(scope="module")
def lock() -> ImageLock:
    return read_lock(LOCKS / "image.lock", ImageLock, schema=SCHEMA)


@pytest.fixture(scope="module")
def image(store: Store, docker_engine: DockerEngine) -> Image:
    """The image, in the store and in the engine."""
    with open_image("cuda", root=ROOT, store=store) as opened:
        docker_engine.prepare(opened)
        return opened


def test_made_anew_from_its_artifacts_it_has_the_committed_digest(lock: ImageLock, store: Store) -> None:
    assert build("cuda", root=ROOT, store=store, anew=True) == lock


def test_its_libraries_import_and_compute_on_the_cpu(
    image: Image, docker_engine: DockerEngine, make_spec: Callable[..., RunSpec]
) -> None:
    out, error = bytearray(), bytearray()
    spec = make_spec(IMPORTS, image=image.reference, time_limit=300.0, pids=512)
    result = docker_engine.run(spec, on_stdout=out.extend, on_stderr=error.extend)
    assert result.exit_code == 0, error.decode()
    found = json.loads(out)
    wheels = read_python_lock(LOCKS / "python.txt").wheels
    assert found["versions"] == {wheel.name: wheel.version for wheel in wheels if wheel.name in found["versions"]}
    assert found["cuda"] == cuda_version(wheels)
    assert found["xgboost"]
    assert not found["available"], "no GPU was handed to the container"
    assert found["nccl"][0].endswith("nvidia/nccl/lib/libnccl.so.2")
    assert found["nccl"][1]
    assert found["trees"] == [3, 3]
    assert found["product"] == 8.0


class Chunks(io.RawIOBase):
    """Chunks as a file, none of them kept."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = filter(None, chunks), b""  # an empty one would be the end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def test_exported_it_has_every_document_and_layer_of_its_lock_by_digest(lock: ImageLock, store: Store) -> None:
    found = {}
    with (
        open_image("cuda", root=ROOT, store=store) as opened,
        tarfile.open(fileobj=io.BufferedReader(Chunks(archive_chunks(opened)), 1 << 20), mode="r|") as archive,
    ):
        for member in archive:
            if member.name.startswith("blobs/sha256/"):
                file = archive.extractfile(member)
                assert file is not None
                found[Path(member.name).name] = hashlib.file_digest(file, "sha256").hexdigest()
    wanted = (lock.manifest, lock.config, *(layer.digest for layer in lock.layers))
    assert found == {name: name for name in map(hexadecimal, wanted)}


def test_the_toolkit_finds_what_it_needs(lock: ImageLock, image: Image, store: Store) -> None:
    with tarfile.open(store.path(lock.layers[0].digest)) as archive:
        there = {member.name: member for member in archive}
    assert there["etc/debian_version"].isreg()
    assert there["etc/ld.so.conf"].isreg()
    assert there["etc/ld.so.conf.d"].isdir()
    assert there["usr/sbin/ldconfig"].mode & 0o111
    assert there["sbin"].linkname == "usr/sbin"
    variables = dict(line.split("=", 1) for line in json.loads(image.config_bytes)["config"]["Env"])
    assert (variables["NVIDIA_VISIBLE_DEVICES"], variables["NVIDIA_DRIVER_CAPABILITIES"]) == ("all", "compute,utility")
    assert not [name for name in variables if name == "CUDA_VERSION" or name.startswith("NVIDIA_REQUIRE")]


def test_its_bytes_are_accounted_for_and_nccl_is_there_once(lock: ImageLock, image: Image, store: Store) -> None:
    sizes = image_sizes("cuda", ROOT, store)
    assert sizes.size == sum(layer.size for layer in lock.layers)
    assert sum(package.size for package in sizes.packages) + sizes.overhead == sizes.size
    libraries = {found.name: found for found in sizes.repeated if found.same is Same.LIBRARY}
    assert "libnccl" not in libraries
    assert {file.package for file in libraries["libcupti"].files} == {"triton", "nvidia-cuda-cupti"}


@pytest.mark.skipif(find_driver() is not None, reason="this machine has an NVIDIA driver")
def test_without_a_driver_a_run_of_it_is_refused(image: Image) -> None:
    with pytest.raises(PrerequisiteError, match="needs an NVIDIA GPU"):
        require_gpu(image.reference.name, read_python_lock(LOCKS / "python.txt").wheels)
