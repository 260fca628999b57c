import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from harness.record.jsonfile import pretty_json
from harness.release.baseline import Baseline
from harness.release.schemas import main, schemas

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    return {name: Draft202012Validator(json.loads(data)) for name, data in schemas().items()}


def test_the_committed_schemas_are_what_the_types_give() -> None:
    committed = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert committed == schemas(), "write them anew: python -m harness.release.schemas docs/schemas"


@pytest.mark.parametrize("name", ["baseline.json", "drift.json", "matrix.json"])
def test_a_schema_is_one_and_says_what_it_is_of(name: str, validators: dict[str, Draft202012Validator]) -> None:
    schema = validators[name].schema
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith("urn:harness:")
    assert schema["title"]


def test_a_real_baseline_is_accepted(
    baseline: Callable[..., Baseline], validators: dict[str, Draft202012Validator]
) -> None:
    validators["baseline.json"].validate(json.loads(pretty_json(baseline())))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("schema",), "harness.baseline/2"),
        (("digest",), "sha256:" + "A" * 64),
        (("digest",), "sha256:" + "a" * 64 + "\n0"),
        (("code",), None),
        (("more",), 1),
        (("environments",), []),
        (("environments", "cpu", "engine"), "podman"),
        (("environments", "cpu", "sources", "builder"), "1"),
        (("environments", "cpu", "survey", "memory"), "much"),
        (("golden", 0, "quick"), "yes"),
    ],
)
def test_a_damaged_baseline_is_refused(
    keys: tuple[Any, ...],
    value: object,
    baseline: Callable[..., Baseline],
    validators: dict[str, Draft202012Validator],
) -> None:
    document = json.loads(pretty_json(baseline()))
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(ValidationError):
        validators["baseline.json"].validate(document)


@pytest.mark.parametrize("key", ["schema", "release", "environments", "golden", "digest"])
def test_a_baseline_without_a_field_is_refused(
    key: str, baseline: Callable[..., Baseline], validators: dict[str, Draft202012Validator]
) -> None:
    document = json.loads(pretty_json(baseline()))
    del document[key]
    with pytest.raises(ValidationError):
        validators["baseline.json"].validate(document)


def test_the_schemas_are_written_into_the_folder_that_is_named(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == schemas()


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["/no/such/folder"]])
def test_no_folder_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "python -m harness.release.schemas docs/schemas" in capsys.readouterr().err
