import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.spec.names import MAX_LENGTH, check_name, check_names


@pytest.mark.parametrize("name", ["AAPL", "BRK.B", "^GSPC", "BF-B", "EURUSD=X", "fwd_ret_10d", "1", "CONX", "a" * 100])
def test_real_tickers_and_names_are_allowed(name: str) -> None:
    assert check_name(name, "symbol") == name


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("", "is empty"),
        ("a/b", "U+002F SOLIDUS"),
        ("a\\b", "U+005C REVERSE SOLIDUS"),
        ("..", "starts with '.'"),
        ("a..b", "'..'"),
        (".hidden", "starts with '.'"),
        ("-rf", "starts with '-'"),
        ("a.", "ends with a dot"),
        ("a b", "U+0020 SPACE"),
        ("a\nb", "U+000A a control character (character 2)"),
        ("a\x00", "U+0000"),
        ("\x1b[31m", "U+001B"),
        ("a:b", "U+003A COLON"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\u0410APL", "U+0410 CYRILLIC CAPITAL LETTER A (character 1)"),
        ("\uff21APL", "U+FF21 FULLWIDTH LATIN CAPITAL LETTER A"),
        ("e\u0301", "U+0301 COMBINING ACUTE ACCENT"),
        ("a\u0661", "U+0661"),
        ("\ud800", "U+D800"),
        ("CON", "device's name"),
        ("nul.csv", "device's name"),
        ("Lpt9", "device's name"),
        ("a" * (MAX_LENGTH + 1), "has 101 characters"),
    ],
)
def test_a_name_that_is_not_safe_in_a_path_is_refused_by_code_point(name: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(name, "symbol")
    assert part in caught.value.message
    assert "symbol" in caught.value.message
    assert caught.value.message.isascii()


@given(st.text(max_size=200))
def test_whatever_is_allowed_is_one_plain_part_of_a_path(text: str) -> None:
    try:
        name = check_name(text, "symbol")
    except UsageError:
        return
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>| ')
    assert name not in (".", "..")


def test_names_that_differ_in_case_alone_or_not_at_all_are_refused() -> None:
    assert check_names(["b", "a"], "symbol") == ("b", "a")
    with pytest.raises(UsageError, match="symbols Ab and aB differ in case alone"):
        check_names(["Ab", "c", "aB"], "symbol")
    with pytest.raises(UsageError, match="symbol c is given twice"):
        check_names(["c", "a", "c"], "symbol")
