import re
from html.parser import HTMLParser

import pytest

from harness.release.formats.html import HtmlFormat
from harness.release.report import DriftReport

VOID = {"meta", "br"}


class Page(HTMLParser):
    """A strict reader: every element is closed in order, and all text is kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def page(report: DriftReport) -> Page:
    return Page(HtmlFormat().render(report))


def test_the_reader_itself_refuses_what_is_not_closed() -> None:
    with pytest.raises(AssertionError):
        Page("<p><b>x</p>")


def test_the_three_answers_come_first_for_every_environment(sample: DriftReport) -> None:
    text = page(sample).text
    for sentence in (
        "The environment changed: 3 changes, 1 failing, 1 waived.",
        "The numbers changed: 3 probe kernels and 1 of 2 golden cells.",
        "Nothing was left untested.",
        "The environment did not change.",
        "Whether the numbers changed was not tested.",
        "Not tested: probe, golden runs.",
    ):
        assert sentence in text
    assert text.index("The environment changed") < text.index("1.26.4")
    assert "this machine has no GPU" in text


def test_changes_golden_cells_groups_and_waivers_are_there(sample: DriftReport) -> None:
    text = page(sample).text
    for words in ("numpy: 3 of 63 kernels", "and with it: lock python.txt", "ic 0.0412 → 0.0398", "old-blas", "run_1"):
        assert words in text


def test_a_green_page_shows_no_failure_and_a_red_one_does(green: DriftReport, sample: DriftReport) -> None:
    body = HtmlFormat().render(green).partition("<body>")[2]
    assert "No drift." in body
    assert 'class="bad"' not in body
    assert 'verdict bad"' not in body
    red = HtmlFormat().render(sample).partition("<body>")[2]
    assert 'verdict bad"' in red
    assert ">fails<" in red


def test_what_was_not_tested_is_not_shown_as_good(untested: DriftReport) -> None:
    body = HtmlFormat().render(untested).partition("<body>")[2]
    assert 'verdict bad"' in body
    assert '<dd class="open">Whether the numbers changed was not tested.</dd>' in body


def test_hostile_texts_stay_texts(hostile: DriftReport, sample: DriftReport) -> None:
    read = page(hostile)
    assert set(read.tags) == set(page(sample).tags)
    assert {name for name, _ in read.attributes} == {name for name, _ in page(sample).attributes}
    assert "<script>alert(1)</script>|`a`[red]\\x1b[31m\\n</td>" in read.text
    assert not {"\0", "\x1b", "\r", "\u202e"} & set(HtmlFormat().render(hostile))


def test_the_page_needs_nothing_from_anywhere(sample: DriftReport) -> None:
    text = HtmlFormat().render(sample)
    read = page(sample)
    assert "script" not in read.tags
    assert not {"link", "img", "iframe", "object"} & set(read.tags)
    assert not {"src", "href", "srcset", "onload"} & {name for name, _ in read.attributes}
    assert not re.search(r"url\(|@import|https?:", text)


def test_the_page_prints_and_has_a_dark_side(sample: DriftReport) -> None:
    text = HtmlFormat().render(sample)
    assert "@media print" in text
    assert "prefers-color-scheme: dark" in text
    assert text.startswith("<!DOCTYPE html>")
