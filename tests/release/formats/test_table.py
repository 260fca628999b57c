from collections.abc import Callable

import msgspec
import pytest

from harness.release.formats.table import TableFormat
from harness.release.report import Answer, DriftReport, Severity


def render(report: DriftReport, width: int = 160) -> str:
    return TableFormat(width=width).render(report)


def test_the_three_answers_come_first_and_apart(sample: DriftReport) -> None:
    lines = [line.strip() for line in render(sample).splitlines()]
    start = lines.index("cpu")
    assert lines[start + 1] == "environment  The environment changed: 3 changes, 1 failing, 1 waived."
    assert lines[start + 2] == "numbers      The numbers changed: 3 probe kernels and 1 of 2 golden cells."
    assert lines[start + 3] == "not tested   Nothing was left untested."
    start = lines.index("cuda")
    assert lines[start + 1] == "environment  The environment did not change."
    assert lines[start + 2] == "numbers      Whether the numbers changed was not tested."
    assert lines[start + 3] == "not tested   Not tested: probe, golden runs."
    assert "probe: not tested, because this machine has no GPU" in lines


def test_changes_are_grouped_by_layer_with_what_followed_from_them(sample: DriftReport) -> None:
    text = render(sample)
    assert text.index("\n  hardware\n") < text.index("\n  os-package\n") < text.index("\n  wheel\n")
    assert "numpy  upgraded    1.26.4 → 2.4.6  severity major  numbers changed  fails" in text
    assert "lockfiles/cpu/python.txt:12" in text
    assert "and with it: lock python.txt" in text
    assert "and with these together: image manifest" in text
    assert "waived by libc-point-release" in text


def test_probe_kernels_are_collapsed_by_library(sample: DriftReport) -> None:
    text = render(sample)
    assert "numpy: 3 of 63 kernels" in text
    assert "changed with it: 2 kernels of numpy" in text
    assert "numpy/exp64" not in text


def test_golden_cells_say_how_far_the_numbers_moved(sample: DriftReport) -> None:
    text = render(sample)
    assert "2 golden cells: 1 changed, 1 unchanged." in text
    assert "ic 0.0412 → 0.0398 (-0.0014)" in text
    assert "4,210 of 5,000 predictions differ, largest by 0.003, root mean square 0.0004" in text
    assert "1 comparison group of the baseline expired: 2 stored runs cannot be compared" in text


def test_waivers_and_what_to_do_next_are_said(sample: DriftReport) -> None:
    text = render(sample)
    assert "old-blas            expired" in text
    assert text.rstrip().endswith("see docs/drift.md.")


def test_a_green_report_shows_no_failure(green: DriftReport) -> None:
    text = render(green)
    assert "No drift." in text
    assert "The environment did not change." in text
    assert "The numbers did not change (tested by the probe of numpy and golden)." in text
    assert "fails" not in text
    assert "failing" not in text


def test_what_was_not_tested_is_never_a_pass(untested: DriftReport) -> None:
    text = render(untested)
    assert "not all was tested: this is not a pass" in text
    assert "No drift.\n" not in text


def test_a_golden_change_without_a_cell_is_shown_all_the_same(sample: DriftReport) -> None:
    drift = msgspec.structs.replace(sample.environments[0], golden=())
    text = render(msgspec.structs.replace(sample, environments=(drift,)))
    assert "golden.yaml/fwd_ret_5d/CROSS_SECTIONAL/all/lightgbm  changed" in text


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_line_is_wider_than_the_terminal(width: int, sample: DriftReport, hostile: DriftReport) -> None:
    for report in (sample, hostile):
        assert max(len(line) for line in render(report, width).splitlines()) <= width


def test_hostile_texts_stay_texts(hostile: DriftReport) -> None:
    text = TableFormat(width=400, color=True).render(hostile)
    assert "\x1b[31m\\n" not in text
    assert "[red]" in text
    assert not {"\0", "\r", "\u202e"} & set(text)
    plain = TableFormat(width=400).render(hostile)
    assert "\x1b" not in plain
    assert all(line.isprintable() for line in plain.splitlines())


def test_kernels_of_another_severity_have_a_row_of_their_own(sample: DriftReport) -> None:
    drift = sample.environments[0]
    changes = tuple(
        msgspec.structs.replace(change, severity=Severity.NONE) if change.path == "numpy/svd64" else change
        for change in drift.changes
    )
    text = render(msgspec.structs.replace(sample, environments=(msgspec.structs.replace(drift, changes=changes),)))
    assert "numpy: 2 of 63 kernels" in text
    assert "numpy: 1 of 63 kernels" in text


def test_an_answer_that_was_not_given_is_not_read_as_unchanged(green: DriftReport) -> None:
    drift = msgspec.structs.replace(green.environments[0], environment=Answer.NOT_TESTED)
    text = render(msgspec.structs.replace(green, environments=(drift,)))
    assert "Whether the environment changed was not tested." in text
    assert "The environment did not change." not in text


def test_many_changes_are_all_there(many: Callable[[int], DriftReport]) -> None:
    assert render(many(200)).count("1 → 2") == 200
