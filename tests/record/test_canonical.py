import enum
import json
import math
import struct

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.record.canonical import canonical_json

# RFC 8785, section 3.2.3: keys sort by their UTF-16 code units, not by code point.
SORTED_IN_RFC_8785 = [
    "\r",
    "1",
    "\u0080",
    "\u00f6",
    "\u20ac",
    "\U0001f600",
    "\ufb33",
]
SHUFFLED_IN_RFC_8785 = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]

texts = st.text() | st.builds("".join, st.lists(st.sampled_from(["float:", "int:", "text:", "0x1.0p+0", "1", "a"])))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


def typed(value: object) -> object:
    """A value in which equality means equality of type, bits and sign."""
    match value:
        case bool() | None | str() | int():
            return (type(value).__name__, value)
        case float():
            return ("float", struct.pack("<d", value))
        case list():
            return ("list", [typed(item) for item in value])
        case dict():
            return ("dict", {key: typed(item) for key, item in value.items()})
    raise AssertionError(value)


def test_keys_sort_as_in_the_example_of_the_rfc() -> None:
    written = canonical_json(dict.fromkeys(SHUFFLED_IN_RFC_8785))
    assert list(json.loads(written)) == SORTED_IN_RFC_8785
    assert sorted(SHUFFLED_IN_RFC_8785) != SORTED_IN_RFC_8785


def test_text_and_literals_are_written_as_in_the_example_of_the_rfc() -> None:
    # RFC 8785, section 3.2.2, without its floats, which are written exactly here.
    value = {"string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f", "literals": [None, True, False]}
    expected = '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert canonical_json(value) == expected.encode()


def test_without_numbers_beyond_json_it_is_plain_rfc_8785() -> None:
    value = {"b": [1, -7, 2**53 - 1], "a": {"é": "é", "": None}}
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, '"float:0x1.0000000000000p+0"'),
        (-0.0, '"float:-0x0.0p+0"'),
        (0.1, '"float:0x1.999999999999ap-4"'),
        (5e-324, '"float:0x0.0000000000001p-1022"'),
        (math.nan, '"float:nan"'),
        (math.inf, '"float:inf"'),
        (-math.inf, '"float:-inf"'),
        (1, "1"),
        (2**53 - 1, "9007199254740991"),
        (2**53, '"int:9007199254740992"'),
        (-(2**70), '"int:-1180591620717411303424"'),
        ("float:inf", '"text:float:inf"'),
        ("text:", '"text:text:"'),
        ("floating", '"floating"'),
    ],
)
def test_numbers_are_written_exactly(value: object, text: str) -> None:
    assert canonical_json(value) == text.encode()


@given(values, values)
def test_only_equal_values_have_equal_bytes(one: object, other: object) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (typed(one) == typed(other))


@given(st.floats(allow_nan=False))
def test_a_float_never_looks_like_its_own_text(number: float) -> None:
    assert canonical_json(number) not in (canonical_json(number.hex()), canonical_json(f"float:{number.hex()}"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_next_float_has_other_bytes(number: float) -> None:
    assert canonical_json(number) != canonical_json(math.nextafter(number, math.inf))


@given(values)
def test_the_bytes_are_json_that_reads_back_to_the_same_bytes(value: object) -> None:
    parsed = json.loads(canonical_json(value))
    assert rfc8785.dumps(parsed) == canonical_json(value)


def test_a_list_keeps_its_order() -> None:
    assert canonical_json([2, 1]) != canonical_json([1, 2])


def test_a_struct_is_its_fields_and_an_enum_its_value() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    class Inner(msgspec.Struct, rename={"kind": "type"}):
        kind: Colour
        size: float

    assert canonical_json(Inner(Colour.RED, 1.5)) == canonical_json({"type": "red", "size": 1.5})
    assert canonical_json({Colour.RED: 1}) == canonical_json({"red": 1})


def test_a_field_that_is_unset_is_not_there_and_one_that_is_null_is() -> None:
    class Lock(msgspec.Struct):
        name: str
        base: str | msgspec.UnsetType | None = msgspec.UNSET

    assert canonical_json(Lock("cpu")) == canonical_json({"name": "cpu"})
    assert canonical_json(Lock("cpu", None)) == canonical_json({"name": "cpu", "base": None})
    assert canonical_json(Lock("cpu", "oci")) != canonical_json(Lock("cpu"))


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", {1: "a"}, {None: 1}, object(), {"a": {3.5: 1}}, 1j])
def test_what_has_no_order_or_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        canonical_json(value)


def test_a_tagged_struct_is_refused_because_its_tag_would_be_lost() -> None:
    class Tagged(msgspec.Struct, tag=True):
        x: int

    with pytest.raises(TypeError, match="Tagged"):
        canonical_json(Tagged(1))


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}])
def test_half_a_surrogate_pair_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        canonical_json(value)
