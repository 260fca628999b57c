import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from harness.release.formats.text import LONGEST, count, listed, number, shown, visible


def test_what_cannot_be_seen_is_written_as_its_escape() -> None:
    assert visible("a\nb\x1b[31m\0\u202e\u2028\ufeff\U000e0001\x85") == (
        "a\\nb\\x1b[31m\\x00\\u202e\\u2028\\ufeff\\U000e0001\\x85"
    )


def test_what_can_be_seen_stays() -> None:
    text = "1.26.4 → 2.4.6, größer, 日本, <b>|`[red]"
    assert visible(text) == text


@given(st.text())
def test_visible_text_is_one_line_that_xml_can_hold(text: str) -> None:
    assert all(each.isprintable() or unicodedata.category(each) == "Zs" for each in visible(text))


def test_long_texts_and_digests_are_shortened_for_people() -> None:
    assert shown("sha256:" + "ab" * 32) == "abababababab"
    assert shown("x" * 1000) == "x" * LONGEST + "…"


def test_words_for_amounts() -> None:
    assert (count(1, "change"), count(2000, "change")) == ("1 change", "2,000 changes")
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert (number(None), number(0.1 + 0.2)) == ("-", "0.3")
