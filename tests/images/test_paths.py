import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import IntegrityError
from harness.images.paths import Excludes, link_target, member_path, merged, parents


@pytest.mark.parametrize(
    ("name", "path"),
    [("./", ""), (".", ""), ("./usr/", "usr"), ("usr/bin/x", "usr/bin/x"), ("./a b", "a b"), ("./a..b", "a..b")],
)
def test_names_become_plain_paths(name: str, path: str) -> None:
    assert member_path(name, "x") == path


@given(st.text(max_size=30))
def test_no_name_leads_out(name: str) -> None:
    try:
        path = member_path(name, "x")
    except IntegrityError:
        return
    assert not path.startswith("/")
    assert not {"..", ".", ""} & set(path.split("/")) or path == ""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("bin/sh", "usr/bin/sh"),
        ("sbin", "usr/sbin"),
        ("lib64/x", "usr/lib64/x"),
        ("library/x", "library/x"),
        ("etc", "etc"),
    ],
)
def test_the_root_is_merged_into_usr(path: str, place: str) -> None:
    assert merged(path) == place


@pytest.mark.parametrize("target", ["..", "../..", "/..", "x/../../..", "../usr/../.."])
def test_links_that_leave_the_image_are_refused(target: str) -> None:
    with pytest.raises(IntegrityError, match="leads out"):
        link_target("usr", target, "x")


@pytest.mark.parametrize("target", ["/etc/x", "x", "../etc/x", "../usr/../etc"])
def test_links_that_stay_are_kept_as_they_are(target: str) -> None:
    assert link_target("usr/x", target, "x") == target


def test_parents_come_outermost_first() -> None:
    assert list(parents("a/b/c")) == ["a", "a/b"]
    assert list(parents("a")) == []


def test_a_star_crosses_folders_and_nothing_matches_by_part() -> None:
    exclude = Excludes(["usr/share/man/*", "*/tests/*"])
    assert "usr/share/man/man1/x" in exclude
    assert "a/b/tests/c" in exclude
    assert "usr/share/manual" not in exclude
    assert "tests/a" not in exclude
    assert "usr/share/man/x" not in Excludes([])
