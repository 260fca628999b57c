import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.release.changes import Difference, differences, simple
from harness.release.entries import Entry, Scheme
from harness.release.report import Kind, Layer

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
WHEEL = Entry("2.4.6", Scheme.PYTHON, {"wheel": ONE, "files": ONE}, {"tags": "py3"})


def difference(before: Entry | None, after: Entry | None) -> Difference | None:
    key = (Layer.WHEEL, "numpy")
    found = differences({key: before} if before else {}, {key: after} if after else {})
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("scheme", "before", "after", "kind"),
    [
        (Scheme.PYTHON, "1.26.4", "2.0.0", Kind.UPGRADED),
        (Scheme.PYTHON, "2.10", "2.9", Kind.DOWNGRADED),
        (Scheme.PYTHON, "2.0rc1", "2.0", Kind.UPGRADED),
        (Scheme.PYTHON, "2.13.0", "2.13.0+cpu", Kind.UPGRADED),
        (Scheme.PYTHON, "1.0", "1.0.0", Kind.CHANGED),
        (Scheme.PYTHON, "1.0", "no version", Kind.CHANGED),
        (Scheme.DEBIAN, "5.2.15-2+b2", "5.2.15-2+b13", Kind.UPGRADED),
        (Scheme.DEBIAN, "1:1.0", "2.0", Kind.DOWNGRADED),
        (Scheme.DEBIAN, "1.0~rc1", "1.0", Kind.UPGRADED),
        (Scheme.LOOSE, "Linux 6.1.0-9-amd64", "Linux 6.1.0-41-amd64", Kind.UPGRADED),
        (Scheme.LOOSE, "560.28.3", "550.54.14", Kind.DOWNGRADED),
        (Scheme.LOOSE, "glibc 2.36", "glibc 2.41", Kind.UPGRADED),
        (Scheme.LOOSE, "unknown", "550.54.14", Kind.CHANGED),
        (Scheme.LOOSE, "v3.12.0 (Git Hash 80afa710)", "v3.13.0 (Git Hash 80afa711)", Kind.CHANGED),
        (None, "25", "26", Kind.CHANGED),
    ],
)
def test_versions_are_ordered_as_their_scheme_says(scheme, before, after, kind):
    found = difference(Entry(before, scheme), Entry(after, scheme))
    assert (found.kind, found.before, found.after) == (kind, before, after)


def test_the_same_version_with_other_bytes_is_rebuilt_and_shows_which():
    found = difference(WHEEL, Entry("2.4.6", Scheme.PYTHON, {"wheel": TWO, "files": ONE}, {"tags": "py3"}))
    assert found.kind is Kind.REBUILT
    assert (found.before, found.after) == (f"2.4.6, wheel {ONE}", f"2.4.6, wheel {TWO}")


def test_the_same_version_with_anything_else_is_changed():
    found = difference(WHEEL, Entry("2.4.6", Scheme.PYTHON, {**WHEEL.facts, "installed": "2.4.5"}, WHEEL.details))
    assert found.kind is Kind.CHANGED
    assert (found.before, found.after) == ("2.4.6", "2.4.6, installed 2.4.5")


def test_details_are_shown_where_nothing_else_differs():
    found = difference(WHEEL, Entry("2.4.6", Scheme.PYTHON, WHEEL.facts, {"tags": "cp311"}))
    assert (found.kind, found.after) == (Kind.CHANGED, "2.4.6, tags cp311")
    upgraded = difference(WHEEL, Entry("2.5", Scheme.PYTHON, {"wheel": TWO, "files": TWO}, {"tags": "cp311"}))
    assert upgraded.after == f"2.5, wheel {TWO}, files {TWO}"


def test_what_came_or_went_has_one_side():
    added, removed = difference(None, WHEEL), difference(WHEEL, None)
    shown = f"2.4.6, wheel {ONE}, files {ONE}"
    assert (added.kind, added.before, added.after) == (Kind.ADDED, None, shown)
    assert (removed.kind, removed.before, removed.after) == (Kind.REMOVED, shown, None)


def test_a_simple_difference_has_its_kind_from_its_sides():
    kinds = [simple(Layer.PROBE, "numpy/exp64", *sides).kind for sides in ((None, ONE), (ONE, None), (ONE, TWO))]
    assert kinds == [Kind.ADDED, Kind.REMOVED, Kind.CHANGED]


ENTRIES = st.dictionaries(
    st.tuples(st.sampled_from(Layer), st.sampled_from(["a", "b", "c/d"])),
    st.builds(
        Entry,
        st.sampled_from(["1.0", "2.0", "x"]),
        st.none() | st.sampled_from(Scheme),
        st.dictionaries(st.sampled_from(["wheel", "installed"]), st.sampled_from([ONE, TWO, "nothing"])),
        st.dictionaries(st.just("size"), st.sampled_from(["1", "2"])),
    ),
)


@settings(max_examples=40, deadline=None)
@given(ENTRIES, ENTRIES)
def test_every_path_that_differs_is_named_once_in_order_and_backwards_too(before, after):
    found = differences(before, after)
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert {(item.layer, item.path) for item in found} == differing
    assert len(found) == len(differing)
    order = list(Layer)
    assert list(found) == sorted(found, key=lambda item: (order.index(item.layer), item.path))
    turned = {Kind.ADDED: Kind.REMOVED, Kind.REMOVED: Kind.ADDED, Kind.UPGRADED: Kind.DOWNGRADED}
    turned |= {new: old for old, new in turned.items()}
    backwards = [(item.path, turned.get(item.kind, item.kind)) for item in differences(after, before)]
    assert backwards == [(item.path, item.kind) for item in found]


@settings(max_examples=40, deadline=None)
@given(ENTRIES)
def test_equal_entries_never_differ(entries):
    assert differences(entries, dict(entries)) == ()
