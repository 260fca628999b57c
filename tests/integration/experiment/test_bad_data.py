"""Data that cannot be trained on: exit code 2, one sentence that names the thing, and nothing left behind."""

import pytest

pytestmark = pytest.mark.docker


def without_rows(lines):
    return lines[:1]


def one_symbol(lines):
    return [",".join(line.split(",")[0:3:2]) for line in lines]


def infinite(lines):
    return [*lines[:100], lines[100].rpartition(",")[0] + ",inf", *lines[101:]]


def word(lines):
    return [*lines[:100], lines[100].rpartition(",")[0] + ",high", *lines[101:]]


def repeated_date(lines):
    return [*lines, lines[100]]


def too_short(lines):
    return lines[:60]


def negative(lines):
    return [*lines[:100], lines[100].rpartition(",")[0] + ",-1.0", *lines[101:]]


def unsafe_symbol(lines):
    return [lines[0].replace("AAA", "../AAA"), *lines[1:]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without_rows, "no row"),
        (one_symbol, "one symbol"),
        (infinite, "inf"),
        (word, "high"),
        (repeated_date, "2020-04-09"),
        (too_short, "fwd_"),
        (negative, "-1"),
        (unsafe_symbol, "../AAA"),
    ],
)
def test_data_that_cannot_be_trained_on_is_named(shop, first, change, named, tmp_path):
    lines = (shop.folder / "panel.csv").read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join(change(lines)) + "\n")
    before = shop.left()
    finished = shop.run("--data-dir", tmp_path / "bad.csv", "--families", "ridge", "--quick")
    assert finished.code == 2
    assert named in finished.sentence, finished
    assert shop.left() == before


def test_gaps_and_unsorted_dates_are_no_fault(shop, first, tmp_path):
    lines = (shop.folder / "panel.csv").read_text().splitlines()
    gap = lines[100].rpartition(",")[0] + ","
    (tmp_path / "gaps.csv").write_text("\n".join([lines[0], *reversed([*lines[1:100], gap, *lines[101:]])]) + "\n")
    assert shop.run("--data-dir", tmp_path / "gaps.csv", "--families", "ridge", "--quick").code == 0
