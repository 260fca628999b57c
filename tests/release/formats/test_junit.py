from pathlib import Path

import msgspec
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.release.formats.junit import JunitFormat
from harness.release.report import Answer, DriftReport, NotTested, WaiverState


@pytest.fixture
def read(tmp_path: Path):
    def reads(report: DriftReport) -> dict[str, dict[str, TestCase]]:
        path = tmp_path / "drift.xml"
        path.write_text(JunitFormat().render(report))
        return {suite.name: {case.name: case for case in suite} for suite in JUnitXml.fromfile(str(path))}

    return reads


def outcome(case: TestCase) -> str:
    kinds = {Failure: "failure", Skipped: "skipped", Error: "error"}
    return " ".join(kinds[type(result)] for result in case.result) or "passed"


def outcomes(suites: dict[str, dict[str, TestCase]]) -> set[str]:
    return {outcome(case) for cases in suites.values() for case in cases.values()}


def test_there_is_a_suite_an_environment_and_a_case_a_golden_target(sample: DriftReport, read) -> None:
    suites = read(sample)
    assert set(suites) == {"cpu", "cuda", "waivers", "drift"}
    assert set(suites["cpu"]) == {
        *("environment", "numbers", "golden golden.yaml fwd_ret_5d", "golden golden.yaml fwd_ret_20d")
    }
    assert {name: outcome(case) for name, case in suites["cpu"].items()} == {
        "environment": "failure",
        "numbers": "failure",
        "golden golden.yaml fwd_ret_5d": "failure",
        "golden golden.yaml fwd_ret_20d": "passed",
    }
    assert {name: outcome(case) for name, case in suites["waivers"].items()} == {
        "libc-point-release": "passed",
        "old-blas": "failure",
    }


def test_what_was_not_tested_is_skipped_with_the_reason(sample: DriftReport, read) -> None:
    cuda = read(sample)["cuda"]
    assert {name: outcome(case) for name, case in cuda.items()} == {
        "environment": "passed",
        "numbers": "skipped",
        "golden golden.yaml fwd_ret_5d": "skipped",
        "not tested: probe": "skipped",
        "not tested: golden runs": "skipped",
    }
    assert "this machine has no GPU" in cuda["numbers"].result[0].message


def test_failures_name_the_changes(sample: DriftReport, read) -> None:
    text = read(sample)["cpu"]["environment"].result[0].text
    assert "wheel numpy: upgraded 1.26.4 -> 2.4.6 (severity major, fails)" in text
    assert "os-package libc6: upgraded 2.36-9+deb12u12 -> 2.36-9+deb12u13 (severity minor, waived by" in text


def test_a_green_report_passes_in_every_case(green: DriftReport, read) -> None:
    assert outcomes(read(green)) == {"passed"}


def test_a_report_with_drift_does_not(sample: DriftReport, read) -> None:
    assert "failure" in outcomes(read(sample))


@pytest.mark.parametrize(("code", "found"), [(0, "passed"), (1, "failure"), (2, "error"), (3, "skipped"), (4, "error")])
def test_the_verdict_is_the_exit_code(code: int, found: str, green: DriftReport, read) -> None:
    report = msgspec.structs.replace(green, exit_code=code)
    assert outcome(read(report)["drift"]["verdict"]) == found


def test_a_changed_answer_that_names_no_change_fails_all_the_same(green: DriftReport, read) -> None:
    drift = msgspec.structs.replace(green.environments[0], numbers=Answer.CHANGED)
    assert outcome(read(msgspec.structs.replace(green, environments=(drift,)))["cpu"]["numbers"]) == "failure"


def test_changes_that_are_all_waived_pass(sample: DriftReport, read) -> None:
    drift = sample.environments[0]
    changes = tuple(msgspec.structs.replace(change, waived_by="all") for change in drift.changes)
    report = msgspec.structs.replace(sample, environments=(msgspec.structs.replace(drift, changes=changes),))
    assert outcomes({"cpu": read(report)["cpu"]}) == {"passed"}


def test_a_golden_target_that_was_tested_in_part_is_skipped(green: DriftReport, read) -> None:
    drift = green.environments[0]
    other = msgspec.structs.replace(drift.golden[0], family="ridge", answer=Answer.NOT_TESTED, reasons=("no ridge",))
    report = msgspec.structs.replace(
        green,
        environments=(
            msgspec.structs.replace(drift, golden=(*drift.golden, other), not_tested=(NotTested("ridge", "none"),)),
        ),
    )
    assert outcome(read(report)["cpu"]["golden golden.yaml fwd_ret_5d"]) == "skipped"
    assert outcome(read(report)["cpu"]["not tested: ridge"]) == "skipped"


def test_a_waiver_that_was_not_examined_is_skipped(sample: DriftReport, read) -> None:
    waiver = msgspec.structs.replace(sample.waivers[0], state=WaiverState.NOT_EXAMINED)
    report = msgspec.structs.replace(sample, waivers=(waiver,))
    assert outcome(read(report)["waivers"][waiver.id]) == "skipped"


def test_the_counts_are_those_of_the_cases(sample: DriftReport, tmp_path: Path) -> None:
    path = tmp_path / "drift.xml"
    path.write_text(JunitFormat().render(sample))
    told, counted = JUnitXml.fromfile(str(path)), JUnitXml.fromfile(str(path))
    counted.update_statistics()
    for name in ("tests", "failures", "errors", "skipped"):
        assert getattr(told, name) == getattr(counted, name)
        assert [getattr(suite, name) for suite in told] == [getattr(suite, name) for suite in counted]
    assert all(isinstance(suite, TestSuite) for suite in told)


def test_hostile_texts_are_xml_that_can_be_read(hostile: DriftReport, sample: DriftReport, read) -> None:
    suites = read(hostile)
    assert len(suites) == 4
    assert [len(cases) for cases in suites.values()] == [len(cases) for cases in read(sample).values()]
    assert any("<script>alert(1)</script>|`a`[red]\\x1b[31m\\n" in name for name in suites)
    text = JunitFormat().render(hostile)
    assert "<script" not in text
    assert not {"\0", "\x1b", "\r", "\u202e"} & set(text)


def test_a_number_that_moved_fails_though_its_cause_is_waived(waived: DriftReport, read) -> None:
    cases = read(waived)["cpu"]
    assert outcome(cases["environment"]) == "passed"
    assert outcome(cases["numbers"]) == "failure"
    assert outcome(cases["golden golden.yaml fwd_ret_5d"]) == "failure"
