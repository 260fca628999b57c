"""Equal bits on every number of threads, family by family and setting by setting; docs/threads.md names these tests.

Targets have heavy tails (`exp(6·N(0, 1))`): with Gaussian ones float32 gradients summed in float64 are often exact, and
the order of sums hides.
"""

import os
from functools import cache
from typing import Any

import numpy as np
import pytest

from harness.strict.estimators import create_estimator, find_library

CORES = len(os.sched_getaffinity(0))
MORE = [
    pytest.param(count, marks=pytest.mark.skipif(count > CORES, reason=f"needs {count} cores, there are {CORES}"))
    for count in (2, 3, 4)
]
ROUNDS = 8

LIGHTGBM: dict[str, dict[str, Any]] = {
    "bagging": {"bagging_fraction": 0.6, "bagging_freq": 1, "feature_fraction": 0.6, "feature_fraction_bynode": 0.8},
    "categories": {"categorical_feature": [4], "min_data_per_group": 5, "cat_smooth": 1.0},
    "few bins": {"max_bin": 7, "num_leaves": 63, "min_data_in_leaf": 2},
    "extra_trees": {"extra_trees": True, "path_smooth": 1.0},
    "dart": {"boosting": "dart", "drop_rate": 0.5},
    "rf": {"boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1},
    "regularised": {"lambda_l1": 1.0, "monotone_constraints": [1, 0, 0, 0, 0, 0], "max_delta_step": 1e6},
    "l1": {"objective": "l1"},
    "huber": {"objective": "huber", "alpha": 3.0},
    "quantile": {"objective": "quantile", "alpha": 0.9},
    "fair": {"objective": "fair"},
    "mape": {"objective": "mape"},
    "poisson": {"objective": "poisson"},
    "gamma": {"objective": "gamma"},
    "tweedie": {"objective": "tweedie"},
    "custom objective": {"custom_objective": "objectives:logcosh"},
    "early stopping": {"early_stopping_rounds": 3, "learning_rate": 0.9, "early_stopping_metric": "mae"},
}
XGBOOST: dict[str, dict[str, Any]] = {
    "bagging": {"subsample": 0.6, "colsample_bytree": 0.6, "colsample_bynode": 0.8},
    "categories": {"enable_categorical": True, "feature_types": ["q", "q", "q", "q", "c", "q"], "max_cat_to_onehot": 2},
    "few bins": {"max_bin": 7, "grow_policy": "lossguide", "max_leaves": 63, "max_depth": 0, "min_child_weight": 0},
    "approx": {"tree_method": "approx"},
    "exact": {"tree_method": "exact"},
    "dart": {"booster": "dart", "rate_drop": 0.5},
    "forest": {"num_parallel_tree": 3, "subsample": 0.6},
    "linear": {"booster": "gblinear", "updater": "coord_descent", "eta": 0.1},
    "absolute": {"objective": "reg:absoluteerror"},
    "huber": {"objective": "reg:pseudohubererror", "huber_slope": 3.0},
    "quantile": {"objective": "reg:quantileerror", "quantile_alpha": 0.9},
    "poisson": {"objective": "count:poisson"},
    "gamma": {"objective": "reg:gamma"},
    "tweedie": {"objective": "reg:tweedie"},
    "custom objective": {"custom_objective": "objectives:logcosh"},
    "early stopping": {"early_stopping_rounds": 3, "eta": 0.9, "early_stopping_metric": "mae"},
}
CASES = [("lightgbm", name) for name in LIGHTGBM] + [("xgboost", name) for name in XGBOOST]
OBJECTIVES = """
import numpy as np

def logcosh(predictions, target):
    slope = np.tanh(predictions - target)
    return slope, np.maximum(1.0 - slope * slope, 1e-3)
"""


@pytest.fixture(autouse=True)
def objectives(tmp_path_factory, monkeypatch):
    """A user's module on the path."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "objectives.py").write_text(OBJECTIVES)
    monkeypatch.syspath_prepend(folder)


@cache
def rows():
    """Features (rows, 6) with values missing and a column of categories, a heavy-tailed target, and weights."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((6000, 6))
    heavy = np.exp(6 * rng.standard_normal(len(features))) * np.sign(features[:, 0])
    features[:, 4] = rng.integers(0, 40, len(features))
    features[rng.random(len(features)) < 0.1, 1] = np.nan
    return features, heavy, rng.random(len(features)) * 3


def fitted(library: str, config: dict[str, Any], threads: int, *, kind="regression", strict=True):
    features, target, weight = rows()
    target = (target > 0).astype(float) if kind == "classification" else target
    if str(config.get("objective")).rpartition(":")[2] in ("poisson", "gamma", "tweedie", "squaredlogerror"):
        target = np.minimum(np.abs(target), 1e6) + 1e-9  # they are for what is above 0
    rounds = {"torch": {"epochs": 2}, "ridge": {}}.get(library, {"n_estimators": ROUNDS})
    model = create_estimator(
        library, {**rounds, **config}, 42, kind, threads=threads if strict else None, strict=strict
    )
    if library in ("torch", "ridge"):
        features = np.nan_to_num(features)
    model.fit(features, target, weight)
    return model.canonical(), model.predict(features).tobytes(), model.feature_importances().tobytes()


@cache
def alone(library: str, name: str):
    return fitted(library, {"lightgbm": LIGHTGBM, "xgboost": XGBOOST}[library][name], 1)


@pytest.mark.parametrize("threads", MORE)
@pytest.mark.parametrize(("library", "name"), CASES)
def test_a_setting_of_trees_gives_the_same_bits_on_every_number_of_threads(library, name, threads):
    config = {"lightgbm": LIGHTGBM, "xgboost": XGBOOST}[library][name]
    assert fitted(library, config, threads) == alone(library, name)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_each_setting_makes_another_model_so_that_none_is_tested_in_vain(library):
    models = [alone(library, name)[0] for one, name in CASES if one == library]
    assert len({*models, fitted(library, {}, 1)[0]}) == len(models) + 1


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
@pytest.mark.parametrize("missing", ["deterministic", "force_col_wise"])
def test_without_strict_these_rows_show_the_threads_of_lightgbm(missing):
    """The negative twin: what strict forces is needed, and the rows above are such that it is seen."""
    forced = {"deterministic": True, "force_col_wise": True, "num_leaves": 63, missing: False}
    if missing == "force_col_wise":
        forced = {**forced, "deterministic": False, "force_row_wise": True}
    one, two = (fitted("lightgbm", {**forced, "n_jobs": count}, count, strict=False) for count in (1, 2))
    assert one[0] != two[0]


@pytest.mark.parametrize("threads", MORE)
@pytest.mark.parametrize("library", ["torch", "ridge"])
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_where_threads_stand_in_the_group_a_fit_repeats_on_that_number_of_threads(library, kind, threads):
    assert not find_library(library).thread_invariant
    assert fitted(library, {}, threads, kind=kind) == fitted(library, {}, threads, kind=kind)


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_the_threads_of_xgboost_are_seen_in_the_gain_of_a_split_so_they_must_stand_in_the_group():
    assert not find_library("xgboost").thread_invariant
    one, two = (fitted("xgboost", {"objective": "reg:squaredlogerror"}, count) for count in (1, 2))
    assert one[0] != two[0]
    assert two == fitted("xgboost", {"objective": "reg:squaredlogerror"}, 2)


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_a_sum_of_torch_and_ridge_show_their_threads_so_they_must_stand_in_the_group():
    import torch

    heavy = np.exp(6 * np.random.default_rng(1).standard_normal((8, 100_000)))
    sums = {}
    for count in (1, 2):
        torch.set_num_threads(count)
        sums[count] = [row.sum().item() for row in torch.from_numpy(heavy.astype(np.float32))]
    torch.set_num_threads(1)
    assert sums[1] != sums[2]
    features = np.random.default_rng(2).standard_normal((800, 130))
    one, two = (create_estimator("ridge", {}, 42, "regression", threads=count, strict=True) for count in (1, 2))
    assert one.fit(features, heavy[0, :800]).canonical() != two.fit(features, heavy[0, :800]).canonical()
