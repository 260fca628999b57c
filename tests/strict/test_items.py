"""Randomness by item, against the recipe written down a second time here."""

import hashlib
import json
import random
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.strict.items import LARGEST, epoch_order, item_name, item_rng, item_seed

np = pytest.importorskip("numpy")

numbers = st.integers(0, LARGEST)
NO_NUMBERS = [-1, True, 1.0, "1", None, 2**63, 10**30, b"1", [1], float("nan")]


def key_of(*parts) -> tuple[int, ...]:
    text = json.dumps(["harness.items/1", *parts], separators=(",", ":"))
    return struct.unpack("<QQ", hashlib.sha256(text.encode()).digest()[:16])


def philox(key: tuple[int, int], count: int) -> list[int]:
    """Philox-4x64-10 from its paper (Salmon et al. 2011), the counter beginning at 1 as NumPy's first block does."""
    words, block = [], 0
    while len(words) < count:
        block += 1
        counter, (low, high) = [block, 0, 0, 0], key
        for _ in range(10):
            one, other = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
            mask = 2**64 - 1
            counter = [(other >> 64) ^ counter[1] ^ low, other & mask, (one >> 64) ^ counter[3] ^ high, one & mask]
            low, high = (low + 0x9E3779B97F4A7C15) & mask, (high + 0xBB67AE8584CAA73B) & mask
        words += counter
    return words[:count]


@given(numbers, numbers, numbers)
def test_an_items_generator_is_philox_keyed_by_the_written_recipe(seed, epoch, index):
    assert item_rng(seed, epoch, index).bit_generator.random_raw(5).tolist() == philox(
        key_of("rng", seed, epoch, index), 5
    )


@given(numbers, numbers, numbers)
def test_an_items_seed_is_the_written_recipes(seed, epoch, index):
    assert item_seed(seed, epoch, index) == 1 + key_of("seed", seed, epoch, index)[0] % (2**31 - 2)


@given(numbers, numbers, st.integers(0, 40))
def test_an_epochs_order_is_the_written_recipes(seed, epoch, length):
    keys = philox(key_of("order", seed, epoch, None), length)
    assert epoch_order(seed, epoch, length).tolist() == sorted(range(length), key=lambda index: (keys[index], index))


def test_the_recipe_gives_these_numbers():
    assert item_rng(42, 0, 0).bit_generator.random_raw(2).tolist() == [12869904875445481146, 1366781185985344848]
    assert item_seed(42, 0, 0) == 1636601950
    assert epoch_order(42, 0, 8).tolist() == [4, 1, 6, 5, 7, 0, 3, 2]


def test_every_part_counts_and_none_is_taken_for_another():
    asked = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 23, 0), (12, 3, 0), (3, 2, 1), (0, 0, 0)]
    for function in (item_seed, lambda *parts: item_rng(*parts).random()):
        assert len({function(*parts) for parts in asked}) == len(asked)
        assert function(1, 2, 3) == function(1, 2, 3)


def test_what_an_item_draws_depends_on_nothing_else():
    before = item_rng(7, 1, 5).random(3)
    np.random.seed(0), random.seed(0), item_rng(7, 1, 4).random(100)
    assert item_rng(7, 1, 5).random(3).tolist() == before.tolist()
    state = np.random.get_state()[1].tolist(), random.getstate()
    item_rng(7, 1, 5).random(), item_seed(7, 1, 5), epoch_order(7, 1, 5)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == state


def test_another_process_with_another_hash_seed_gives_the_same():
    code = (
        "from harness.strict.items import *\n"
        "print(item_rng(1, 2, 3).random().hex(), item_seed(1, 2, 3), *epoch_order(1, 2, 50))"
    )
    path = ":".join(sys.path)
    said = {
        subprocess.check_output([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": path})
        for seed in ("1", "2")
    }
    own = [item_rng(1, 2, 3).random().hex(), item_seed(1, 2, 3), *epoch_order(1, 2, 50)]
    assert said == {" ".join(map(str, own)).encode() + b"\n"}


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32, int])
def test_any_integer_type_is_the_same_number(kind):
    assert item_seed(kind(5), kind(6), kind(7)) == item_seed(5, 6, 7)
    assert item_name(kind(5), kind(6)) == item_name(5, 6)


def test_an_order_has_every_index_once_and_is_another_in_each_epoch():
    orders = [epoch_order(42, epoch, 1000) for epoch in range(3)]
    assert all(sorted(order.tolist()) == list(range(1000)) and order.dtype == np.int64 for order in orders)
    assert len({order.tobytes() for order in [*orders, epoch_order(43, 0, 1000)]}) == 4
    first = np.array([epoch_order(seed, 0, 3)[0] for seed in range(3000)])
    assert np.bincount(first).min() > 900, "each index comes first as often as any other"


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=20, unique=True))
def test_names_do_not_collide_and_sort_as_indices_then_seeds(pairs):
    names = {(index, seed): item_name(seed, index) for index, seed in pairs}
    assert len(set(names.values())) == len(pairs)
    assert sorted(names.values()) == [names[pair] for pair in sorted(names)]


def test_a_name_is_plain():
    assert item_name(7, 42) == "i000000000042_s0000000007.png"
    assert item_name(7, 42, "_mask.tar.gz") == "i000000000042_s0000000007_mask.tar.gz"
    assert item_name(10**10, 10**12) == "ix0000001000000000000_sx0000000010000000000.png"


@pytest.mark.parametrize(
    "suffix",
    ["", "png", "/../x", "./x", ".", "..", ".png\n", ".p ng", "._", ".\0", ".a" * 9, "." + "a" * 64, None, 5, ".é"],
)  # fmt: skip
def test_a_suffix_that_could_lead_elsewhere_is_refused(suffix):
    with pytest.raises(UsageError, match="cannot end a file's name"):
        item_name(1, 2, suffix)


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, np.bool_(True), np.float64(1)])
def test_what_is_no_number_is_refused_by_its_name(wrong):
    for function in (item_rng, item_seed):
        for place, name in enumerate(("seed", "epoch", "index")):
            parts = [1, 1, 1]
            parts[place] = wrong
            with pytest.raises(UsageError, match=name):
                function(*parts)
    for call, name in [
        (lambda: item_name(wrong, 1), "seed"), (lambda: item_name(1, wrong), "index"),
        (lambda: epoch_order(1, wrong, 1), "epoch"), (lambda: epoch_order(1, 1, wrong), "length"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=name):
            call()


def test_a_length_that_no_memory_holds_is_refused_before_any_is_asked_for():
    with pytest.raises(UsageError, match="length 1099511627776"):
        epoch_order(1, 1, 2**40)
