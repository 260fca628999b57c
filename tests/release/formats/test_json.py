import json
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

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


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("schema",), "harness.drift/2"),
        (("exit_code",), "0"),
        (("environments", 0, "numbers"), "unknown"),
        (("environments", 0, "changes", 0, "severity"), "fatal"),
        (("environments", 0, "changes", 0, "fingerprint"), "sha256:0"),
        (("environments", 0, "changes", 0, "more"), 1),
        (("environments", 0, "probed", "numpy"), "many"),
        (("waivers", 0, "state"), "ok"),
    ],
)
def test_the_schema_refuses_a_damaged_document(keys: tuple[Any, ...], value: object, sample: DriftReport) -> None:
    document = json.loads(JsonFormat().render(sample))
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(json.loads(schemas()["drift.json"])).validate(document)
