from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.spec.documents import MAX_BYTES, key_path, load_document, parse_document, suggestion
from harness.spec.experiment import Data, Layout


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int = 1
    rate: float = 0.5
    enabled: bool = True
    layout: Layout = Layout.WIDE
    names: tuple[str, ...] = ()


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    inner: Inner = Inner()
    maybe: Inner | None = None
    many: dict[str, Inner] = {}
    rows: list[Inner] = []


def parse(text: str, kind: Any = Outer) -> Any:
    return parse_document(text, kind, "x.yaml")


def refusal(text: str, kind: Any = Outer) -> str:
    with pytest.raises(UsageError) as caught:
        parse(text, kind)
    return str(caught.value)


def test_a_document_becomes_a_typed_value() -> None:
    text = "name: a\ninner: {count: 2, rate: 1e-3, enabled: false, layout: long, names: [x]}\n"
    assert parse(text) == Outer("a", Inner(2, 0.001, False, Layout.LONG, ("x",)))


def test_scalars_follow_the_core_schema_and_not_yaml_1_1() -> None:
    text = "[NO, yes, 1990-01-01, 12:30, 1_000, 012, 0o17, 0x1F, 1e3, +1., .5, ~, '1', True, -.inf]"
    expected = ["NO", "yes", "1990-01-01", "12:30", "1_000", 12, 15, 31, 1000.0, 1.0, 0.5, None, "1", True]
    assert parse(f"a: {text}", dict[str, Any])["a"] == [*expected, -float("inf")]


def test_dates_and_tickers_stay_text() -> None:
    assert parse("start: 1990-01-01\nsymbols: [NO, ON, Y]", Data) == Data(start="1990-01-01", symbols=("NO", "ON", "Y"))


@given(
    st.dictionaries(st.text("abcxyz_", min_size=1, max_size=8), st.integers() | st.booleans() | st.none(), min_size=1)
)
def test_json_is_read_as_what_it_says(value: dict[str, Any]) -> None:
    assert parse(msgspec.json.encode(value).decode(), dict[str, Any]) == value


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("inner: {}", ["x.yaml, line 1", "name is missing"]),
        ("name: a\ninner:\n  cuont: 3", ["line 3", "inner.cuont is not a known key", "Did you mean count?"]),
        ("name: a\nINNER: {}", ["line 2", "INNER is not a known key", "Did you mean inner?"]),
        ("name: a\nname: b", ["line 2", "name is given twice, first in line 1"]),
        ("name: a\ninner:\n  count: 1\n  count: 1", ["line 4", "inner.count is given twice, first in line 3"]),
        ("name: a\ninner:\n  count: three", ["line 3", "inner.count is the text 'three'", "expected int"]),
        ("name: a\ninner: {enabled: yes}", ["inner.enabled", "Write true or false"]),
        ("name: 0700", ["name is the number 700", "Put it in quotes"]),
        ("name: a\ninner: {layout: lnog}", ["inner.layout", "Did you mean long?"]),
        ("name: a\ninner: {names: x}", ["inner.names is the text 'x'", "Write a list"]),
        ("name: a\ninner: [1]", ["inner is a list", "expected a mapping"]),
        ("name: a\ninner:", ["inner is null"]),
        ("name: a\nmaybe: {cuont: 1}", ["maybe.cuont is not a known key", "Did you mean count?"]),
        ("name: a\nmany:\n  x: {}\n  y: {count: z}", ["line 4", "many.y.count"]),
        ("name: a\nmany:\n  'a b': {cuont: z}", ["many.'a b'.cuont"]),
        ("name: a\nrows: [{}, {count: z}]", ["rows[1].count"]),
        ("name: a\ninner: {names: [a, 1]}", ["inner.names[1] is the number 1"]),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key_path(text: str, parts: list[str]) -> None:
    message = refusal(text)
    assert all(part in message for part in ["x.yaml", *parts]), message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n- b", "holds a list where a mapping is expected"),
        ("just text", "holds a single value where a mapping is expected"),
        ("a: b: c", "line 1: not valid YAML"),
        ("a: 'x", "not valid YAML"),
        ("a: 1\n\tb: 2", "line 2: not valid YAML"),
        ("a: *nowhere", "undefined alias"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: \x07", "U+0007"),
        ("1: a", "not text"),
        ("true: a", "not text"),
        ("? [a]\n: b", "not text"),
        ("<<: {a: 1}", "merge key"),
        ("a: !!python/object/apply:os.system [ls]", "not supported"),
        ("a: !!binary aGk=", "not supported"),
        ("a: !mine x", "not supported"),
        ("a: 1e999", "1e999"),
        ("a: " + "9" * 5000, "is not a number"),
        ("a: &a [*a]", "alias of what it stands in"),
        ("[" * 500, "nested more than"),
        ("{a: " * 500, "nested more than"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused(text: str, part: str) -> None:
    assert part in refusal(text, dict[str, Any])


def test_a_key_in_quotes_is_text_whatever_it_looks_like() -> None:
    assert parse("'<<': a\n\"<<<\": b", dict[str, Any]) == {"<<": "a", "<<<": "b"}


def test_nesting_within_the_limit_and_repeated_aliases_are_read() -> None:
    assert parse("a: " + "[" * 30 + "]" * 30, dict[str, Any])["a"] != []
    assert parse("a: &x {k: 1}\nb: *x\nc: *x", dict[str, Any]) == {"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1}}


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "Aliases may repeat too much" in refusal("\n".join(lines), dict[str, Any])


def test_a_file_is_read_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for data in (b"name: \xc3\xa9", b"\xef\xbb\xbfname: \xc3\xa9", b"name: \xc3\xa9\r\n"):
        path.write_bytes(data)
        assert load_document(path, Outer).name == "é"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"name: a\nb: \xff\xfe")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    for path, part in [(bad, "line 2: not UTF-8"), (large, "larger than"), (tmp_path, "not a file")]:
        with pytest.raises(UsageError, match=part) as caught:
            load_document(path, Outer)
        assert str(path) in caught.value.message
    with pytest.raises(UsageError, match=r"missing\.yaml cannot be read"):
        load_document(tmp_path / "missing.yaml", Outer)


def test_key_paths_are_written_as_a_user_writes_them() -> None:
    assert key_path(("a", 0, "b-c", "d e")) == "a[0].b-c.'d e'"


def test_a_suggestion_is_made_for_near_words_alone() -> None:
    assert suggestion("lihgtgbm", ["lightgbm", "xgboost"]).startswith("Did you mean lightgbm?")
    assert "Did you mean" not in suggestion("zzz", ["lightgbm", "xgboost"])
    assert suggestion("a", []) == "There is none."
