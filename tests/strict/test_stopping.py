"""Early stopping from predictions: by hand-made losses, and by fits that are repeated without it."""

import math
import os
from typing import Any

import numpy as np
import pytest

from harness.errors import UsageError
from harness.strict.estimators import create_estimator
from harness.strict.models.rows import Rows, Timeline, hold_out
from harness.strict.models.stopping import Stopping, Watch, held_out_loss

LIBRARIES: dict[str, dict[str, Any]] = {
    "lightgbm": {"n_estimators": 40, "learning_rate": 0.2, "num_leaves": 4, "bagging_fraction": 0.7, "bagging_freq": 1},
    "xgboost": {"n_estimators": 40, "learning_rate": 0.5, "max_depth": 2, "subsample": 0.7},
    "torch": {"epochs": 40, "learning_rate": 0.05, "hidden": [16], "batch_size": 64, "dropout": 0.1},
}
ROUNDS = {"lightgbm": "n_estimators", "xgboost": "n_estimators", "torch": "epochs"}
HELD = 200
TRAINED = 800


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((TRAINED + HELD, 4))
    target = features[:, 0] + 2 * rng.standard_normal(len(features))
    return features, {"regression": target, "classification": (target > 0).astype(float)}


def make(library: str, kind: str = "regression", **config: Any):
    options = {name: config.pop(name) for name in ("threads", "timeline") if name in config}
    return create_estimator(library, {**LIBRARIES[library], **config}, 42, kind, strict=True, **options)


def stopped(library: str, **config: Any):
    return make(library, early_stopping_rounds=4, validation_fraction=HELD / (TRAINED + HELD), **config)


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_model_is_that_of_the_round_with_the_least_loss_on_the_held_out_rows(library, kind, rows):
    features, targets = rows
    target = targets[kind]
    metric = "log_loss" if kind == "classification" else "rmse"
    model = stopped(library, kind=kind).fit(features, target)
    # Each number of rounds by itself, on the first rows alone, judged by the last ones.
    alone, losses = [], []
    for count in range(1, 41):
        other = make(library, kind, **{ROUNDS[library]: count}).fit(features[:TRAINED], target[:TRAINED])
        alone.append(other.predict(features))
        losses.append(held_out_loss(metric, target[TRAINED:], alone[-1][TRAINED:], None))
        if count - int(np.argmin(losses)) > 4:
            break
    best = int(np.argmin(losses))
    assert 0 < best < 39, "the data must be such that stopping early is right"
    np.testing.assert_array_equal(model.predict(features), alone[best])
    assert (model.predict(features) != alone[-1]).any()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_trees_stop_at_the_same_round_on_two_threads(library, rows):
    features, targets = rows
    one, two = (stopped(library, threads=count).fit(features, targets["regression"]) for count in (1, 2))
    assert one.canonical() == two.canonical()


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_lies_between_trained_and_held_out_rows_is_never_looked_at(library, rows):
    features, targets = rows
    dates = np.arange(TRAINED + HELD, dtype=np.int32) // 10
    timeline = Timeline(dates, gap=5)
    model = stopped(library, timeline=timeline).fit(features, targets["regression"])
    for touched, same in ((slice(TRAINED - 50, TRAINED), True), (slice(TRAINED - 51, TRAINED - 50), False)):
        changed, target = features.copy(), targets["regression"].copy()
        changed[touched] *= -3
        target[touched] += 100
        other = stopped(library, timeline=timeline).fit(changed, target)
        assert (model.canonical() == other.canonical()) is same


@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_of_held_out_rows_decide_when_to_stop(library, rows):
    features, targets = rows
    target = targets["regression"]
    # Where signal and target agree, more rounds are better; where they don't, fewer are.
    agreeing = np.sign(features[:, 0]) == np.sign(target)
    models = set()
    for decisive in (agreeing, ~agreeing):
        weight = np.where(decisive, 1.0, 0.0)
        weight[:TRAINED] = 1.0
        models.add(stopped(library).fit(features, target, weight).canonical())
    assert len(models) == 2


def watch(losses, rounds=2, min_delta=0.0):
    made = Watch(Stopping(rounds=rounds, fraction=0.5, metric="mae", min_delta=min_delta), np.zeros(1), None)
    for number, loss in enumerate(losses, 1):
        made.see(number, np.array([loss]))
        if made.stops:
            break
    return made


def test_a_watch_stops_after_so_many_rounds_without_a_better_one():
    assert (watch([3, 2, 2, 2, 1]).best_round, watch([3, 2, 2, 2, 1]).last_round) == (2, 4)
    assert watch([3, 2, 2.5, 1, 5]).best_round == 4
    assert watch([3, 2.9, 2.8, 1], min_delta=0.5).best_round == 1
    assert watch([3, 2.4, 2.8, 1], min_delta=0.5).best_round == 4


def test_a_fit_that_never_predicts_numbers_is_refused():
    diverged = watch([math.nan, math.inf, math.nan])
    assert diverged.stops
    with pytest.raises(UsageError, match="No round"):
        diverged.best()


def test_losses_are_as_defined_and_depend_on_no_order():
    target, predictions = np.array([0.0, 1.0, 1.0]), np.array([0.25, 0.5, 1.0])
    assert held_out_loss("mae", target, predictions, None) == 0.25
    assert held_out_loss("rmse", target, predictions, np.array([4.0, 0.0, 1.0])) == 0.05
    assert held_out_loss("log_loss", target, predictions, None) == pytest.approx((math.log(4 / 3) + math.log(2)) / 3)
    heavy = np.exp(6 * np.random.default_rng(0).standard_normal(5000))
    order = np.random.default_rng(1).permutation(len(heavy))
    zeros = np.zeros(len(heavy))
    assert held_out_loss("rmse", zeros, heavy, None) == held_out_loss("rmse", zeros, heavy[order], None)
    assert np.cumsum(heavy**2)[-1] != np.cumsum(heavy[order] ** 2)[-1]
    assert held_out_loss("rmse", zeros, heavy * 1e200, None) == math.inf


def rows_of(count: int) -> Rows:
    return Rows(np.arange(float(count))[:, None], np.arange(float(count)), None)


def test_no_date_is_split_and_the_gap_is_in_neither_part():
    trained, held = hold_out(rows_of(20), 0.24, Timeline(np.repeat(np.arange(10, dtype=np.int32), 2), gap=3))
    assert held.target.tolist() == [16.0, 17.0, 18.0, 19.0]
    assert trained.target.tolist() == list(range(10))
    trained, held = hold_out(rows_of(20), 0.25, None)
    assert (len(trained.target), len(held.target)) == (15, 5)


@pytest.mark.parametrize(
    ("count", "timeline", "words"),
    [
        (1, None, "Nothing is left"),
        (20, Timeline(np.zeros(20, dtype=np.int32)), "Nothing is left"),
        (20, Timeline(np.arange(20, dtype=np.int32), gap=18), "18 moments"),
        (20, Timeline(np.arange(19, dtype=np.int32)), "none of 20 rows"),
        (20, Timeline(np.arange(20, dtype=np.int32)[::-1]), "order of time"),
    ],
)
def test_rows_that_cannot_be_held_out_are_refused(count, timeline, words):
    with pytest.raises(UsageError, match=words):
        hold_out(rows_of(count), 0.1, timeline)


def test_training_rows_that_lose_a_class_to_the_held_out_ones_are_refused(rows):
    features, _ = rows
    with pytest.raises(UsageError, match="of class 0"):
        stopped("lightgbm", kind="classification").fit(features, np.r_[np.zeros(TRAINED), np.ones(HELD)])
