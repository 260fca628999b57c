import pytest

from harness.errors import IntegrityError
from harness.images.content import Inline
from harness.images.tree import Directory, Entry, File, Symlink, Tree


def tree(*entries: tuple[str, Entry, str]) -> Tree:
    result = Tree()
    for path, entry, origin in entries:
        result.add(path, entry, origin=origin, layer=origin)
    return result


def file(data: bytes = b"", mode: int = 0o644) -> File:
    return File(mode, Inline(data))


def test_folders_above_are_made_and_are_in_every_layer_that_needs_them() -> None:
    layers = tree(("usr/a/x", file(), "one"), ("usr", Directory(0o700), "one"), ("usr/a/y", file(), "two")).layers()
    assert [path for path, _ in layers["one"]] == ["usr", "usr/a", "usr/a/x"]
    assert [path for path, _ in layers["two"]] == ["usr", "usr/a", "usr/a/y"]
    assert dict(layers["one"])["usr"] == dict(layers["two"])["usr"] == Directory(0o700)


def test_what_two_ship_alike_is_there_once() -> None:
    layers = tree(("a", file(b"same"), "one"), ("a", file(b"same"), "two"), ("b", file(), "two")).layers()
    assert [path for path, _ in layers["one"]] == ["a"]
    assert [path for path, _ in layers["two"]] == ["b"]


@pytest.mark.parametrize(
    "other",
    [file(b"else"), file(b"same", 0o755), Symlink("same"), Directory()],
    ids=["content", "mode", "link", "folder"],
)
def test_what_two_ship_differently_is_refused_with_both_named(other: Entry) -> None:
    with pytest.raises(IntegrityError, match="one and two both have /a"):
        tree(("a", file(b"same"), "one"), ("a", other, "two"))


def test_links_to_different_places_are_refused() -> None:
    with pytest.raises(IntegrityError, match="a link to x and a link to y"):
        tree(("a", Symlink("x"), "one"), ("a", Symlink("y"), "two"))


@pytest.mark.parametrize("above", [Symlink("etc"), file()])
def test_nothing_is_put_below_what_is_no_folder(above: Entry) -> None:
    with pytest.raises(IntegrityError, match="two puts a/passwd below a"):
        tree(("a", above, "one"), ("a/passwd", file(), "two"))


def test_of_a_shared_folder_the_first_mode_counts() -> None:
    layers = tree(("a", Directory(0o755), "one"), ("a", Directory(0o700), "two"), ("a/x", file(), "two")).layers()
    assert dict(layers["two"])["a"] == Directory(0o755)


def test_a_folder_that_only_others_imply_is_not_in_their_layer_for_its_own_sake() -> None:
    layers = tree(("a/x", file(), "one"), ("a", Directory(0o700), "two")).layers()
    assert dict(layers["one"])["a"] == Directory(0o700)
    assert [path for path, _ in layers["two"]] == ["a"]
