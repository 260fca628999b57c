import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.strict.shuffles import stable_permutation, stable_shuffle

SEEDS = st.integers(0, 2**80)


def described(count: int, seed: int) -> list[int]:
    """The permutation as the description has it, without NumPy."""
    digits = str(seed).encode()
    text = b"harness.shuffle/1\0i" + len(digits).to_bytes(8, "big") + digits
    stream = hashlib.shake_256(text).digest(8 * count)
    return sorted(range(count), key=lambda place: (stream[8 * place : 8 * place + 8], place))


@given(st.integers(0, 300), SEEDS)
def test_a_permutation_is_the_described_one(count, seed):
    assert stable_permutation(count, seed).tolist() == described(count, seed)


@given(st.integers(0, 200), st.integers(0, 200), SEEDS)
def test_more_items_leave_the_others_in_their_order(count, more, seed):
    longer = stable_permutation(count + more, seed)
    assert longer[longer < count].tolist() == stable_permutation(count, seed).tolist()


def test_known_permutations():
    assert stable_shuffle(10, 42).tolist() == described(10, 42)
    assert stable_shuffle(list("abcdefgh"), 0) == ["abcdefgh"[place] for place in described(8, 0)]


def test_another_seed_or_epoch_is_another_order():
    orders = [stable_permutation(50, seed).tolist() for seed in (1, 2, (1,), (1, "epoch", 1), (1, "epoch", 2), ("1",))]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_every_place_is_as_likely_for_every_item():
    counts = np.zeros((6, 6))
    for seed in range(3000):
        counts[np.arange(6), stable_permutation(6, seed)] += 1
    assert abs(counts - 500).max() < 110  # five standard deviations


def test_sequences_keep_their_kind_and_nothing_is_shuffled_in_place():
    items, table = list(range(20)), np.arange(40).reshape(20, 2)
    order = stable_permutation(20, 5)
    assert stable_shuffle(items, 5) == order.tolist()
    assert stable_shuffle(tuple(items), 5) == tuple(order.tolist())
    assert np.array_equal(stable_shuffle(table, 5), table[order])
    assert stable_shuffle(np.int32(20), np.uint8(5)).tolist() == order.tolist()
    assert items == list(range(20))
    assert table[0, 1] == 1


@pytest.mark.parametrize("items", ["text", b"bytes", {1, 2}, {"a": 1}, iter([1]), 2.5, -1, True, None, np.array(3.5)])
def test_what_has_no_order_to_begin_with_is_refused(items):
    with pytest.raises(UsageError):
        stable_shuffle(items, 1)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True, (), (None,), [1]])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(UsageError):
        stable_shuffle(3, seed)
