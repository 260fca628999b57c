"""A signed Debian archive of three packages, and a small project whose locks were made from it."""

import base64
import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from harness.locking import lock as lock_module
from harness.locking.requirements import INSIDE_TEST
from harness.store import fetch, sources
from harness.store.progress import SILENT
from harness.store.store import Store

DATA = Path(__file__).parent / "data"

SPEC = """\
name: small
variant: cpu
debian:
  suite: testing
  component: main
  architecture: amd64
  packages: [app]
python:
  version: "3.11"
  platform: x86_64-manylinux_2_36
  requirements: [demo]
users:
  - {name: root, uid: 0, home: /root}
links: {/usr/bin/sh: bash}
files: {/etc/nsswitch.conf: "hosts: files\\n"}
postinst: {app: does nothing}
"""

PROJECT = """\
[project]
name = "hermetic-training-harness"
requires-python = ">=3.11"
dependencies = ["demo"]
[dependency-groups]
dev = ["tool"]
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No test asks a machine other than this one."""
    monkeypatch.setattr(sources, "_apt_sources", lambda apt: ())
    monkeypatch.setattr(fetch, "SNAPSHOT_ARCHIVE", "file:///nonexistent")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    shutil.copytree(DATA / "archive", tmp_path / "mirror")
    return tmp_path / "mirror"


@pytest.fixture
def keyring() -> Path:
    return DATA / "keyring.gpg"


def make_environment(folder: Path) -> dict[str, str]:
    """uv and the harness find packages in two folders of this test alone: `links`, and the archive in `mirror`."""
    (folder / "links").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "nobody"),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_CACHE_DIR": str(folder / "uv"),
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(folder / "links"),
        "HARNESS_DEBIAN_MIRROR": str(folder / "mirror"),
    }


def make_root(root: Path) -> Path:
    """A checkout with one image spec and no locks."""
    (root / "docker").mkdir(parents=True)
    (root / "docker" / "small.yaml").write_text(SPEC)
    (root / "pyproject.toml").write_text(PROJECT)
    return root


def make_wheel(
    folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", *, requires: str = "", **members: bytes
) -> Path:
    """A wheel that can be installed, with the given files in it; it asks for `requires`."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version.partition('-')[0]}.dist-info"
    files = {f"{name}/{member}": data for member, data in members.items()}
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version.partition('-')[0]}\n"
    files[f"{info}/METADATA"] = (metadata + (f"Requires-Dist: {requires}\n" if requires else "")).encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    record = "".join(f"{file},sha256={_record_hash(data)},{len(data)}\n" for file, data in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(zipfile.ZipInfo(file), data)
    return path


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def make_links(environment: dict[str, str]) -> Path:
    """The folder of wheels, with all that the checkout asks for."""
    folder = Path(environment["UV_FIND_LINKS"])
    for name in ("demo", "tool", *(required.replace("-", "_") for required in INSIDE_TEST)):
        make_wheel(folder, name)
    return folder


@pytest.fixture(name="make_wheel")
def make_wheel_fixture():
    return make_wheel


@pytest.fixture
def environment(tmp_path: Path, mirror: Path) -> dict[str, str]:
    return make_environment(tmp_path)


@pytest.fixture
def links(environment: dict[str, str]) -> Path:
    return make_links(environment)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "checkout")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout with every lock that `harness lock` writes; to be copied."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(DATA / "archive", folder / "mirror")
    environment, root = make_environment(folder), make_root(folder / "checkout")
    make_links(environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock_module, "KEYRINGS", (DATA / "keyring.gpg",))
        patch.setattr(sources, "_apt_sources", lambda apt: ())
        lock_module.lock(root, None, Store(folder / "home"), progress=SILENT, environment=environment)
    return root
