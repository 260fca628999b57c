import datetime as dt
import enum
import itertools
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.strict.keys import encode_key, listed

PLAIN = st.one_of(
    st.integers(), st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.booleans(), st.dates(),
    st.datetimes(), st.datetimes(timezones=st.timezones()), st.uuids(),
)  # fmt: skip
KEYS = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


def meaning(value):
    """What a key means, written in another way than the encoding."""
    if isinstance(value, tuple):
        return ("tuple", tuple(meaning(item) for item in value))
    if isinstance(value, dt.datetime):
        return ("time", value.astimezone(dt.UTC) if value.tzinfo else value.replace(fold=0))
    return (type(value).__name__, value)


@given(KEYS, KEYS)
def test_two_keys_have_one_encoding_exactly_where_they_mean_the_same(one, other):
    try:
        same = meaning(one) == meaning(other)
    except OverflowError:  # a moment at the very edge has no UTC
        return
    assert (encode_key(one) == encode_key(other)) is same


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (1, b"i" + bytes(7) + b"\x01" + b"1"),
        ("é", b"s" + bytes(7) + b"\x02" + "é".encode()),
        ((1, "a"), b"t" + bytes(7) + b"\x14" + b"i" + bytes(7) + b"\x01" + b"1" + b"s" + bytes(7) + b"\x01" + b"a"),
        (True, b"b" + bytes(7) + b"\x01" + b"1"),
        (dt.date(1970, 1, 3), b"d" + bytes(7) + b"\x01" + b"2"),
        (dt.datetime(1970, 1, 1, 0, 0, 1), b"n" + bytes(7) + b"\x0a" + b"1000000000"),
    ],
)
def test_the_encoding_is_what_it_was(value, encoded):
    assert encode_key(value) == encoded


class Number(enum.IntEnum):
    SEVEN = 7


def test_one_value_from_several_libraries_is_one_key():
    day, time = dt.date(2020, 2, 29), dt.datetime(2020, 2, 29, 12, 30, 0, 5)
    alike = [
        [7, np.int8(7), np.uint64(7), Number.SEVEN],
        ["a", np.str_("a")],
        [b"a", np.bytes_(b"a")],
        [True, np.bool_(True)],
        [day, np.datetime64("2020-02-29")],
        [time, np.datetime64(time, "us"), np.datetime64(time, "ns")],
        [time.replace(tzinfo=dt.UTC), time.replace(hour=14, tzinfo=dt.timezone(dt.timedelta(hours=2)))],
    ]
    encodings = [{encode_key(value) for value in values} for values in alike]
    assert all(len(found) == 1 for found in encodings)


def test_values_that_only_look_alike_are_several_keys():
    values = [
        1, "1", b"1", True, (1,), ("1",), "01", "1 ", (), "", b"", ((),), ("a", "b"), ("ab",), (("a",), "b"),
        dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "2020-01-01",
        uuid.UUID(int=1), str(uuid.UUID(int=1)), "\u00e9", "e\u0301",
    ]  # fmt: skip
    for one, other in itertools.combinations(values, 2):
        assert encode_key(one) != encode_key(other), (one, other)


@pytest.mark.parametrize(
    "value",
    [None, 1.0, float("nan"), np.float32(1), np.datetime64("NaT"), np.datetime64("2020-01", "M"),
     np.timedelta64(1, "s"), dt.time(1), dt.timedelta(1), [1], {1}, {"a": 1}, object(), "\ud800", (1, None), 1j],
)  # fmt: skip
def test_what_is_no_stable_key_is_refused(value):
    with pytest.raises(UsageError):
        encode_key(value)


def test_a_float_and_a_missing_key_are_refused_with_what_to_do():
    with pytest.raises(UsageError, match="pandas turns whole numbers"):
        encode_key(3.0)
    with pytest.raises(UsageError, match="Drop such rows"):
        encode_key(None)


def test_columns_of_every_kind_hold_the_same_keys():
    numbers = [3, 1, 2**40]
    arrow = pa.array(numbers)
    kinds = [numbers, np.array(numbers), np.array(numbers, object), arrow, pa.chunked_array([arrow[:1], arrow[1:]]),
             arrow.dictionary_encode(), pa.array([9, *numbers])[1:], np.array([3, 0, 1, 0, 2**40])[::2]]  # fmt: skip
    assert len({tuple(map(encode_key, listed(kind))) for kind in kinds}) == 1


def test_times_in_columns_keep_their_nanoseconds_and_their_zone():
    moment = np.datetime64("2020-02-29T12:30:00.000000005", "ns")
    expected = encode_key(moment)
    assert [encode_key(key) for key in listed(np.array([moment]))] == [expected]
    assert [encode_key(key) for key in listed(pa.array([moment]))] == [expected]
    zoned = pa.array([moment]).cast(pa.timestamp("ns", "Europe/Berlin"))
    assert [encode_key(key) for key in listed(zoned)] != [expected]
    assert [encode_key(key) for key in listed(zoned)] == [
        encode_key(key) for key in listed(zoned.cast(pa.timestamp("ns", "UTC")))
    ]
    second = pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], pa.timestamp("s", "UTC"))
    assert encode_key(listed(second)[0]) == encode_key(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


@pytest.mark.parametrize("keys", [np.ones((2, 2), int), {1, 2}, {"a": 1}, iter([1])])
def test_what_has_no_order_or_several_axes_is_no_column(keys):
    with pytest.raises(UsageError):
        listed(keys)


@pytest.mark.parametrize("table", [pa.table({"k": [1, 2]}), pa.record_batch({"k": [1, 2]}), pa.table({})])
def test_a_table_is_no_column(table):
    with pytest.raises(UsageError, match="is no column") as refused:
        listed(table)
    assert "one of its columns" in str(refused.value.hint)
    assert listed(pa.chunked_array([], pa.int64())) == []


def test_what_only_lists_itself_like_arrow_is_no_column_of_keys():
    class Odd:
        def to_pylist(self):
            return [1]

    with pytest.raises(UsageError, match="Odd is no column of keys"):
        listed(Odd())
