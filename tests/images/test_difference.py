from pathlib import Path

import pytest

from harness.images.content import Inline
from harness.images.difference import describe_layer, first_difference
from harness.images.layer import layer_chunks
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.imagelock import LayerLock
from harness.record.hashing import digest_of
from harness.store.store import Store

BASE: dict[str, Entry] = {
    "a": Directory(),
    "a/x": File(0o644, Inline(b"one")),
    "b": Symlink("a"),
    "c": File(0o755, Inline(b"")),
}


def layer(entries: dict[str, Entry]) -> bytes:
    return b"".join(layer_chunks(sorted(entries.items())))


def without(path: str) -> dict[str, Entry]:
    return {name: entry for name, entry in BASE.items() if name != path}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (without("a/x"), "/a/x is missing"),
        (without("c"), "/c is missing"),
        (BASE | {"a/y": Symlink("x")}, "/a/y is there and should not be"),
        (BASE | {"z": Symlink("x")}, "/z is there and should not be"),
        (BASE | {"a/x": File(0o644, Inline(b"two"))}, "/a/x has other content: sha256:"),
        (BASE | {"a/x": File(0o644, Inline(b"three"))}, "/a/x has 5 bytes where 3 were expected"),
        (BASE | {"c": File(0o644, Inline(b""))}, "/c has mode 0644 where 0755 was expected"),
        (BASE | {"b": Symlink("c")}, "/b leads to c where a was expected"),
        (BASE | {"b": Directory()}, "/b is a folder where a link was expected"),
        (without("a/x") | {"c": Symlink("x")}, "/a/x is missing"),
    ],
)
def test_the_first_path_that_differs_is_named_with_how(other: dict[str, Entry], said: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(layer(BASE))
    two.write_bytes(layer(other))
    assert str(first_difference(one, two)).startswith(said)


def test_equal_layers_have_no_difference(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_bytes(layer(BASE))
    assert first_difference(one, one) is None


def test_where_only_one_layer_is_there_its_digest_is_said_alone(store: Store) -> None:
    data = layer(BASE)
    actual = LayerLock("debian", store.put_bytes(data), len(data))
    expected = LayerLock("debian", digest_of(b"lost"), 4)
    said = describe_layer(expected, actual, store)
    assert said == f"layer debian is {actual.digest[:19]}, and its lock says {expected.digest[:19]}"
