import hashlib
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.strict.splits import stable_split


def hashed(kind: bytes, key: bytes, salt: bytes = b"") -> int:
    """The number that a key is placed by, computed from the description alone."""
    text = b"harness.split/1\0" + b"s" + len(salt).to_bytes(8, "big") + salt
    return int(hashlib.sha256(text + kind + len(key).to_bytes(8, "big") + key).hexdigest()[:16], 16)


def expected(number: int) -> str:
    """80, 10 and 10 per cent, the parts in the order of their names: test, train, valid."""
    return "test" if number * 10 < 2**64 else "train" if number * 10 < 9 * 2**64 else "valid"


def test_known_keys_lie_where_the_description_says():
    for user in range(200):
        assert stable_split(user) == expected(hashed(b"i", str(user).encode()))
        assert stable_split(f"user-{user}") == expected(hashed(b"s", f"user-{user}".encode()))
    assert stable_split("a", salt="s") == expected(hashed(b"s", b"a", b"s"))


def test_parts_have_about_their_share():
    parts = Counter(stable_split(range(20_000)).tolist())
    assert abs(parts["train"] - 16_000) < 300
    assert abs(parts["valid"] - 2_000) < 200
    assert abs(parts["test"] - 2_000) < 200


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.lists(st.integers()))
def test_rows_that_come_go_or_change_places_move_no_other_row(first, second):
    keys = [*first, *second]
    alone = [stable_split(key) for key in first]
    assert stable_split(first).tolist() == alone
    assert stable_split(keys).tolist()[: len(first)] == alone
    assert stable_split(keys[::-1]).tolist()[::-1] == stable_split(keys).tolist()


def test_every_container_gives_the_same_parts():
    keys = list(range(500))
    parts = stable_split(keys).tolist()
    assert parts == stable_split(np.array(keys, np.int16)).tolist()
    assert parts == stable_split(pa.chunked_array([keys[:7], keys[7:]])).tolist()
    assert parts == stable_split(pa.array(keys).dictionary_encode()).tolist()
    assert stable_split(list(map(str, keys))).tolist() != parts


def test_another_salt_is_another_split():
    keys = range(1000)
    one, other = stable_split(keys, salt="1"), stable_split(keys, salt="2")
    assert 0.4 < np.mean(one == other) < 0.9
    with pytest.raises(UsageError, match="salt"):
        stable_split("a", salt=1)


def test_thresholds_are_whole_numbers_and_exact():
    third = {"a": "1/3", "b": Fraction(1, 3), "c": "1/3"}
    for key in range(300):
        number = hashed(b"i", str(key).encode())
        assert stable_split(key, third) == "abc"[number * 3 // 2**64]
    same = [{"a": 0.1, "b": 0.9}, {"b": Decimal("0.9"), "a": "0.1"}, {"a": np.float64(0.1), "b": Fraction(9, 10)}]
    assert len({tuple(stable_split(range(300), fractions).tolist()) for fractions in same}) == 1


def test_a_larger_share_takes_rows_and_gives_none():
    keys = range(3000)
    small, large = (stable_split(keys, {"a": share, "b": 1 - Fraction(share)}) for share in ("0.2", "0.3"))
    assert set(np.flatnonzero(small == "a")) < set(np.flatnonzero(large == "a"))


@pytest.mark.parametrize(
    "fractions",
    [{}, {"a": 0.5, "b": 0.4}, {"a": 1.1, "b": -0.1}, {"a": 1, "b": 0}, {"a": float("nan"), "b": 1}, {"": 1},
     {"a": "x"},     {"a": True}, {"a": 0.3333333, "b": 0.6666666}, {1: 1.0}],
)  # fmt: skip
def test_fractions_that_make_no_sense_are_refused(fractions):
    with pytest.raises(UsageError):
        stable_split("key", fractions)


def test_rows_of_one_group_stay_together_whatever_their_keys():
    groups = [f"patient-{row // 10}" for row in range(1000)]
    parts = stable_split(range(1000), groups=groups)
    assert parts.tolist() == stable_split(groups).tolist()
    for start in range(0, 1000, 10):
        assert len(set(parts[start : start + 10])) == 1
    assert stable_split(range(1000)).tolist() != parts.tolist()


def test_a_key_in_two_groups_is_refused_because_it_could_leak():
    assert stable_split(["x", "x"], groups=["g", "g"]).size == 2
    with pytest.raises(UsageError, match="row 2"):
        stable_split(["x", "x"], groups=["g", "h"])
    with pytest.raises(UsageError, match="2 keys and 1 groups"):
        stable_split(["x", "y"], groups=["g"])


def test_a_bad_key_in_a_column_is_named_by_its_row():
    with pytest.raises(UsageError, match="row 3"):
        stable_split(["a", "b", None])
    with pytest.raises(UsageError, match="row 1"):
        stable_split(np.array([1.0, 2.0]))


def test_no_rows_have_no_parts():
    assert stable_split([]).tolist() == []


@pytest.mark.parametrize("table", [pa.table({"k": [1, 2]}), pa.record_batch({"k": [1, 2]})])
def test_a_table_in_the_place_of_a_column_is_refused_as_keys_and_as_groups(table):
    with pytest.raises(UsageError, match="is no column"):
        stable_split(table)
    with pytest.raises(UsageError, match="is no column"):
        stable_split([1, 2], groups=table)
    assert len(stable_split(table["k"] if isinstance(table, pa.Table) else table.column("k"))) == 2
