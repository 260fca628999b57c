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
        (3, "not all was tested: this is not a pass"),
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


@pytest.mark.parametrize(
    ("code", "words", "next_words"),
    [
        (0, "No number would change.", "Nothing that was looked at speaks against it"),
        (1, "Numbers would change in cpu with numpy==2.4.6.", "Decide whether these numbers may move"),
        (3, "could not be told in full: this is no consent.", "Try what could not be tried"),
    ],
)
def test_a_rehearsal_has_words_of_its_own(code: int, words: str, next_words: str, rehearsal: DriftReport) -> None:
    report = msgspec.structs.replace(rehearsal, exit_code=code)
    assert words in verdict(report)
    assert advice(report).startswith(next_words)
    page = view(report)
    assert page.title == "hermetic-training-harness: an upgrade against the locks as they are"
    assert page.environments[0].environment.sentence == "The environment would change: 3 changes."
    assert page.environments[0].numbers.sentence.startswith("The numbers would change: 3 probe kernels and 1 of 2")
    assert "1 comparison group would end: 2 stored runs could not be compared" in page.environments[0].expired


def test_a_rehearsal_of_nothing_says_so(rehearsal: DriftReport) -> None:
    report = msgspec.structs.replace(rehearsal, environments=(), exit_code=0)
    assert (verdict(report), advice(report)) == ("Nothing would change.", "Nothing to decide.")


def test_in_a_rehearsal_only_numbers_count(rehearsal: DriftReport, sample: DriftReport) -> None:
    def failing(report: DriftReport) -> set[str]:
        layers = view(report).environments[0].layers
        return {layer.name for layer in layers for row in layer.rows if row.fails}

    assert failing(rehearsal) == {"probe"}
    assert failing(sample) == {"wheel", "probe"}
    assert view(rehearsal).environments[0].cells[0].fails


def test_numbers_that_would_change_without_a_name_are_said_too(harmless: DriftReport) -> None:
    drift = msgspec.structs.replace(harmless.environments[0], numbers=Answer.CHANGED)
    report = msgspec.structs.replace(harmless, environments=(drift,), exit_code=1)
    assert verdict(report) == "Numbers would change in cpu with numpy==2.4.6."


def test_what_expires_is_named_and_where(sample: DriftReport, crossed: DriftReport) -> None:
    path = "golden.yaml/fwd_ret_5d/CROSS_SECTIONAL/all/lightgbm"
    assert view(sample).environments[0].expired == (
        "1 comparison group of the baseline expired: 2 stored runs cannot be compared with what runs in cpu from now"
        f" on. Golden: {path}."
    )
    assert view(crossed).environments[0].expired == (
        "1 comparison group of the baseline's cpu does not hold in cpu-prev: 2 stored runs cannot be compared with what"
        f" runs in cpu-prev. Golden: {path}."
    )
    rows = {row.path: row for layer in view(sample).environments[0].layers for row in layer.rows}
    assert f"ends 1 comparison group ({path})" in rows["numpy"].details
    assert "ends" not in rows["cores"].details


def test_where_no_stored_run_is_lost_that_is_said(sample: DriftReport) -> None:
    drift = sample.environments[0]
    expired = tuple(msgspec.structs.replace(group, stored_runs=()) for group in drift.expired)
    drift = msgspec.structs.replace(drift, expired=expired)
    page = view(msgspec.structs.replace(sample, environments=(drift,)))
    assert "of the baseline expired: no run stored here is in it." in page.environments[0].expired


def test_golden_cells_that_moved_with_a_change_are_named_in_few_words(sample: DriftReport) -> None:
    drift = sample.environments[0]
    cells = tuple(each.path for each in drift.known_golden)
    changes = tuple(
        msgspec.structs.replace(change, evidence=(*change.evidence, *cells)) if change.path == "numpy" else change
        for change in drift.changes
    )
    page = view(msgspec.structs.replace(sample, environments=(msgspec.structs.replace(drift, changes=changes),)))
    details = {row.path: row.details for layer in page.environments[0].layers for row in layer.rows}
    assert "changed with it: 2 kernels of numpy, all 2 cells of golden.yaml; ends" in details["numpy"]
    assert "cells of" not in view(sample).environments[0].layers[2].rows[0].details


def test_predictions_that_are_all_the_same_need_no_figures(sample: DriftReport) -> None:
    drift = sample.environments[0]
    far = drift.golden[0].distance
    assert far is not None
    cell = msgspec.structs.replace(drift.golden[0], distance=msgspec.structs.replace(far, differing=0))
    drift = msgspec.structs.replace(drift, golden=(cell, drift.golden[1]))
    page = view(msgspec.structs.replace(sample, environments=(drift,)))
    assert page.environments[0].cells[0].distance == "none of 5,000 predictions differs"
    assert view(sample).environments[0].cells[0].distance.startswith("4,210 of 5,000 predictions differ, largest by")
