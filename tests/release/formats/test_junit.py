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


@pytest.mark.parametrize(("code", "found"), [(0, "passed"), (1, "failure"), (3, "skipped")])
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


def test_a_golden_target_that_was_not_run_again_is_a_skipped_case(green: DriftReport, read) -> None:
    drift = msgspec.structs.replace(green.environments[0], golden=(), tested_by=("probe",))
    cases = read(msgspec.structs.replace(green, environments=(drift,)))["cpu"]
    case = cases["golden golden.yaml fwd_ret_5d"]
    assert outcome(case) == "skipped"
    assert case.result[0].message == "not run again: harness drift --golden does that"
    assert "golden.yaml/fwd_ret_5d/CROSS_SECTIONAL/all/lightgbm: not run again" in case.result[0].text
    assert outcomes({"cpu": {name: each for name, each in cases.items() if each is not case}}) == {"passed"}
    none = msgspec.structs.replace(drift, known_golden=())
    assert "golden golden.yaml fwd_ret_5d" not in read(msgspec.structs.replace(green, environments=(none,)))["cpu"]


def test_every_target_of_a_candidate_that_cannot_run_is_skipped_with_the_reason(sample: DriftReport, read) -> None:
    cpu, cuda = sample.environments
    cuda = msgspec.structs.replace(cuda, golden=(), known_golden=cpu.known_golden)
    for untested, reason in (
        (cuda.not_tested, "not tested: this machine has no GPU"),
        ((NotTested("golden golden.yaml", "no memory"), *cuda.not_tested), "not tested: no memory"),
    ):
        drift = msgspec.structs.replace(cuda, not_tested=untested)
        cases = read(msgspec.structs.replace(sample, environments=(drift,)))["cuda"]
        golden = [case for name, case in cases.items() if name.startswith("golden golden.yaml fwd")]
        assert [(outcome(case), case.result[0].message) for case in golden] == [("skipped", reason)] * 2


def test_targets_of_every_environment_have_the_same_cases(sample: DriftReport, read) -> None:
    cpu, cuda = sample.environments
    cuda = msgspec.structs.replace(cuda, known_golden=cpu.known_golden)
    suites = read(msgspec.structs.replace(sample, environments=(cpu, cuda)))
    targets = [{name for name in suites[suite] if name.startswith("golden ")} for suite in ("cpu", "cuda")]
    assert targets[0] == targets[1]
    assert len(targets[0]) == 2


def test_a_candidate_of_another_name_has_a_suite_of_its_own(crossed: DriftReport, read) -> None:
    twice = msgspec.structs.replace(
        crossed, environments=(*crossed.environments, msgspec.structs.replace(crossed.environments[0], candidate="cpu"))
    )
    suites = read(twice)
    assert {"cpu (candidate cpu-prev)", "cpu"} <= set(suites)
    assert {case.classname for case in suites["cpu (candidate cpu-prev)"].values()} == {"cpu (candidate cpu-prev)"}


def test_goldens_that_expire_are_named(sample: DriftReport, green: DriftReport, read) -> None:
    cases = read(sample)["cpu"]
    path = "golden.yaml/fwd_ret_5d/CROSS_SECTIONAL/all/lightgbm"
    assert f"Golden: {path}." in cases["environment"].result[0].text
    assert "; its comparison group ends" in cases["golden golden.yaml fwd_ret_5d"].result[0].text
    assert "its comparison group ends" not in cases["golden golden.yaml fwd_ret_20d"].system_out
    assert "Golden:" not in read(green)["cpu"]["environment"].system_out


def test_in_a_rehearsal_numbers_alone_fail(rehearsal: DriftReport, harmless: DriftReport, read) -> None:
    suites = read(rehearsal)
    assert {name: outcome(case) for name, case in suites["cpu with numpy==2.4.6"].items()} == {
        "environment": "passed",
        "numbers": "failure",
        "golden golden.yaml fwd_ret_5d": "failure",
        "golden golden.yaml fwd_ret_20d": "passed",
    }
    assert outcome(suites["rehearsal"]["verdict"]) == "failure"
    assert "comes with the upgrade" in suites["cpu with numpy==2.4.6"]["environment"].system_out
    assert outcomes(read(harmless)) == {"passed"}


def test_what_no_probe_looks_at_is_said_beside_the_numbers(green: DriftReport, read) -> None:
    assert "No probe" not in read(green)["cpu"]["numbers"].system_out
    drift = msgspec.structs.replace(green.environments[0], unprobed=("pandas",))
    report = msgspec.structs.replace(green, environments=(drift,), unbaselined=("cuda",))
    suites = read(report)
    assert "No probe looks at pandas: golden runs alone can." in suites["cpu"]["numbers"].system_out
    assert "Nothing is said of cuda" in suites["drift"]["verdict"].system_out
