import random

import pytest

from harness.errors import UsageError
from harness.locking.closure import PackageIndex, closure


def index(*stanzas: str) -> PackageIndex:
    """An index from lines such as `a 1.0; Depends: b`."""
    texts = []
    for stanza in stanzas:
        head, *fields = [part.strip() for part in stanza.split(";")]
        name, version = head.split()
        texts.append("\n".join([f"Package: {name}", f"Version: {version}", "Architecture: amd64", *fields]))
    return PackageIndex("\n\n".join(texts) + "\n")


def names(found: PackageIndex, *packages: str) -> list[str]:
    return [candidate.name for candidate in closure(found, packages)]


def test_the_closure_follows_depends_and_pre_depends_and_nothing_else():
    found = index(
        "a 1; Depends: b; Pre-Depends: c; Recommends: r; Suggests: s", "b 1; Depends: d", "c 1", "d 1", "r 1", "s 1"
    )
    assert names(found, "a") == ["a", "b", "c", "d"]


def test_a_cycle_ends():
    assert names(index("a 1; Depends: b", "b 1; Depends: a"), "a") == ["a", "b"]


def test_the_first_alternative_that_can_be_had_is_taken():
    found = index("a 1; Depends: nowhere | b (>= 2) | c | d", "b 1", "c 1", "d 1")
    assert names(found, "a") == ["a", "c"]


def test_an_alternative_that_is_there_already_wins():
    assert names(index("a 1; Depends: b | c", "b 1", "c 1"), "a", "c") == ["a", "c"]


@pytest.mark.parametrize(
    ("relation", "version", "fits"),
    [
        (">= 1.0", "1.0", True),
        (">= 1.0", "1.0~rc1", False),
        (">> 1.0", "1.0", False),
        (">> 1.0", "1.0-1", True),
        ("<< 2", "1:1.0", False),
        ("= 1:1.0-2", "1:1.0-2", True),
        ("= 1.0-2", "1:1.0-2", False),
        ("<= 1.10", "1.9", True),
        ("<= 1.9", "1.10", False),
        (">= 2.36-9+deb12u3", "2.36-9+deb12u14", True),
    ],
)
def test_versions_are_ordered_as_debian_orders_them(relation, version, fits):
    found = index(f"a 1; Depends: b ({relation})", f"b {version}")
    if fits:
        assert names(found, "a") == ["a", "b"]
    else:
        with pytest.raises(UsageError, match="a needs b"):
            names(found, "a")


def test_the_newest_version_that_fits_is_taken():
    found = index("a 1; Depends: b (<< 3)", "b 1", "b 2", "b 3")
    assert [candidate.version for candidate in closure(found, ["a"])] == ["1", "2"]


def test_of_several_providers_priority_and_then_the_name_decides():
    found = index(
        "a 1; Depends: awk", "gawk 1; Priority: optional; Provides: awk", "mawk 1; Priority: required; Provides: awk"
    )
    assert names(found, "a") == ["a", "mawk"]
    found = index("a 1; Depends: awk", "y 1; Provides: awk", "x 1; Provides: awk")
    assert names(found, "a") == ["a", "x"]
    assert names(found, "a", "y") == ["a", "y"]


def test_a_virtual_package_without_a_version_satisfies_no_versioned_relation():
    found = index("a 1; Depends: api (>= 2)", "plain 1; Provides: api", "versioned 1; Provides: api (= 2.1)")
    assert names(found, "a") == ["a", "versioned"]
    with pytest.raises(UsageError, match=r"needs api \(>= 2\)"):
        names(index("a 1; Depends: api (>= 2)", "plain 1; Provides: api"), "a")


def test_what_cannot_be_satisfied_is_named_with_the_way_to_it():
    found = index("a 1; Depends: b", "b 1; Depends: c", "c 1; Depends: x (>= 9) | y")
    with pytest.raises(UsageError, match=r"a needs b needs c needs x \(>= 9\) \| y, and no package"):
        names(found, "a")


def test_an_unknown_package_is_named():
    with pytest.raises(UsageError, match="no package nowhere"):
        names(index("a 1"), "a", "nowhere")


@pytest.mark.parametrize("field", ["Conflicts", "Breaks"])
def test_packages_that_exclude_each_other_are_refused(field):
    with pytest.raises(UsageError, match="a and b exclude each other"):
        names(index(f"a 1; {field}: b (<< 2)", "b 1"), "a", "b")
    assert names(index(f"a 1; {field}: b (<< 2)", "b 2"), "a", "b") == ["a", "b"]


def test_a_package_may_conflict_with_what_it_provides_itself():
    assert names(index("a 1; Provides: mta; Conflicts: mta"), "a") == ["a"]


def test_the_order_of_packages_and_of_the_list_changes_nothing():
    stanzas = [
        "a 1; Depends: x | y, z",
        "b 1; Depends: y",
        "x 1; Depends: v",
        "y 1",
        "z 1",
        "p 1; Provides: v",
        "q 1; Provides: v",
    ]
    wanted = ["a", "b", "z"]
    expected = names(index(*stanzas), *wanted)
    shuffle = random.Random(1).shuffle
    for _ in range(20):
        shuffle(stanzas)
        shuffle(wanted)
        assert names(index(*stanzas), *wanted) == expected


def test_a_conflict_names_the_way_to_both():
    found = index("a 1; Depends: b", "b 1; Depends: c", "c 1", "d 1; Depends: e", "e 1; Conflicts: c")
    with pytest.raises(UsageError) as caught:
        names(found, "a", "d")
    assert "e (1) conflicts with c; d needs e, and a needs b needs c" in caught.value.message


def test_a_choice_that_leads_to_a_conflict_is_given_up_for_the_next():
    found = index("a 1; Depends: b | c, d", "b 1", "c 1", "d 1; Breaks: b (<< 2)")
    assert names(found, "a") == ["a", "c", "d"]
    assert names(found, "a", "c") == ["a", "c", "d"]


def test_restrictions_to_architectures_are_heeded():
    found = index("a 1; Depends: b [amd64], c [arm64], d [!arm64], e [!amd64]", "b 1", "d 1")
    assert names(found, "a") == ["a", "b", "d"]
