from collections.abc import Callable

import msgspec
import pytest

from harness.release.formats.sentences import advice, verdict
from harness.release.formats.view import view
from harness.release.numbers import probed
from harness.release.report import Answer, DriftReport
from harness.release.state import EnvironmentState


def test_a_number_that_moved_fails_though_its_cause_is_waived(waived: DriftReport) -> None:
    page = view(waived)
    rows = {row.path: row for layer in page.environments[0].layers for row in layer.rows}
    assert rows["numpy"].status == "waived by upgrade"
    assert rows["numpy: 3 of 63 kernels"].status == "fails"
    assert "because of wheel numpy" in rows["numpy: 3 of 63 kernels"].details
    assert page.environments[0].cells[0].status == "fails"
    assert verdict(waived) == "Drift in cpu."
    assert advice(waived).startswith("Undo each change that fails")


def test_what_is_waived_whole_fails_nothing(sample: DriftReport) -> None:
    drift = sample.environments[0]
    changes = tuple(msgspec.structs.replace(change, waived_by="all") for change in drift.changes)
    page = view(msgspec.structs.replace(sample, environments=(msgspec.structs.replace(drift, changes=changes),)))
    assert not any(row.fails for layer in page.environments[0].layers for row in layer.rows)
    assert not any(cell.fails for cell in page.environments[0].cells)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "No drift that fails: every change is waived, or harmless by the rules."),
        (1, "Drift in cpu, and 1 waiver does not hold."),
        (2, "could not be finished"),
        (3, "not all was tested: this is not a pass"),
        (4, "nothing here can be relied on"),
    ],
)
def test_the_verdict_says_what_the_exit_code_means(code: int, words: str, sample: DriftReport) -> None:
    report = msgspec.structs.replace(sample, exit_code=code)
    assert words in verdict(report)
    assert view(report).ok is (code == 0)


def test_only_where_nothing_changed_there_is_no_drift_at_all(green: DriftReport) -> None:
    assert verdict(green) == "No drift."
    assert advice(green) == "Nothing to do."


def test_waivers_that_do_not_hold_have_an_advice_of_their_own(sample: DriftReport, green: DriftReport) -> None:
    report = msgspec.structs.replace(green, waivers=sample.waivers, exit_code=1)
    assert verdict(report) == "No drift that is not waived, but 1 waiver does not hold."
    assert advice(report).startswith("Renew or remove the waivers")


def test_numbers_that_changed_without_a_name_are_drift(green: DriftReport) -> None:
    drift = msgspec.structs.replace(green.environments[0], numbers=Answer.CHANGED)
    assert verdict(msgspec.structs.replace(green, environments=(drift,), exit_code=1)) == "Drift in cpu."


def test_kernels_are_counted_by_library(state: Callable[..., EnvironmentState]) -> None:
    before = state()
    assert probed(before, before)["numpy"] == 7
    assert probed(before, state(survey=None, unsurveyed="no GPU")) == {}
