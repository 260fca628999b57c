import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from harness.errors import IntegrityError
from harness.record.jsonfile import pretty_json
from harness.record.snapshot import (
    REQUIRED,
    Snapshot,
    build_script_snapshot,
    build_snapshot,
    cell_group,
    check_snapshot,
    timestamp,
)
from harness.spec.digest import Digest
from harness.spec.run import Profile

SOME = Digest(f"sha256:{'a' * 64}")
GROUP_OF_DESIGN = {
    "dataset_signature",
    "task_signature",
    "routing_signature",
    "split_signature",
    "feature_signature",
    "hyperparameters_signature",
    "universe_signature",
    "train_seed",
    "environment_signature",
    "mode",
    "profile",
}


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    return json.loads(pretty_json(snapshot))


def test_a_snapshot_has_the_fields_that_users_look_for(scene: Any) -> None:
    document = as_json(scene.snapshots()[0])
    assert document["schema"] == "harness.snapshot/1"
    assert document["comparison_group"].keys() == GROUP_OF_DESIGN
    assert document["comparison_group"]["train_seed"] == 42
    assert document["comparison_group"]["mode"] == "strict"
    assert document["families"]["lightgbm"]["outputs"].keys() == {
        "predictions",
        "model",
        "metrics",
        "feature_importances",
    }
    layers = {"image", "python", "libraries", "native", "cpu", "gpu", "settings", "probe"}
    assert document["environment"].keys() == layers
    assert document["environment"]["image"].keys() == {"name", "manifest", "config", "locks"}
    assert document["host"] == {"kernel": "6.1.0", "engine": "docker 20.10.24", "workers": 2}
    assert document["code"]["dirty"] is False


def test_a_snapshot_reads_back_as_it_was(scene: Any) -> None:
    snapshot = scene.snapshots()[1]
    assert msgspec.json.decode(pretty_json(snapshot), type=Snapshot) == snapshot


def test_a_snapshot_from_before_patches_were_kept_reads_and_compares(scene: Any) -> None:
    snapshot = scene.snapshots()[0]
    older = as_json(snapshot)
    del older["code"]["diff"]
    read = msgspec.json.decode(json.dumps(older), type=Snapshot)
    check_snapshot(read)
    assert read == snapshot


def test_without_an_image_the_layer_is_null_and_the_environment_another(scene: Any) -> None:
    snapshot, plain = scene.snapshots()[0], scene.but(image=None).snapshots()[0]
    assert plain.environment.image is None
    assert plain.comparison_group["environment_signature"] != snapshot.comparison_group["environment_signature"]


def test_identity_time_and_host_are_in_no_digest(scene: Any) -> None:
    cohort = scene.cohorts()[0]
    one = build_snapshot(cohort, scene.surroundings("r1"))
    surroundings = scene.surroundings("r2", "2027-01-01T00:00:00.000000Z")
    facts = msgspec.structs.replace(surroundings.facts, host={"engine": "podman", "workers": 64}, attempt_id="9")
    captured = msgspec.structs.replace(surroundings.captured, host={"kernel": "6.12.1"})
    other = build_snapshot(cohort, msgspec.structs.replace(surroundings, facts=facts, captured=captured))
    assert other.comparison_group == one.comparison_group
    assert other.fingerprint == one.fingerprint


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 43}, "train_seed"),
        ({"data": "other"}, "dataset_signature"),
        ({"profile": Profile.X86_64_V3}, "profile"),
    ],
)
def test_another_input_changes_its_own_field(scene: Any, change: dict[str, Any], key: str) -> None:
    before, after = (s.snapshots()[0].comparison_group for s in (scene, scene.but(**change)))
    changed = {name for name in before if before[name] != after[name]}
    assert key in changed
    assert changed <= {key, "environment_signature"}


@pytest.mark.parametrize("name", sorted(REQUIRED["CROSS_SECTIONAL"] - {"hyperparameters_signature", "train_seed"}))
def test_a_missing_field_is_refused_so_that_it_never_equals_another_missing_one(scene: Any, name: str) -> None:
    document = as_json(scene.snapshots()[0])
    del document["comparison_group"][name]
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.convert(document, Snapshot)
    document["comparison_group"][name] = None
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document, Snapshot)


def test_a_missing_seed_does_not_become_42(scene: Any) -> None:
    document = as_json(scene.snapshots()[0])
    del document["comparison_group"]["train_seed"]
    with pytest.raises(msgspec.ValidationError, match="train_seed"):
        msgspec.convert(document, Snapshot)
    document["comparison_group"]["train_seed"] = "42"
    with pytest.raises(msgspec.ValidationError, match="train_seed"):
        msgspec.convert(document, Snapshot)


@pytest.mark.parametrize("name", ["split_signature", "dataset_signature", "universe_signature"])
def test_a_trainer_that_leaves_a_signature_out_is_refused(scene: Any, name: str) -> None:
    cohort = scene.cohorts()[0]
    signatures = {key: value for key, value in cohort.signatures.items() if key != name}
    with pytest.raises(IntegrityError, match=name):
        build_snapshot(msgspec.structs.replace(cohort, signatures=signatures), scene.surroundings())


@pytest.mark.parametrize("name", ["favourite_signature", "environment_signature", "train_seed"])
def test_a_trainer_that_signs_what_it_does_not_know_is_refused(scene: Any, name: str) -> None:
    cohort = scene.cohorts()[0]
    signatures = {**cohort.signatures, name: SOME}
    with pytest.raises(IntegrityError):
        build_snapshot(msgspec.structs.replace(cohort, signatures=signatures), scene.surroundings())


@pytest.mark.parametrize("value", ["", "sha256:abc", "none", f"sha256:{'A' * 64}", 7])
def test_a_signature_that_is_no_digest_is_refused(scene: Any, value: object) -> None:
    document = as_json(scene.snapshots()[0])
    document["comparison_group"]["dataset_signature"] = value
    with pytest.raises(msgspec.ValidationError, match="dataset_signature"):
        msgspec.convert(document, Snapshot)


def test_a_view_that_does_not_exist_is_refused(scene: Any) -> None:
    cohort = msgspec.structs.replace(scene.cohorts()[0], view="SIDEWAYS")
    with pytest.raises(IntegrityError, match="SIDEWAYS"):
        build_snapshot(cohort, scene.surroundings())


def test_a_fingerprint_that_is_not_of_its_outputs_is_refused(scene: Any) -> None:
    cohort = scene.cohorts()[0]
    family = msgspec.structs.replace(cohort.families["xgboost"], fingerprint=SOME)
    families = {**cohort.families, "xgboost": family}
    with pytest.raises(IntegrityError, match="xgboost"):
        build_snapshot(msgspec.structs.replace(cohort, families=families), scene.surroundings())


def test_a_cohort_without_families_is_refused(scene: Any) -> None:
    with pytest.raises(IntegrityError, match="no family"):
        build_snapshot(msgspec.structs.replace(scene.cohorts()[0], families={}), scene.surroundings())


@pytest.mark.parametrize("field", ["fingerprint", "families", "comparison_group"])
def test_a_snapshot_that_contradicts_itself_is_refused(scene: Any, field: str) -> None:
    snapshot = scene.snapshots()[0]
    lightgbm = msgspec.structs.replace(snapshot.families["lightgbm"], outputs={"predictions": SOME})
    group = {**snapshot.comparison_group, "hyperparameters_signature": SOME}
    value = {
        "fingerprint": SOME,
        "families": {**snapshot.families, "lightgbm": lightgbm},
        "comparison_group": group,
    }[field]
    check_snapshot(snapshot)
    with pytest.raises(IntegrityError):
        check_snapshot(msgspec.structs.replace(snapshot, **{field: value}))


def test_a_cells_group_holds_its_familys_hyperparameters_and_probe(scene: Any) -> None:
    cohort, snapshot = scene.cohorts()[0], scene.snapshots()[0]
    group = cell_group(snapshot, "lightgbm")
    assert group.keys() == GROUP_OF_DESIGN | {"probe_signature"}
    assert group["hyperparameters_signature"] == cohort.families["lightgbm"].hyperparameters_signature
    assert group["hyperparameters_signature"] != snapshot.comparison_group["hyperparameters_signature"]


def test_one_familys_hyperparameters_leave_the_others_comparable(scene: Any) -> None:
    before = scene.snapshots()[0]
    after = scene.but(hyperparameters={"lightgbm": "deeper"}).snapshots()[0]
    assert cell_group(before, "xgboost") == cell_group(after, "xgboost")
    assert cell_group(before, "lightgbm") != cell_group(after, "lightgbm")
    name = "hyperparameters_signature"
    assert before.comparison_group[name] != after.comparison_group[name]


def test_threads_count_only_for_families_that_depend_on_them(scene: Any) -> None:
    free = cell_group(scene.snapshots()[0], "lightgbm")
    one = cell_group(scene.but(threads=1).snapshots()[0], "lightgbm")
    two = cell_group(scene.but(threads=2).snapshots()[0], "lightgbm")
    assert "threads_per_fit" not in free
    assert (one["threads_per_fit"], two["threads_per_fit"]) == (1, 2)


class TestScripts:
    def build(self, scene: Any, **changes: Any) -> Snapshot:
        signatures = dict.fromkeys(("dataset_signature", "task_signature", "probe_signature"), SOME)
        arguments: dict[str, Any] = {**signatures, "threads": 1, **changes}
        outputs = {"model.bin": SOME}
        return build_script_snapshot(["python", "train.py"], outputs, scene.surroundings(), **arguments)

    def test_a_scripts_snapshot_is_one_cell_over_its_files(self, scene: Any) -> None:
        snapshot = self.build(scene)
        assert snapshot.families["script"].outputs == {"model.bin": SOME}
        assert cell_group(snapshot, "script").keys() == {
            "dataset_signature",
            "task_signature",
            "environment_signature",
            "train_seed",
            "mode",
            "profile",
            "probe_signature",
            "threads_per_fit",
        }
        assert msgspec.json.decode(pretty_json(snapshot), type=Snapshot) == snapshot

    def test_scripts_on_other_threads_are_not_compared_and_free_threads_are_none(self, scene: Any) -> None:
        one, two, free = (cell_group(self.build(scene, threads=count), "script") for count in (1, 2, None))
        assert (one["threads_per_fit"], two["threads_per_fit"]) == (1, 2)
        assert "threads_per_fit" not in free

    def test_code_is_configuration_and_so_is_never_left_out(self, scene: Any) -> None:
        with pytest.raises(IntegrityError, match="task_signature"):
            self.build(scene, task_signature=None)

    def test_a_training_snapshot_cannot_pass_for_a_script(self, scene: Any) -> None:
        document = as_json(scene.snapshots()[0])
        document["view"] = "SCRIPT"
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.convert(document, Snapshot)


def test_time_stamps_sort_as_text() -> None:
    early = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
    late = datetime(2026, 1, 1, 14, 0, 1, tzinfo=timezone(timedelta(hours=1)))
    assert timestamp(early) == "2026-01-01T12:00:00.000005Z"
    assert timestamp(early) < timestamp(late) == "2026-01-01T13:00:01.000000Z"
    with pytest.raises(ValueError, match="zone"):
        timestamp(datetime(2026, 1, 1))
