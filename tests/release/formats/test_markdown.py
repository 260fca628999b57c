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


def head(report: DriftReport) -> str:
    return render(report).splitlines()[0]


def test_the_first_line_is_the_same_for_the_same_baseline_and_environments(sample: DriftReport) -> None:
    assert head(sample) == "<!-- harness-drift baseline=v1.2 environments=cpu,cuda -->"
    other_order = msgspec.structs.replace(sample, environments=sample.environments[::-1], exit_code=0, waivers=())
    assert head(other_order) == head(sample)
    assert head(msgspec.structs.replace(sample, baseline="v1.3")) == head(sample).replace("v1.2", "v1.3")


def test_checks_of_other_environments_or_candidates_do_not_overwrite_each_other(
    sample: DriftReport, green: DriftReport, crossed: DriftReport, rehearsal: DriftReport, untested: DriftReport
) -> None:
    heads = [head(report) for report in (sample, green, crossed, rehearsal, untested)]
    assert len(set(heads)) == 5
    assert heads[1:3] == [
        "<!-- harness-drift baseline=v1.2 environments=cpu -->",
        "<!-- harness-drift baseline=v1.2 environments=cpu:cpu-prev -->",
    ]
    assert heads[3].startswith("<!-- harness-rehearsal ")


@pytest.mark.parametrize("name", ["a-->b", "a--b", "a\nb", "<x>", "a b", "a---b"])
def test_no_name_ends_the_marker(name: str, green: DriftReport) -> None:
    drift = msgspec.structs.replace(green.environments[0], candidate=name)
    line = marker(msgspec.structs.replace(green, baseline=name, environments=(drift,)))
    assert re.fullmatch(
        r"<!-- harness-drift baseline=(?:(?!--)[\w.%+~-])+ environments=cpu:(?:(?!--)[\w.%~-])+ -->", line
    )
    assert line != marker(msgspec.structs.replace(green, baseline="ab"))


def test_a_candidate_of_another_name_is_named(crossed: DriftReport, sample: DriftReport) -> None:
    text = seen(crossed)
    assert "Drift in cpu (candidate cpu-prev)" in text
    assert "cpu (candidate cpu-prev): what is behind it" in text
    assert "candidate" not in seen(sample)


def test_a_rehearsal_asks_no_one_to_waive_and_fails_no_change(rehearsal: DriftReport, harmless: DriftReport) -> None:
    for report in (rehearsal, harmless):
        text = seen(report)
        assert not re.search(r"\bfail|waive|[Uu]ndo|new baseline|baseline expired|against baseline", text)
        assert "comes with the upgrade" in text
    assert "**Numbers would change in cpu with numpy==2.4.6.**" in render(rehearsal)
    assert "**to be decided on**" in render(rehearsal)
    assert "**No number would change.**" in render(harmless)
    assert "to be decided on" not in render(harmless)


def test_what_no_probe_looks_at_and_what_the_baseline_lacks_is_said(green: DriftReport) -> None:
    drift = msgspec.structs.replace(green.environments[0], unprobed=("pandas",))
    text = seen(msgspec.structs.replace(green, environments=(drift,), unbaselined=("cuda", "new")))
    assert "No probe looks at pandas: golden runs alone can." in text
    assert "Nothing is said of cuda, new: the baseline does not have them." in text
    assert "No probe" not in seen(green)
    assert "Nothing is said" not in seen(green)


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
