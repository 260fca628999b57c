import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.strict.ordering import stable_sort

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


@given(st.lists(values | st.tuples(values, values)), st.randoms())
def test_any_order_of_the_same_items_sorts_alike(items, shuffler):
    shuffled = list(items)
    shuffler.shuffle(shuffled)
    assert list(map(repr, stable_sort(shuffled))) == list(map(repr, stable_sort(items)))


def test_items_with_equal_keys_are_ordered_by_themselves():
    items = ["bb", "a", "cc", "aa"]
    for _ in range(5):
        random.shuffle(items)
        assert stable_sort(items, key=len) == ["a", "aa", "bb", "cc"]


def test_text_is_ordered_by_code_point_and_kinds_do_not_mix():
    assert stable_sort(["b", "B", "é", "a"]) == ["B", "a", "b", "é"]
    assert stable_sort(["1", 1, None, True, 2.5]) == [None, True, 1, 2.5, "1"]


@pytest.mark.parametrize("item", [math.nan, {"a": 1}, object(), {1, 2}])
def test_what_has_no_order_is_refused(item):
    with pytest.raises(UsageError, match="no stable order"):
        stable_sort([item, item])


def test_items_without_an_order_can_be_sorted_by_distinct_keys():
    items = [{"name": "b"}, {"name": "a"}]
    assert stable_sort(items, key=lambda item: item["name"]) == items[::-1]
    with pytest.raises(UsageError):
        stable_sort([{"name": "a"}, {"name": "a"}], key=lambda item: item["name"])
