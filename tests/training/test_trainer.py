"""The trainer as an engine starts it, on a small panel."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.record.hashing import digest_of_file
from harness.spec.experiment import Experiment
from harness.spec.resolution import resolve_experiment
from harness.strict.seeds import resolve_seed

SMALL: dict[str, dict[str, Any]] = {
    "lightgbm": {"n_estimators": 5, "min_child_samples": 5, "subsample": 0.7, "subsample_freq": 1},
    "ridge": {},
}
EVERY: dict[str, dict[str, Any]] = {
    **SMALL,
    "torch_mlp": {"hidden": [8], "epochs": 1, "batch_size": 64},
    "xgboost": {"n_estimators": 5, "subsample": 0.7},
}

PLUGIN = """
import os
import sys
from pathlib import Path

import numpy as np


class Model:
    def __init__(self, config, seed, kind):
        self.config = config

    def fit(self, features, target, sample_weight=None):
        if self.config.get("die"):
            os.kill(os.getpid(), 9)
        print("printed by a library")
        os.write(1, b"written by C code\\n")
        self.mean = target.mean()
        return self

    def predict(self, features):
        noise = np.frombuffer(os.urandom(8 * len(features)), dtype=np.uint64) / 2.0**64
        return np.full(len(features), self.config.get("value", self.mean)) + noise * self.config.get("noise", 0.0)

    def feature_importances(self):
        return np.zeros(self.config.get("columns", 4))

    def canonical(self):
        return np.float64(self.mean).tobytes()

    def save(self, folder, name="model"):
        path = Path(folder, name + ".bin")
        path.write_bytes(self.canonical())
        return path


def make(config, seed, kind):
    return Model(config, seed, kind)
"""


def experiment(**changes: Any) -> Experiment:
    """A small experiment, with changes to its keys."""
    document = {
        "name": "small",
        "data": {"path": "panel.csv"},
        "features": ["ret_1d", "ret_5d", "vol_5d", "rank_ret_5d"],
        "targets": ["fwd_ret_5d", "fwd_up_5d"],
        "views": ["CROSS_SECTIONAL", "SYMBOL_SPECIFIC"],
        "symbol_specific": ["BBB"],
        "families": SMALL,
        "folds": {"count": 2, "min_train": 120},
        **changes,
    }
    return msgspec.convert(document, Experiment)


@pytest.fixture(scope="session")
def plugins(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "noisy.py").write_text(PLUGIN)
    return folder


@pytest.fixture(scope="session")
def small(trainer):
    return trainer(experiment())


@pytest.fixture(scope="session")
def every(trainer):
    return trainer(experiment(families=EVERY))


def plugged(**config) -> Experiment:
    return experiment(
        targets=["fwd_ret_5d"], views=["CROSS_SECTIONAL"], families={"mine": {"plugin": "noisy:make", **config}}
    )


def signatures(trained) -> dict:
    return {(cohort.target, cohort.view): cohort.signatures for cohort in trained.output.cohorts}


def test_every_stage_is_announced_and_advances_to_its_end(small):
    assert small.exit_code == 0, small.stderr
    announced = {event["stage"]: event["total"] for event in small.events if event["event"] == "stage"}
    assert list(announced) == ["data", "features", "fits", "outputs"]
    advanced: Counter[str] = Counter()
    for event in small.events:
        if event["event"] == "advance":
            advanced[event["stage"]] += event["amount"]
    assert advanced == announced
    assert announced["fits"] == 2 * 2 * 2 * 2


def test_what_is_left_behind_is_what_the_output_says(small):
    named = {place: digest for cohort in small.output.cohorts for place, digest in cohort.files.items()}
    for cohort in small.output.cohorts:
        for family in cohort.families.values():
            named |= family.files
    found = {path.relative_to(small.folder).as_posix() for path in small.folder.rglob("*") if path.is_file()}
    assert found == {*named, "training.json", "environment.json"}
    assert all(digest_of_file(small.folder / place) == digest for place, digest in named.items())
    assert not [path for path in small.folder.iterdir() if path.name.startswith(".")]


def test_cohorts_come_in_the_order_of_target_view_and_symbol(small):
    places = [(cohort.target, cohort.view, cohort.symbol or "") for cohort in small.output.cohorts]
    assert places == sorted(places)
    assert len(places) == 4


def test_metadata_tells_rows_classes_and_seeds(small):
    (cohort,) = (each for each in small.output.cohorts if (each.target, each.symbol) == ("fwd_up_5d", None))
    metadata = json.loads((small.folder / cohort.folder / "metadata.json").read_bytes())
    first = metadata["data"]["splits"][0]
    assert first["train"]["rows"] == sum(first["train"]["classes"].values()) == 4 * first["train"]["dates"]
    wanted = [resolve_seed(42, "training", target="fwd_up_5d", fold=k, view="CROSS_SECTIONAL") for k in (0, 1)]
    assert metadata["families"]["lightgbm"]["seeds"] == wanted
    assert set(metadata["families"]["lightgbm"]["seconds"][0]) >= {"fit", "predict"}


def test_the_rows_of_the_predictions_can_be_found_again(small):
    cohort = small.output.cohorts[0]
    folder = small.folder / cohort.folder
    rows, target = np.load(folder / "test_rows.npy"), np.load(folder / "test_target.npy")
    predictions = np.load(folder / "predictions" / "ridge.npy")
    assert len(rows) == len(target) == len(predictions)
    rmse = np.sqrt(np.mean((target - predictions) ** 2))
    assert cohort.families["ridge"].metrics["rmse"] == pytest.approx(rmse)
    assert set(rows[:, 0]) == {0, 1}
    assert (np.diff(rows[:, 1]) >= 0).all()


def test_one_worker_gives_the_same_fingerprints_as_two(every, trainer):
    alone = trainer(
        experiment(families=EVERY, multi_target={"parallel_targets": True}, threading={"parallel": {"enabled": False}})
    )
    assert len(every.fingerprints) == 4 * len(EVERY)
    assert alone.fingerprints == every.fingerprints
    assert signatures(alone) == signatures(every)


def test_another_family_beside_it_changes_no_cell(every, small):
    assert {key: value for key, value in every.fingerprints.items() if key[3] in SMALL} == small.fingerprints


def test_another_seed_changes_what_draws_at_random_and_no_signature(small, trainer):
    other = trainer(experiment(), seed=43)
    assert signatures(other) == signatures(small)
    for key, fingerprint in other.fingerprints.items():
        assert (fingerprint == small.fingerprints[key]) is (key[3] == "ridge")


def test_one_changed_price_changes_the_dataset_signature_alone(small, trainer):
    other = trainer(experiment(), changed=True)
    for place, before in signatures(small).items():
        after = signatures(other)[place]
        assert {name for name in before if before[name] != after[name]} == {"dataset_signature"}
    assert all(other.fingerprints[key] != small.fingerprints[key] for key in small.fingerprints if key[2] is None)


def test_another_hyperparameter_changes_its_familys_signature_alone(small, trainer):
    other = trainer(experiment(families={**SMALL, "ridge": {"alpha": 2.0}}))
    assert signatures(other) == signatures(small)
    for before, after in zip(small.output.cohorts, other.output.cohorts, strict=True):
        changed = {
            name
            for name, family in before.families.items()
            if family.hyperparameters_signature != after.families[name].hyperparameters_signature
        }
        assert changed == {"ridge"}
        assert before.families["lightgbm"].fingerprint == after.families["lightgbm"].fingerprint


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"features": ["ret_1d", "ret_5d", "vol_5d"]}, "feature_signature"),
        ({"features": ["ret_5d", "ret_1d", "vol_5d", "rank_ret_5d"]}, "feature_signature"),
        ({"folds": {"count": 2, "min_train": 130}}, "split_signature"),
    ],
)
def test_each_other_input_has_a_signature_of_its_own(changes, name, small, trainer):
    other = trainer(experiment(**changes, families={"ridge": {}}))
    for place, before in signatures(small).items():
        after = signatures(other)[place]
        assert {each for each in before if before[each] != after[each]} == {name}


def test_what_is_overridden_is_said_once_a_family(trainer):
    config = {**SMALL["lightgbm"], "n_jobs": 8, "device": "gpu", "seed": 1}
    trained = trainer(experiment(families={"lightgbm": config}))
    assert trained.exit_code == 0, trained.stderr
    notes = [event["message"] for event in trained.events if event["event"] == "log" and event["level"] == "note"]
    assert len(notes) == 3
    assert all(note.startswith("families.lightgbm: ") for note in notes)


def test_noise_is_seen_where_everything_else_is_the_same(trainer, plugins):
    one, two = (trainer(plugged(noise=1e-9), plugins=plugins) for _ in range(2))
    assert one.exit_code == two.exit_code == 0, one.stderr
    assert signatures(one) == signatures(two)
    (before,), (after,) = (list(each.output.cohorts[0].families.values()) for each in (one, two))
    assert before.fingerprint != after.fingerprint
    assert before.outputs.predictions != after.outputs.predictions
    assert before.outputs.model == after.outputs.model
    assert before.threads_per_fit == 1


def test_what_libraries_print_goes_to_stderr(trainer, plugins):
    trained = trainer(plugged(), plugins=plugins)
    assert trained.exit_code == 0
    assert "printed by a library" in trained.stderr
    assert "written by C code" in trained.stderr


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"value": 1e308, "noise": 1.7e308}, "predictions are NaN or infinite"),
        ({"columns": 3}, "The feature importances have the shape (3,)"),
        ({"die": True}, "was ended by SIGKILL"),
    ],
)
def test_a_failing_fit_is_named(config, words, trainer, plugins):
    trained = trainer(plugged(**config), plugins=plugins)
    assert trained.exit_code == trained.error["exit_code"] == 2
    assert trained.error["message"].startswith("mine on fwd_ret_5d, CROSS_SECTIONAL, fold ")
    assert words in trained.error["message"]
    assert not (trained.folder / "training.json").exists()


def test_a_family_with_a_name_of_its_own_is_its_librarys(small, trainer):
    families = {"lgb_small": {"library": "lightgbm", **SMALL["lightgbm"]}}
    trained = trainer(resolve_experiment(experiment(families=families)))
    assert trained.exit_code == 0, trained.stderr
    named = {(*key[:3], "lightgbm"): fingerprint for key, fingerprint in trained.fingerprints.items()}
    assert named == {key: value for key, value in small.fingerprints.items() if key[3] == "lightgbm"}
    assert (trained.folder / trained.output.cohorts[0].folder / "predictions" / "lgb_small.npy").is_file()


@pytest.mark.parametrize("room", ["10k", "200k", "330k"])
def test_a_full_disk_is_said_whatever_was_being_written(room, tiny_disk, trainer, small):
    """The small experiment leaves half a megabyte: the disk is full at the rows, at predictions and models, later."""
    trained = trainer(experiment(), HARNESS_OUTPUT=str(tiny_disk(room)))
    assert trained.exit_code == trained.error["exit_code"] == 2
    assert "The disk is full: " in trained.error["message"]
    assert "Free some space" in trained.error["hint"]


def test_best_effort_trains_with_the_libraries_own_threads(trainer):
    few = experiment(families=EVERY, targets=["fwd_ret_5d"], views=["CROSS_SECTIONAL"])
    trained = trainer(few, mode="best_effort", workers=1)
    assert trained.exit_code == 0, trained.stderr
    assert {name for cohort in trained.output.cohorts for name in cohort.families} == set(EVERY)
    assert all(family.threads_per_fit for cohort in trained.output.cohorts for family in cohort.families.values())


@pytest.mark.parametrize(
    ("changes", "variables", "code", "words"),
    [
        ({"families": {"lightgbm": {"num_leavs": 3}}}, {}, 2, "families.lightgbm: lightgbm has no hyperparameter"),
        ({"families": {"mine": {"plugin": "nowhere:make"}}}, {}, 2, "nowhere"),
        ({"families": {"nothing": {}}}, {}, 2, "families.nothing"),
        ({"symbol_specific": []}, {}, 2, "symbol_specific"),
        ({"symbol_specific": ["ZZZ"]}, {}, 2, "ZZZ"),
        ({"folds": {"count": 2, "min_train": 1000}}, {}, 2, "fwd_ret_5d, CROSS_SECTIONAL: 2 folds need"),
        ({"threading": {"threads_per_fit": 2}}, {}, 2, "force_single_thread"),
        ({}, {"REPRO_MODE": "best_effort"}, 4, "REPRO_MODE"),
        ({}, {"OMP_NUM_THREADS": "2", "OMP_THREAD_LIMIT": "2"}, 4, "OMP_NUM_THREADS"),
        ({}, {"HARNESS_OUTPUT": "/proc/nowhere"}, 2, "/proc/nowhere"),
        ({}, {"HARNESS_TASK": "/nowhere"}, 2, "/nowhere/task.json"),
        ({}, {"HARNESS_DATA": ""}, 2, "HARNESS_DATA"),
    ],
)
def test_what_is_wrong_is_said_in_one_event(changes, variables, code, words, trainer):
    trained = trainer(experiment(**changes), **variables)
    assert trained.error["exit_code"] == code
    assert trained.exit_code == code
    assert words in trained.error["message"]


def test_a_sigterm_ends_it_without_leaving_scratch_files(trainer):
    trained = trainer(experiment(families={"lightgbm": {"n_estimators": 2000}}), interrupt='"stage":"fits"')
    assert trained.exit_code == 128 + 15
    assert not [path for path in trained.folder.iterdir() if path.name.startswith(".")]
    assert not (trained.folder / "training.json").exists()
