import json
import pickletools
import sqlite3
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from harness.release.formats.sarif import FINGERPRINT, SarifFormat, message
from harness.release.report import DriftReport, Kind, Location, Severity

TITLE = "Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """OASIS's schema, out of the collection that `schemastore` packs (and would ask the network for, if imported)."""
    path = distribution("schemastore").locate_file("schemastore/cache.sqlite")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        for (blob,) in database.execute("SELECT value FROM responses WHERE instr(value, ?)", (TITLE.encode(),)):
            for _, found, _ in pickletools.genops(blob):
                if isinstance(found, bytes) and found.lstrip().startswith(b"{"):
                    document: dict[str, Any] = json.loads(found)
                    return document
    raise AssertionError("schemastore no longer holds the schema of SARIF 2.1.0")


def log(report: DriftReport) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SarifFormat().render(report))
    return document


def results(report: DriftReport) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = log(report)["runs"][0]["results"]
    return found


def result(report: DriftReport, rule: str) -> dict[str, Any]:
    (found,) = [each for each in results(report) if each["ruleId"] == rule]
    return found


@pytest.mark.parametrize("name", ["sample", "green", "untested", "hostile", "rehearsal", "crossed"])
def test_the_log_is_as_the_official_schema_says(
    name: str, schema: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER).validate(log(request.getfixturevalue(name)))


@pytest.mark.parametrize(
    ("key", "value"), [("level", "critical"), ("kind", "changed"), ("severity", "x"), ("locations", [{"file": "a"}])]
)
def test_the_official_schema_refuses_a_damaged_log(
    key: str, value: object, schema: dict[str, Any], sample: DriftReport
) -> None:
    damaged = log(sample)
    damaged["runs"][0]["results"][0][key] = value
    with pytest.raises(ValidationError):
        Draft7Validator(schema).validate(damaged)


def test_the_three_answers_are_kept_apart(sample: DriftReport) -> None:
    answers = log(sample)["runs"][0]["properties"]["answers"]
    assert answers == [
        {
            "name": "cpu", "candidate": "cpu", "environment": "changed", "numbers": "changed", "notTested": [],
            "unprobed": [],
        },
        {
            "name": "cuda", "candidate": "cuda", "environment": "unchanged", "numbers": "not tested",
            "notTested": ["probe", "golden runs"], "unprobed": [],
        },
    ]  # fmt: skip


def test_a_change_is_a_result_with_our_fingerprint_and_its_place(sample: DriftReport) -> None:
    found = result(sample, "wheel/upgraded")
    change = next(each for each in sample.environments[0].changes if each.path == "numpy")
    assert (found["kind"], found["level"]) == ("fail", "error")
    assert found["partialFingerprints"] == {FINGERPRINT: change.fingerprint}
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "lockfiles/cpu/python.txt", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 12}
    assert found["message"]["text"].startswith("cpu: wheel numpy upgraded, 1.26.4 → 2.4.6: ")


def test_a_fingerprint_does_not_follow_what_is_said_of_a_change(sample: DriftReport) -> None:
    drift = sample.environments[0]
    changes = tuple(
        msgspec.structs.replace(change, why="other words", severity=Severity.MINOR) for change in drift.changes
    )
    other = msgspec.structs.replace(sample, environments=(msgspec.structs.replace(drift, changes=changes),))
    before = {each["partialFingerprints"][FINGERPRINT] for each in results(sample)}
    assert {each["partialFingerprints"][FINGERPRINT] for each in results(other)} <= before


def test_a_consequence_is_no_failure_and_points_to_its_cause(sample: DriftReport) -> None:
    found = result(sample, "lock/changed")
    assert (found["kind"], found["level"]) == ("informational", "none")
    related = found["relatedLocations"][0]["physicalLocation"]
    assert related["artifactLocation"]["uri"] == "lockfiles/cpu/python.txt"


def test_a_waived_change_is_suppressed_with_the_reason_and_no_other_is(sample: DriftReport) -> None:
    suppressed = [each for each in results(sample) if "suppressions" in each]
    assert [each["ruleId"] for each in suppressed] == ["os-package/upgraded"]
    (suppression,) = suppressed[0]["suppressions"]
    assert (suppression["kind"], suppression["status"]) == ("external", "accepted")
    assert "numbers did not move (A. Quant, until 2027-01-31)" in suppression["justification"]


def test_what_was_not_tested_is_open_and_told(untested: DriftReport) -> None:
    found = results(untested)
    assert {each["kind"] for each in found} == {"open"}
    assert len(found) == 3
    run = log(untested)["runs"][0]
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == 2
    assert run["invocations"][0]["exitCode"] == 3


def test_a_waiver_that_does_not_hold_is_an_error_in_the_waivers_file(sample: DriftReport) -> None:
    found = result(sample, "waiver/expired")
    assert found["level"] == "error"
    uri = found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "lockfiles/baselines/v1.2.waivers.yaml"


def test_a_green_log_has_no_result_and_a_red_one_has_errors(green: DriftReport, sample: DriftReport) -> None:
    assert results(green) == []
    assert log(green)["runs"][0]["invocations"][0]["exitCode"] == 0
    assert any(each["level"] == "error" for each in results(sample))


def identity(report: DriftReport) -> str:
    return str(log(report)["runs"][0]["automationDetails"]["id"])


def test_runs_of_other_environments_or_candidates_do_not_overwrite_each_other(
    sample: DriftReport, green: DriftReport, crossed: DriftReport, rehearsal: DriftReport
) -> None:
    found = [identity(report) for report in (sample, green, crossed, rehearsal)]
    assert found == [
        "harness-drift/v1.2/cpu,cuda/",
        "harness-drift/v1.2/cpu/",
        "harness-drift/v1.2/cpu:cpu-prev/",
        "harness-rehearsal/the%20locks%20as%20they%20are/cpu:cpu%20with%20numpy%3D%3D2.4.6/",
    ]
    other_order = msgspec.structs.replace(sample, environments=sample.environments[::-1], exit_code=0)
    assert identity(other_order) == found[0]


def test_a_candidate_of_another_name_is_named_and_told_apart(crossed: DriftReport, sample: DriftReport) -> None:
    assert result(crossed, "wheel/upgraded")["message"]["text"].startswith("cpu (candidate cpu-prev): wheel numpy")
    assert result(crossed, "wheel/upgraded")["properties"]["candidate"] == "cpu-prev"
    cuda = msgspec.structs.replace(sample.environments[1], candidate="other")
    other = msgspec.structs.replace(sample, environments=(cuda,), waivers=())
    open_results = [each for each in results(sample) if each["ruleId"] == "not-tested"]
    prints = [{each["partialFingerprints"][FINGERPRINT] for each in found} for found in (open_results, results(other))]
    assert not prints[0] & prints[1]


def test_in_a_rehearsal_numbers_alone_fail_and_what_has_no_place_is_shown_at_the_lock(
    rehearsal: DriftReport, harmless: DriftReport
) -> None:
    assert {each["ruleId"] for each in results(rehearsal) if each["kind"] == "fail"} == {
        "probe/changed", "golden/changed"
    }  # fmt: skip
    uris = {
        each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for each in (*results(rehearsal), *results(harmless))
    }
    assert uris == {"lockfiles/cpu/python.txt"}
    assert results(harmless)
    assert {each["level"] for each in results(harmless)} == {"none"}


def test_goldens_that_a_change_ends_are_named(sample: DriftReport) -> None:
    path = "golden.yaml/fwd_ret_5d/CROSS_SECTIONAL/all/lightgbm"
    assert result(sample, "wheel/upgraded")["properties"]["expiredGoldens"] == [path]
    assert result(sample, "hardware/changed")["properties"]["expiredGoldens"] == []


def test_only_failures_have_a_level(sample: DriftReport) -> None:
    for each in results(sample):
        assert (each["level"] == "none") is (each["kind"] != "fail")


def test_every_result_has_a_rule_a_place_and_a_fingerprint(sample: DriftReport) -> None:
    run = log(sample)["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for each in run["results"]:
        assert rules[each["ruleIndex"]]["id"] == each["ruleId"]
        assert each["locations"]
        assert each["partialFingerprints"][FINGERPRINT].startswith("sha256:")


@pytest.mark.parametrize("file", ["/etc/passwd", "../outside", "a/../../b", ""])
def test_no_location_leads_out_of_the_checkout(file: str, sample: DriftReport) -> None:
    drift = sample.environments[0]
    change = msgspec.structs.replace(drift.changes[3], location=Location(file, 3))
    other = msgspec.structs.replace(
        sample, environments=(msgspec.structs.replace(drift, changes=(change,)),), waivers=()
    )
    place = results(other)[0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "lockfiles/baselines/v1.2.json"


def test_a_message_holds_no_link_and_no_placeholder() -> None:
    assert message("{0} [a](http://b) \x1b")["text"] == "{{0}} \\[a\\](http://b) \\x1b"


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def test_hostile_texts_stay_texts(hostile: DriftReport, sample: DriftReport) -> None:
    found = log(hostile)
    assert all(each.isprintable() for each in texts(found))
    for each in found["runs"][0]["results"]:
        uri = each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert not set(uri) & set("<>\"' |`[]\\\n\0")
        assert "<script>" in unquote(uri)
    assert len(found["runs"][0]["results"]) == len(results(sample))


def test_many_changes_share_their_rule(many: Callable[[int], DriftReport]) -> None:
    report = many(50)
    run = log(report)["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == [f"wheel/{Kind.UPGRADED.value}", "waiver/expired"]
    assert len(run["results"]) == 51


def test_a_number_that_moved_fails_though_its_cause_is_waived(waived: DriftReport) -> None:
    failing = {each["ruleId"] for each in results(waived) if each["kind"] == "fail" and "suppressions" not in each}
    assert failing == {"probe/changed", "golden/changed"}
