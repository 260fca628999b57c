import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.record.archive import Archive
from harness.record.compare import SILENT_CHANGE, compare_cells
from harness.record.difference import Difference, Severity, comparable_parts, diff_prev, severity_of
from harness.record.jsonfile import pretty_json

Reader = Callable[[Path, str | None], dict[str, Any]]


def diff_of(run: Path, view: str = "CROSS_SECTIONAL") -> dict[str, Any]:
    (path,) = run.glob(f"targets/*/reproducibility/{view}/**/diff_prev.json")
    return json.loads(path.read_bytes())


@pytest.fixture
def pair(recorded: Callable[..., Path], scene: Any) -> Callable[..., dict[str, Any]]:
    """The diff_prev.json of a run that follows one of `scene`, changed as said."""

    def call(**changes: Any) -> dict[str, Any]:
        recorded("a", scene)
        return diff_of(recorded("b", scene.but(**changes)))

    return call


def test_a_first_run_has_every_field_too(recorded: Callable[..., Path], scene: Any) -> None:
    first = diff_of(recorded("a", scene))
    assert first["previous"] is None
    assert first["comparable"] is False
    assert first["reasons"] == ["no earlier run of this cell"]
    assert (first["severity"], first["severity_reason"]) == ("none", "lightgbm: no earlier run of this cell")
    assert first["patch"] == first["changed_keys"] == []
    assert first.keys() == diff_of(recorded("b", scene)).keys()
    assert {family["verdict"] for family in first["families"].values()} == {"unverified"}


def test_every_cohort_has_one(recorded: Callable[..., Path], scene: Any) -> None:
    run = recorded("a", scene)
    assert len(list(run.rglob("diff_prev.json"))) == len(list(run.rglob("snapshot.json"))) == 2
    assert diff_of(run, "SYMBOL_SPECIFIC")["symbol"] == "AAPL"


def test_a_repeat_has_nothing_to_say(pair: Callable[..., dict[str, Any]]) -> None:
    found = pair()
    assert found["comparable"] is True
    assert found["severity"] == "none"
    assert found["patch"] == found["reasons"] == found["changed_keys"] == []
    assert found["outputs_changed"] == found["metric_deltas"] == {}
    assert found["previous"]["run_name"] == "a"
    assert found["previous"]["run_id"] == "id-a"


def test_other_bits_in_the_same_group_are_critical(pair: Callable[..., dict[str, Any]]) -> None:
    found = pair(noise={"predictions": "x", "metrics": "x"}, metrics={"rmse": 0.25, "ic": None})
    assert (found["severity"], found["comparable"]) == ("critical", True)
    assert found["severity_reason"] == "lightgbm: same comparison group, other bits in metrics, predictions"
    assert found["outputs_changed"] == {
        "lightgbm": ["metrics", "predictions"],
        "xgboost": ["metrics", "predictions"],
    }
    assert found["metric_deltas"]["xgboost"] == {"rmse": {"before": 0.1, "after": 0.25, "delta": 0.15}}


def test_changed_predictions_under_unchanged_metrics_are_not_called_no_change(
    pair: Callable[..., dict[str, Any]],
) -> None:
    found = pair(noise={"predictions": "x"})
    assert found["severity"] == "critical"
    assert found["reasons"] == [SILENT_CHANGE]
    assert SILENT_CHANGE in found["severity_reason"]
    assert found["metric_deltas"] == {}
    assert found["patch"] != []


def test_a_changed_group_with_changed_numbers_is_major(pair: Callable[..., dict[str, Any]]) -> None:
    found = pair(seed=43)
    assert (found["severity"], found["comparable"]) == ("major", False)
    assert found["changed_keys"] == ["train_seed"]
    assert found["reasons"] == ["train_seed 42 → 43"]
    assert {"op": "replace", "path": "/comparison_group/train_seed", "value": 43} in found["patch"]


def test_a_changed_group_with_the_same_numbers_is_minor(pair: Callable[..., dict[str, Any]]) -> None:
    found = pair(probe="another")
    assert (found["severity"], found["comparable"]) == ("minor", False)
    assert found["changed_keys"] == ["probe_signature"]
    assert found["outputs_changed"] == {}


@pytest.mark.parametrize(
    ("outputs", "severity"),
    [
        ((), "minor"),
        (("metrics",), "minor"),
        (("feature_importances", "metrics"), "minor"),
        (("metrics", "predictions"), "major"),
        (("model",), "major"),
        (("outputs/weights.bin",), "major"),
    ],
)
def test_what_moved_with_the_group_decides_how_much_it_matters(
    scene: Any, outputs: tuple[str, ...], severity: str
) -> None:
    comparison = compare_cells(scene.cells()[0], scene.but(probe="another").cells()[0])
    found, reason = severity_of(msgspec.structs.replace(comparison, changed_outputs=outputs))
    assert found.value == severity
    assert reason.startswith("probe_signature changed, and ")
    assert reason.endswith(", ".join(outputs) or "nothing")


def test_a_change_of_one_family_is_said_of_that_family(pair: Callable[..., dict[str, Any]]) -> None:
    found = pair(hyperparameters={"xgboost": "deeper"})
    assert found["families"]["lightgbm"]["verdict"] == "identical"
    assert found["families"]["xgboost"]["verdict"] == "incomparable"
    assert found["comparable"] is False
    assert found["reasons"][0].startswith("xgboost: hyperparameters_signature ")
    assert found["severity_reason"].startswith("xgboost: ")


def test_a_family_that_is_gone_is_named(pair: Callable[..., dict[str, Any]]) -> None:
    found = pair(families=("lightgbm",))
    assert found["families_gone"] == ["xgboost"]
    assert (found["severity"], found["severity_reason"]) == ("minor", "family xgboost is gone")
    assert {"op": "remove", "path": "/families/xgboost"} in found["patch"]


def test_a_new_family_has_no_earlier_run_beside_those_that_have(pair: Callable[..., dict[str, Any]]) -> None:
    found = pair(families=("lightgbm", "mlp", "xgboost"))
    assert found["families"]["mlp"]["previous"] is None
    assert found["families"]["lightgbm"]["verdict"] == "identical"
    assert found["comparable"] is False
    assert found["reasons"] == ["mlp: no earlier run of this cell"]


def test_each_family_is_compared_with_its_own_last_run(recorded: Callable[..., Path], scene: Any) -> None:
    recorded("a", scene)
    recorded("b", scene.but(families=("xgboost",)))
    found = diff_of(recorded("c", scene))
    assert {name: family["previous"]["run_name"] for name, family in found["families"].items()} == {
        "lightgbm": "a",
        "xgboost": "b",
    }
    assert found["previous"]["run_name"] == "b"


def test_it_is_against_the_last_run_comparable_or_not(recorded: Callable[..., Path], scene: Any) -> None:
    recorded("a", scene)
    recorded("b", scene.but(seed=43))
    found = diff_of(recorded("c", scene))
    assert (found["previous"]["run_name"], found["reasons"]) == ("b", ["train_seed 43 → 42"])


def test_the_patch_leaves_out_identity_time_and_host(scene: Any) -> None:
    parts = comparable_parts(scene.snapshots()[0])
    assert parts.keys() == {
        "experiment",
        "target",
        "view",
        "symbol",
        "cohort_id",
        "comparison_group",
        "families",
        "environment",
        "code",
        "fingerprint",
    }


def test_it_reads_back(recorded: Callable[..., Path], results: Path, scene: Any) -> None:
    recorded("a", scene)
    changed = scene.but(seed=1, metrics={"rmse": 0.2})
    (snapshot, *_), cells = changed.snapshots(), changed.cells("id-b")
    found = diff_prev(snapshot, [cell for cell in cells if cell.symbol is None], Archive(results))
    assert msgspec.json.decode(pretty_json(found), type=Difference) == found
    assert found.severity is Severity.MAJOR
