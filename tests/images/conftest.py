"""A checkout with one small image, and a store that holds its artifacts."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.locking.debian import DebianPackage
from harness.spec.digest import Digest, digest_from_hex
from harness.store.store import Store

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests of this room share beyond fixtures

from image_packages import Checkout


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def checkout(tmp_path: Path, store: Store) -> Checkout:
    return Checkout(tmp_path / "checkout", store).write()


@pytest.fixture
def alter() -> Callable[[Store, Digest], None]:
    """Flip one bit in the middle of an object of a store."""

    def flip(store: Store, digest: Digest) -> None:
        path = store.path(digest)
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return flip


@pytest.fixture
def package() -> DebianPackage:
    """A lock's entry for a package whose file a test makes."""
    return DebianPackage("evil", "1.0", "amd64", "pool/main/e/evil/evil.deb", 1, digest_from_hex("0" * 64), ())
