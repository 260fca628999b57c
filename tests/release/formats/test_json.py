import json

import msgspec
from jsonschema import Draft202012Validator

from harness.record.jsonfile import decode_document
from harness.release.formats.json import JsonFormat
from harness.release.report import SCHEMA, DriftReport
from harness.release.schemas import schemas


def test_the_document_is_the_report_exactly(sample: DriftReport, hostile: DriftReport, green: DriftReport) -> None:
    for report in (sample, hostile, green):
        data = JsonFormat().render(report).encode()
        assert decode_document(data, DriftReport, SCHEMA, name="drift.json") == report


def test_the_three_answers_are_there_by_name(sample: DriftReport) -> None:
    cpu, cuda = json.loads(JsonFormat().render(sample))["environments"]
    assert (cpu["environment"], cpu["numbers"], cpu["not_tested"]) == ("changed", "changed", [])
    assert (cuda["environment"], cuda["numbers"]) == ("unchanged", "not tested")
    assert [item["what"] for item in cuda["not_tested"]] == ["probe", "golden runs"]


def test_the_document_is_as_its_schema_says(sample: DriftReport, hostile: DriftReport) -> None:
    validator = Draft202012Validator(json.loads(schemas()["drift.json"]))
    for report in (sample, hostile):
        validator.validate(json.loads(JsonFormat().render(report)))


def test_a_changed_report_is_another_document(sample: DriftReport) -> None:
    other = msgspec.structs.replace(sample, exit_code=0)
    assert JsonFormat().render(other) != JsonFormat().render(sample)
