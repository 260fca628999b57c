import html
import re
from collections.abc import Callable

import msgspec
import pytest
from markdown_it import MarkdownIt

from harness.release.formats.markdown import LONGEST_COMMENT, MarkdownFormat, code, marker, prose
from harness.release.report import DriftReport


def render(report: DriftReport) -> str:
    return MarkdownFormat().render(report)


def seen(report: DriftReport) -> str:
    """The text that a reader sees of the rendered comment."""
    page = MarkdownIt("commonmark").enable("table").render(render(report))
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_the_first_line_is_the_same_for_the_same_baseline(sample: DriftReport, green: DriftReport) -> None:
    assert render(sample).splitlines()[0] == render(green).splitlines()[0] == "<!-- harness-drift baseline=v1.2 -->"
    other = msgspec.structs.replace(sample, baseline="v1.3")
    assert render(other).splitlines()[0] == "<!-- harness-drift baseline=v1.3 -->"


@pytest.mark.parametrize("baseline", ["a-->b", "a--b", "a\nb", "<x>", "a b"])
def test_no_name_of_a_baseline_ends_the_marker(baseline: str) -> None:
    line = marker(baseline)
    assert re.fullmatch(r"<!-- harness-drift baseline=(?:(?!--)[\w.%+~-])+ -->", line)
    assert line != marker("ab")


def test_the_three_answers_are_in_sight(sample: DriftReport, green: DriftReport) -> None:
    before_details = render(sample).split("<details>")[0]
    assert "| Environment | Environment changed? | Numbers changed? | Not tested |" in before_details
    assert "| <code>cpu</code> | changed | changed | nothing |" in before_details
    assert "| <code>cuda</code> | unchanged | not tested | probe, golden runs |" in before_details
    assert "| <code>cpu</code> | unchanged | unchanged | nothing |" in render(green)


def test_failures_are_said_and_only_where_there_are_any(sample: DriftReport, green: DriftReport) -> None:
    assert "**fails**" in render(sample)
    assert "Drift in cpu" in render(sample)
    assert "fails" not in render(green)
    assert "**No drift.**" in render(green)


def test_details_fold_away_and_tables_are_whole(sample: DriftReport, hostile: DriftReport) -> None:
    for report in (sample, hostile):
        text = render(report)
        assert text.count("<details>") == text.count("</details>") == 3
        columns = 0
        for line in text.splitlines():
            found = line.count(" | ") + line.count("|  |")
            if line.startswith("| --- "):
                columns = line.count("|")
            elif line.startswith("| ") and columns:
                assert line.count("|") == columns, (line, found)
            elif not line:
                columns = 0


def test_hostile_texts_stay_texts(hostile: DriftReport) -> None:
    text = render(hostile)
    assert "<script" not in text
    assert "</td>" not in text
    assert "\x1b" not in text
    assert "`" not in text
    page = MarkdownIt("commonmark").enable("table").render(text)
    assert "<script" not in page
    tags = set(re.findall(r"<(/?\w+)", page))
    assert {tag.lstrip("/") for tag in tags} <= {
        *("code", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "p", "h3", "strong", "br")
    }
    assert "<script>alert(1)</script>|`a`[red]\\x1b[31m\\n" in seen(hostile)


def test_nobody_is_notified_and_nothing_is_linked() -> None:
    text = prose("@someone #12 https://example.org www.example.org ![x](y) *b* _i_ ~~s~~")
    assert not re.search(r"@\w|#\d+ |://|www\.|!\[|\*|_|~", text)
    assert html.unescape(text).replace("\u200b", "").startswith("@someone #12 https://example.org www.example.org")
    assert code("") == ""


@pytest.mark.parametrize("amount", [10, 300, 1500])
def test_a_comment_is_never_longer_than_github_takes(amount: int, many: Callable[[int], DriftReport]) -> None:
    text = render(many(amount))
    assert len(text) <= LONGEST_COMMENT
    assert ("This comment is shortened to fit" in text) is (amount > 10)
    if amount > 10:
        left_out = re.search(r"shortened to fit: ([\d,]+) lines left out", text)
        assert left_out is not None
        shown = text.count("package-")
        assert shown + int(left_out[1].replace(",", "")) == amount
        assert "The whole report is in the check's other formats" in text
        assert text.count("<details>") == text.count("</details>")


def test_more_environments_than_fit_leave_the_answer(sample: DriftReport) -> None:
    environments = tuple(
        msgspec.structs.replace(sample.environments[1], name=f"environment-{index}" * 20) for index in range(300)
    )
    text = render(msgspec.structs.replace(sample, environments=environments))
    assert len(text) <= LONGEST_COMMENT
    assert "shortened to fit" in text
    assert "does not hold" in text
