from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from harness.locking.debian import read_debian_lock
from harness.locking.difference import (
    ChangeKind,
    Held,
    debian_difference,
    difference,
    python_difference,
    requirements_difference,
)
from harness.locking.python import LockedWheel, PythonLock
from harness.locking.requirements import locked_requirements
from harness.record.hashing import digest_of

LOCKFILES = Path(__file__).parents[2] / "lockfiles"
OPPOSITE = {
    ChangeKind.ADDED: ChangeKind.REMOVED,
    ChangeKind.REMOVED: ChangeKind.ADDED,
    ChangeKind.UPGRADED: ChangeKind.DOWNGRADED,
    ChangeKind.DOWNGRADED: ChangeKind.UPGRADED,
    ChangeKind.REBUILT: ChangeKind.REBUILT,
}


def python_lock(**packages):
    """`name="version"` or `name="version/build"`: another build, other bytes."""
    wheels = []
    for name, text in sorted(packages.items()):
        version = text.partition("/")[0]
        filename = f"{name}-{version}-py3-none-any.whl"
        wheels.append(LockedWheel(name, version, filename, digest_of(f"{name} {text}".encode())))
    return PythonLock(inputs=digest_of(b""), version="3.11", platform="x86_64-manylinux_2_36", wheels=tuple(wheels))


def shown(changes):
    return [(change.package, change.kind.value, change.before, change.after) for change in changes]


def test_every_kind_of_change_is_named():
    before = python_lock(gone="1.0", up="1.9", down="1.10", built="1.0/1", same="1.0")
    after = python_lock(new="1.0", up="1.10", down="1.9", built="1.0/2", same="1.0")
    changes = python_difference("python.txt", before, after)
    assert shown(changes) == [
        ("built", "rebuilt", "1.0", "1.0"),
        ("down", "downgraded", "1.10", "1.9"),
        ("gone", "removed", "1.0", None),
        ("new", "added", None, "1.0"),
        ("up", "upgraded", "1.9", "1.10"),
    ]
    assert {change.lock for change in changes} == {"python.txt"}
    built = changes[0]
    assert built.digest_before == digest_of(b"built 1.0/1")
    assert built.digest_after == digest_of(b"built 1.0/2")


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [("2.13.0", "2.13.0+cpu", "upgraded"), ("1.0rc1", "1.0", "upgraded"), ("1.0", "1.0.0", "rebuilt")],
)
def test_python_versions_are_ordered_as_pep_440_says(before, after, kind):
    assert shown(python_difference("p", python_lock(a=before), python_lock(a=after))) == [("a", kind, before, after)]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [("1.0~rc1-1", "1.0-1", "upgraded"), ("2.0-1", "1:0.5-1", "upgraded"), ("1.0-10", "1.0-9", "downgraded")],
)
def test_debian_versions_are_ordered_as_debian_says(before, after, kind):
    lock = read_debian_lock(LOCKFILES / "cpu" / "debian.lock")

    def having(version):
        first = msgspec.structs.replace(lock.packages[0], version=version, digest=digest_of(version.encode()))
        return msgspec.structs.replace(lock, packages=(first, *lock.packages[1:]))

    found = debian_difference("debian.lock", having(before), having(after))
    assert shown(found) == [(lock.packages[0].name, kind, before, after)]


def test_a_lock_that_is_not_there_holds_nothing():
    lock = python_lock(a="1", b="2")
    assert [change.kind for change in python_difference("p", None, lock)] == [ChangeKind.ADDED] * 2
    assert [change.kind for change in python_difference("p", lock, None)] == [ChangeKind.REMOVED] * 2
    assert python_difference("p", None, None) == debian_difference("d", None, None) == ()


def test_a_requirement_with_one_hash_more_is_rebuilt():
    text = (LOCKFILES / "host.txt").read_text()
    before = locked_requirements(text, "host.txt")
    assert requirements_difference("host.txt", before, before) == ()
    first = text.index("    --hash=")
    more = locked_requirements(text[:first] + f"    --hash=sha256:{'0' * 64} \\\n" + text[first:], "host.txt")
    assert shown(requirements_difference("host.txt", before, more)) == [
        (before[0].key, "rebuilt", before[0].version, before[0].version)
    ]


def test_the_committed_environments_differ_as_their_specs_say():
    from harness.locking.python import read_python_lock

    prev, cpu = (read_python_lock(LOCKFILES / name / "python.txt") for name in ("cpu-prev", "cpu"))
    found = {change.package: change.kind for change in python_difference("python.txt", prev, cpu)}
    upgraded = {"lightgbm", "numpy", "pyarrow", "scikit-learn", "scipy", "xgboost-cpu"}
    assert {name for name, kind in found.items() if kind is ChangeKind.UPGRADED} == upgraded
    assert "torch" not in found


held = st.builds(Held, st.sampled_from(["1", "1.0", "1.0.1", "2", "2rc1", "3+cpu"]), st.sampled_from("ab"))
locks = st.dictionaries(st.sampled_from("abcdefgh"), held)


def newer(one, other):
    return Version(one) < Version(other)


@given(locks)
def test_equal_locks_have_no_difference(lock):
    assert difference("lock", lock, dict(lock), newer=newer) == ()


@given(locks, locks)
def test_a_difference_read_backwards_is_its_opposite_and_leads_back(one, other):
    there, back = difference("lock", one, other, newer=newer), difference("lock", other, one, newer=newer)
    assert (
        [change.package for change in there]
        == [change.package for change in back]
        == sorted({name for name in one.keys() | other.keys() if one.get(name) != other.get(name)})
    )
    for change, opposite in zip(there, back, strict=True):
        assert (change.before, change.digest_before) == (opposite.after, opposite.digest_after)
        assert opposite.kind is OPPOSITE[change.kind]
    result = dict(one)
    for change in there:
        if change.after is None:
            del result[change.package]
        else:
            result[change.package] = Held(change.after, change.digest_after)
    assert result == other
