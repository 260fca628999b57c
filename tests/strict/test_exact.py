import itertools
import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import IntegrityError, UsageError
from harness.strict.exact import ExactSum, exact_mean, exact_sum

DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)
WEIGHTS = st.one_of(st.integers(0, 2**70), st.floats(0, 2.0**60))


def nearest(value: Fraction, bits: int, smallest: int, largest: int) -> float:
    """`value` rounded to nearest, ties to even, in exact arithmetic: a format of `bits` bits of precision."""
    if value == 0:
        return 0.0
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** (max(exponent, smallest) - bits + 1)
    rounded = round(size / unit) * unit  # Python rounds a Fraction's half to even
    limit = (2 - Fraction(2) ** (1 - bits)) * Fraction(2) ** largest
    return math.copysign(math.inf if rounded > limit else float(rounded), 1 if value > 0 else -1)


def double(value: Fraction) -> float:
    return nearest(value, 53, -1022, 1023)


def single(value: Fraction) -> float:
    return nearest(value, 24, -126, 127)


def same(one: object, other: object) -> bool:
    return np.asarray(one).tobytes() == np.asarray(other, dtype=np.asarray(one).dtype).tobytes()


@settings(max_examples=150, deadline=None)
@given(st.lists(DOUBLES, min_size=1, max_size=8))
def test_sum_and_mean_of_doubles_are_the_fractions_rounded_once(numbers):
    total = sum(map(Fraction, numbers))
    assert same(exact_sum(numbers), double(total))
    assert same(exact_mean(numbers), double(total / len(numbers)))


@settings(max_examples=150, deadline=None)
@given(st.lists(SINGLES, min_size=1, max_size=8))
def test_sum_and_mean_of_singles_are_rounded_to_singles_once_and_not_by_way_of_doubles(numbers):
    array = np.array(numbers, dtype=np.float32)
    total = sum(map(Fraction, numbers))
    assert exact_sum(array).dtype == np.float32
    assert same(exact_sum(array), np.float32(single(total)))
    assert same(exact_mean(array), np.float32(single(total / len(numbers))))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(DOUBLES, WEIGHTS), min_size=1, max_size=6).filter(lambda pairs: any(w for _, w in pairs)))
def test_weighted_sum_and_mean_are_the_fractions_rounded_once(pairs):
    numbers, weights = zip(*pairs, strict=True)
    total = sum(Fraction(number) * Fraction(weight) for number, weight in pairs)
    assert same(exact_sum(numbers, weights), double(total))
    assert same(exact_mean(numbers, weights), double(total / sum(map(Fraction, weights))))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(DOUBLES, st.integers(0, 9)), min_size=1, max_size=8), st.randoms(), st.data())
def test_any_order_and_any_tree_of_shards_have_one_state(pairs, random, data):
    whole = ExactSum()
    for number, weight in pairs:
        whole.add([number, 1.0], weight)
    shuffled = random.sample(pairs, len(pairs))
    cut = data.draw(st.integers(0, len(pairs)))
    shards = []
    for part in (shuffled[:cut], shuffled[cut:]):
        shard = ExactSum()
        for number, weight in part:
            shard.add([number, 1.0], weight)
        shards.append(ExactSum.from_state(shard.state()))
    random.shuffle(shards)
    merged = ExactSum().merge(shards[0]).merge(shards[1])
    assert merged.state() == whole.state()
    assert same(merged.result(), whole.result())


def test_a_sum_that_ordinary_addition_gets_wrong_in_some_order_is_right_in_all():
    clients = [np.array([1e16, 1.0], dtype=np.float64), np.array([1.0, 1e-9]), np.array([-1e16, -1.0])]
    plain = {sum(order, np.zeros(2)).tobytes() for order in itertools.permutations(clients)}
    assert len(plain) > 1
    assert {exact_sum(order).tobytes() for order in itertools.permutations(clients)} == {
        np.array([1.0, 1e-9]).tobytes()
    }


def test_large_arrays_agree_with_the_standard_librarys_sum():
    rng = np.random.default_rng(3)
    array = rng.standard_normal((5, 70_000)) * np.exp(20 * rng.standard_normal((5, 70_000)))
    expected = [math.fsum(column) for column in array.T.tolist()]
    assert same(exact_sum(array), expected)
    assert same(exact_sum(array.T[:, :1].ravel()), math.fsum(array[0].tolist()))
    assert exact_sum(array.reshape(5, 7, 100, 100)).shape == (7, 100, 100)


def test_another_value_anywhere_changes_state_and_sum():
    array = np.ones((3, 4))
    other = array.copy()
    other[1, 2] = 1.0 + 2.0**-50
    states = []
    for rows in (array, other):
        total = ExactSum()
        for row in rows:
            total.add(row)
        states.append(total.state())
    assert states[0] != states[1]
    assert not same(exact_sum(array), exact_sum(other))


def test_overflow_on_the_way_does_not_count_and_in_the_end_is_infinite():
    largest = np.finfo(np.float64).max
    assert exact_sum([largest, largest, -largest]) == largest
    assert exact_sum([largest, largest]) == math.inf
    assert exact_mean([largest, largest]) == largest
    assert exact_sum([-largest, -largest]) == -math.inf
    half = math.ldexp(1.0, 970)  # half a unit in the last place of the largest double: the tie goes to infinity
    assert exact_sum([largest, half]) == math.inf
    assert exact_sum([largest, math.nextafter(half, 0)]) == largest


def test_subnormals_are_summed_and_halved_to_even():
    tiny = 5e-324
    assert exact_sum([tiny] * 3) == 3 * tiny
    assert exact_mean([tiny, 0.0]) == 0.0
    assert exact_mean([3 * tiny, 0.0]) == 2 * tiny
    assert exact_mean([tiny, tiny, 0.0]) == tiny
    assert same(exact_mean(np.array([3e-45, 0, 0], np.float32)), np.float32(1e-45))


def test_what_is_not_finite_gives_what_ieee_754_gives_in_any_order():
    for order in itertools.permutations([math.inf, 1.0, 2.0]):
        assert exact_sum(list(order)) == math.inf
    for order in itertools.permutations([math.inf, -math.inf, 2.0]):
        assert math.isnan(exact_sum(list(order)))
    total = exact_sum([np.array([math.nan, -math.inf, 1.0]), np.array([1.0, 1.0, 1.0])])
    assert np.isnan(total[0])
    assert total[1:].tolist() == [-math.inf, 2.0]


def test_a_zero_has_one_sign_and_a_nan_has_one_payload():
    assert math.copysign(1, exact_sum([-0.0, -0.0])) == 1
    assert math.copysign(1, exact_sum([1.0, -1.0])) == 1
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    assert same(exact_sum([odd, 1.0]), np.float64(np.nan))


def test_integers_are_summed_without_passing_through_a_float():
    assert exact_sum([2**62 + 1, -(2**62)]) == 1.0
    assert exact_sum(np.array([2**64 - 1, 1], dtype=np.uint64)) == 2.0**64
    assert exact_sum(np.array([-(2**63), 5], dtype=np.int64)) == double(Fraction(5 - 2**63))


def test_singles_among_doubles_make_a_double_and_a_type_can_be_asked_for():
    mixed = exact_sum([np.float32([0.1]), np.float64([0.2])])
    assert mixed.dtype == np.float64
    assert exact_sum([np.float32([0.1])], dtype=np.float64)[0] == float(np.float32(0.1))
    with pytest.raises(UsageError, match="float16"):
        exact_sum([1.0], dtype=np.float16)


def test_a_member_of_weight_zero_is_left_out_whatever_it_holds():
    assert exact_mean([np.array([math.nan]), np.array([2.0])], weights=[0, 3]).tolist() == [2.0]
    with pytest.raises(UsageError, match="mean of nothing"):
        exact_mean([1.0], weights=[0])


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, True, "2", None, Fraction(1, 3)])
def test_what_is_no_weight_is_refused(weight):
    with pytest.raises(UsageError, match="not a weight"):
        ExactSum().add([1.0], weight)


@pytest.mark.parametrize(
    "values", [np.ones(2, np.float16), np.ones(2, np.longdouble), np.ones(2, complex), ["a"], [True], {"a": 1.0}, 3.0]
)
def test_what_cannot_be_summed_exactly_is_refused(values):
    with pytest.raises(UsageError):
        exact_sum(values)


@pytest.mark.parametrize("call", [exact_sum, exact_mean])
def test_nothing_has_neither_sum_nor_mean(call):
    for nothing in ([], np.ones((0,)), np.ones((0, 3))):
        with pytest.raises(UsageError):
            call(nothing)


def test_arrays_of_several_shapes_are_refused_and_never_stretched():
    with pytest.raises(UsageError, match=r"shape \(1,\)"):
        exact_sum([np.ones(3), np.ones(1)])
    with pytest.raises(UsageError, match="2 items and 1 weights"):
        exact_sum([1.0, 2.0], [1])


def test_byte_order_strides_and_memory_layout_change_nothing():
    array = np.arange(12.0).reshape(3, 4) / 7
    forms = [array.astype(">f8"), np.asfortranarray(array), np.repeat(array, 2, axis=1)[:, ::2]]
    assert {exact_sum(form).tobytes() for form in forms} == {exact_sum(array).tobytes()}


def test_a_damaged_state_is_refused():
    state = ExactSum().add([1.0, -2.5]).state()
    assert ExactSum.from_state(state).state() == state
    head, _, rest = state.partition(b"\n")
    for damaged in (b"", b"{}\n", state[:-1], state + b"\0", head + b"\n" + b"\x07" + rest[1:], state[1:]):
        with pytest.raises(IntegrityError):
            ExactSum.from_state(damaged)


def test_torch_tensors_are_summed_as_the_arrays_that_they_are():
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor([0.1, 1e8]), torch.tensor([0.2, -1e8])]
    assert same(exact_sum(tensors), exact_sum([tensor.numpy() for tensor in tensors]))
