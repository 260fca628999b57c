import json
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import IntegrityError, UsageError
from harness.record.jsonfile import pretty_json, read_document


class Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    number: float


def test_documents_are_indented_sorted_and_end_with_a_newline() -> None:
    assert pretty_json({"b": [1.5], "a": "é"}) == '{\n  "a": "é",\n  "b": [\n    1.5\n  ]\n}\n'.encode()


def test_the_order_of_insertion_does_not_count() -> None:
    assert pretty_json({"b": 1, "a": {"d": 1, "c": 2}}) == pretty_json({"a": {"c": 2, "d": 1}, "b": 1})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_to_the_last_bit(number: float) -> None:
    back = json.loads(pretty_json([number]))[0]
    assert back.hex() == number.hex()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_json_cannot_hold_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        pretty_json({"a": number})


def test_a_document_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(pretty_json(Document("x/1", 1.0)))
    assert read_document(path, Document, "x/1") == Document("x/1", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": 1, "number": 1}',
        '{"schema": "x/1"}',
        '{"schema": "x/1", "number": "1"}',
        '{"schema": "x/1", "number": 1, "more": 1}',
        '{"schema": "y/1", "number": 1}',
        '{"schema": "x/1", "number": 1} x',
    ],
)
def test_a_document_that_is_not_what_it_should_be_is_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(IntegrityError, match=r"a\.json"):
        read_document(path, Document, "x/1")


def test_bytes_that_are_no_text_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"schema": "x/\xff", "number": 1}')
    with pytest.raises(IntegrityError, match=r"a\.json"):
        read_document(path, Document, "x/1")


def test_a_later_version_and_a_missing_file_are_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(UsageError, match="cannot be read"):
        read_document(path, Document, "x/1")
    path.write_text('{"schema": "x/2", "other": 1}')
    with pytest.raises(UsageError, match="x/2"):
        read_document(path, Document, "x/1")


def test_nesting_beyond_all_measure_is_damage_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"schema": "document/1", "number": 1.0, "more": ' + "[" * 100_000)
    with pytest.raises(IntegrityError, match="damaged"):
        read_document(path, Document, "document/1")
