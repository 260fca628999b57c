"""What is compared is two fits on this machine, never golden bits. Heavy tails, because Gaussian data hides the order
of sums: float32 gradients summed in float64 are often exact."""

import os
from typing import Any

import numpy as np
import pytest

from harness.errors import UsageError
from harness.strict.estimators import create_estimator
from harness.strict.models.interface import Estimator

TREES = ("lightgbm", "xgboost")
ALL = ("lightgbm", "xgboost", "torch", "ridge")
SMALL: dict[str, dict[str, Any]] = {
    "lightgbm": {"n_estimators": 15, "bagging_fraction": 0.7, "bagging_freq": 1},
    "xgboost": {"n_estimators": 15, "subsample": 0.7},
    "torch": {"hidden": [8], "epochs": 1, "dropout": 0.1},
    "ridge": {},
}
two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20_000, 6))
    heavy = np.exp(6 * rng.standard_normal(len(features))) * np.sign(features[:, 0])
    classes = (features[:, 0] + rng.standard_normal(len(features)) > 0).astype(float)
    return features, {"regression": heavy, "classification": classes}


def make(library: str, kind: str = "regression", config: dict[str, Any] | None = None, **changes: Any) -> Estimator:
    options = {"seed": 42, "strict": True, **changes}
    return create_estimator(library, SMALL[library] if config is None else config, problem_kind=kind, **options)


def bits(estimator: Estimator, features) -> tuple[bytes, bytes, bytes]:
    return estimator.canonical(), estimator.predict(features).tobytes(), estimator.feature_importances().tobytes()


@two_cores
@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("library", TREES)
def test_trees_have_the_same_bits_on_one_thread_and_on_two(library, kind, rows):
    features, targets = rows
    one, two = (make(library, kind, threads=count).fit(features, targets[kind]) for count in (1, 2))
    assert bits(one, features) == bits(two, features)


@two_cores
def test_without_strict_the_heavy_tails_show_lightgbms_threads(rows):
    """The negative twin: the data is such that a thread-dependent sum is seen."""
    features, targets = rows
    config = {**SMALL["lightgbm"], "force_row_wise": True, "num_leaves": 63}
    one, two = (make("lightgbm", config={**config, "n_jobs": count}, strict=False, threads=None) for count in (1, 2))
    first, second = (estimator.fit(features, targets["regression"]) for estimator in (one, two))
    assert first.canonical() != second.canonical()


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("library", ALL)
def test_two_fits_with_one_seed_have_the_same_bits(library, kind, rows):
    features, targets = rows
    one, two = (make(library, kind).fit(features, targets[kind]) for _ in range(2))
    assert bits(one, features) == bits(two, features)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost", "torch"])
def test_another_seed_gives_another_model(library, rows):
    features, targets = rows
    one, two = (make(library, seed=seed).fit(features, targets["regression"]) for seed in (42, 43))
    assert one.canonical() != two.canonical()


@pytest.mark.parametrize("library", ALL)
def test_one_changed_target_gives_another_model(library, rows):
    features, targets = rows
    changed = targets["classification"].copy()
    changed[7] = 1.0 - changed[7]
    one = make(library, "classification").fit(features, targets["classification"])
    assert one.canonical() != make(library, "classification").fit(features, changed).canonical()


@pytest.mark.parametrize("library", ALL)
def test_a_signal_is_learnt_and_attributed(library, rows):
    features, targets = rows
    config = {**SMALL[library], "epochs": 8, "dropout": 0.0} if library == "torch" else SMALL[library]
    estimator = make(library, "classification", config).fit(features, targets["classification"])
    predicted = estimator.predict(features)
    assert ((predicted > 0.5) == targets["classification"]).mean() > 0.7
    assert estimator.feature_importances().argmax() == 0
    assert estimator.feature_importances().shape == (6,)
    both = estimator.predict_proba(features)
    assert both.shape == (len(features), 2)
    assert (both[:, 1] == predicted).all()


@pytest.mark.parametrize("library", ALL)
def test_weights_count(library, rows):
    features, _ = rows
    target = features[:, 0] + features[:, 1]
    weight = np.where(features[:, 2] > 0, 5.0, 0.1)
    plain, weighted = make(library).fit(features, target), make(library).fit(features, target, weight)
    assert plain.canonical() != weighted.canonical()


def test_ridge_is_the_least_squares_solution(rows):
    features, _ = rows
    target = features @ np.arange(6.0) + 3.0
    estimator = make("ridge", config={"alpha": 0.0}).fit(features, target)
    np.testing.assert_allclose(estimator.predict(features), target, rtol=1e-9)
    np.testing.assert_allclose(estimator.feature_importances(), np.arange(6.0) * features.std(axis=0), atol=1e-9)


@pytest.mark.parametrize(
    ("library", "caller", "said"),
    [
        ("lightgbm", {"n_jobs": 8, "device": "gpu", "seed": 1}, ("n_jobs=8", "device='gpu'", "seed=1")),
        ("lightgbm", {"num_threads": 8, "device_type": "cuda"}, ("num_threads=8", "device_type='cuda'")),
        ("lightgbm", {"deterministic": False, "bagging_seed": 3}, ("deterministic=False", "bagging_seed=3")),
        ("lightgbm", {"nthread": 8, "nthreads": 4, "random_state": 5}, ("nthread=8", "nthreads=4", "random_state=5")),
        ("lightgbm", {"force_row_wise": True, "metric": "l2"}, ("force_row_wise=True", "metric='l2'")),
        (
            "xgboost",
            {"n_jobs": 8, "device": "cuda", "random_state": 1},
            ("n_jobs=8", "device='cuda'", "random_state=1"),
        ),
        ("xgboost", {"tree_method": "gpu_hist", "nthread": 3}, ("tree_method='gpu_hist'", "nthread=3")),
        ("torch", {"n_jobs": 8, "seed": 1}, ("n_jobs=8", "seed=1")),
        ("ridge", {"n_jobs": 8, "random_state": 1}, ("n_jobs=8", "random_state=1")),
    ],
)
def test_what_determinism_overrides_is_overridden_and_said(library, caller, said, rows):
    features, targets = rows
    own = make(library)
    estimator = make(library, config={**SMALL[library], **caller})
    assert not own.overrides
    for words in said:
        assert sum(words in sentence for sentence in estimator.overrides) == 1
    one, two = (one.fit(features, targets["regression"]) for one in (own, estimator))
    assert one.canonical() == two.canonical()


def test_best_effort_leaves_threads_and_determinism_to_the_caller_but_not_the_seed(rows):
    estimator = make("lightgbm", config={"n_jobs": 2, "deterministic": False, "seed": 1}, strict=False, threads=None)
    assert [sentence.split(" ")[1] for sentence in estimator.overrides] == ["seed=1"]


@pytest.mark.parametrize(
    ("library", "config", "words"),
    [
        ("lightgbm", {"num_leavs": 3}, "num_leavs"),
        ("xgboost", {"max_dept": 3}, "max_dept"),
        ("torch", {"hiden": [3]}, "hiden"),
        ("torch", {"hidden": 3}, "hidden"),
        ("torch", {"dropout": 1}, "dropout"),
        ("torch", {"epochs": 0}, "epochs"),
        ("torch", {"activation": "sine"}, "activation"),
        ("torch", {"learning_rate": float("nan")}, "learning_rate"),
        ("ridge", {"alpha": -1}, "alpha"),
        ("ridge", {"alpha": True}, "alpha"),
        ("lightgbm", {"eta": 0.1, "learning_rate": 0.2}, "given twice"),
        ("lightgbm", {"n_estimators": 0}, "num_iterations"),
        ("lightgbm", {"early_stopping": "soon"}, "early_stopping_round is 'soon'"),
        ("xgboost", {"early_stopping_rounds": True}, "early_stopping_rounds is True"),
        ("torch", {"early_stopping_rounds": 2, "validation_fraction": 1.0}, "validation_fraction"),
        ("xgboost", {"validation_fraction": 0.2}, "nothing stops early"),
        ("lightgbm", {"early_stopping_round": 0, "early_stopping_metric": "mae"}, "nothing stops early"),
        ("lightgbm", {"early_stopping_round": 3, "early_stopping_metric": "log_loss"}, "log_loss"),
        ("lightgbm", {"early_stopping_round": 3, "boosting": "dart"}, "dart"),
        ("xgboost", {"early_stopping_rounds": 3, "booster": "dart"}, "dart"),
        ("lightgbm", {"custom_objective": "os.path"}, "custom_objective is 'os.path'"),
        ("xgboost", {"custom_objective": "os:no_such_function"}, "no_such_function"),
        ("xgboost", {"custom_objective": "math:fsum", "objective": "reg:tweedie"}, "custom_objective is the objective"),
        ("lightgbm", {"libraries": ["scipy"]}, "without custom_objective"),
        ("lightgbm", {"categorical_feature": "name:sector"}, "categorical_feature"),
        ("xgboost", {"enable_categorical": True}, "which columns"),
        ("xgboost", {"feature_types": ["q", "c"]}, "enable_categorical"),
        ("xgboost", {"feature_types": "qc"}, "feature_types"),
        ("lightgbm", {"output_model": "/tmp/x"}, "output_model"),
        ("lightgbm", {"machines": "a:1"}, "machines"),
        ("lightgbm", {"objective": "binary"}, "objective"),
        ("xgboost", {"objective": "binary:logistic"}, "objective"),
        ("xgboost", {"booster": "gblinear"}, "race"),
        ("xgboost", {"updater": "shotgun"}, "race"),
        ("nothing", {}, "nothing"),
        ("plugin", {"plugin": "no_such_module:factory"}, "no_such_module"),
        ("plugin", {"plugin": "os:no_such_factory"}, "no_such_factory"),
        ("plugin", {"plugin": "os"}, "plugin is 'os'"),
        ("plugin", {"plugin": "types:SimpleNamespace"}, "cannot make"),
    ],
)
def test_what_is_unknown_or_refused_is_named(library, config, words):
    with pytest.raises(UsageError) as caught:
        create_estimator(library, config, 42, "regression", strict=True)
    assert words in str(caught.value)


@two_cores
@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("linear_tree", True, False),
        ("use_quantized_grad", True, False),
        ("data_sample_strategy", "goss", "bagging"),
        ("boosting", "goss", "gbdt"),
    ],
)
def test_what_depends_on_threads_is_refused_on_two_and_allowed_on_one(name, value, other):
    with pytest.raises(UsageError, match=name):
        make("lightgbm", config={name: value}, threads=2)
    assert make("lightgbm", config={name: value}, threads=1)
    assert make("lightgbm", config={name: other}, threads=2)


@two_cores
@pytest.mark.parametrize("setting", [{"linear_tree": True}, {"data_sample_strategy": "goss", "learning_rate": 0.5}])
def test_what_is_refused_on_two_threads_does_depend_on_them(setting, rows):
    features, targets = rows
    pinned = {"deterministic": True, "force_col_wise": True, "n_estimators": 5, **setting}
    one, two = (make("lightgbm", config={**pinned, "n_jobs": count}, strict=False, threads=None) for count in (1, 2))
    first, second = (estimator.fit(features, targets["regression"]) for estimator in (one, two))
    assert first.canonical() != second.canonical()


def test_lightgbm_on_a_gpu_is_refused_where_gpu_trees_are_allowed():
    with pytest.raises(UsageError, match="atomicAdd"):
        make("lightgbm", config={"device": "gpu"}, gpu_trees=True)
    assert not make("xgboost", config={"device": "cuda"}, gpu_trees=True).overrides


def test_more_threads_than_cores_are_refused():
    with pytest.raises(UsageError, match="sums do not repeat"):
        make("ridge", threads=len(os.sched_getaffinity(0)) + 1)


def test_an_unknown_problem_kind_is_named():
    with pytest.raises(UsageError, match="clustering"):
        make("ridge", "clustering")


@pytest.mark.parametrize("library", ALL)
@pytest.mark.parametrize(
    ("features", "target", "kind", "words"),
    [
        (np.zeros((4, 2)), np.zeros(3), "regression", "fit together"),
        (np.zeros((0, 2)), np.zeros(0), "regression", "nothing to train on"),
        (np.zeros((4, 2)), np.array([1.0, np.nan, 0, 0]), "regression", "NaN"),
        (np.full((4, 2), np.inf), np.zeros(4), "regression", "infinity"),
        (np.zeros((4, 2)), np.ones(4), "classification", "of class 1"),
        (np.zeros((4, 2)), np.array([0.0, 1, 2, 1]), "classification", "0 and 1"),
    ],
)
def test_rows_that_nothing_can_be_learnt_from_are_refused(library, features, target, kind, words):
    with pytest.raises(UsageError, match=words):
        make(library, kind).fit(features, target)


def test_a_constant_column_is_no_obstacle(rows):
    features, targets = rows
    flat = features.copy()
    flat[:, 3] = 1.5
    for library in ALL:
        estimator = make(library, "classification").fit(flat, targets["classification"])
        assert np.isfinite(estimator.predict(flat)).all()
        assert estimator.feature_importances()[3] == 0.0 or library == "torch"


@pytest.mark.parametrize("library", ALL)
def test_a_saved_model_is_its_librarys_own_file_and_predicts_the_same(library, rows, tmp_path):
    features, targets = rows
    estimator = make(library, "classification").fit(features, targets["classification"])
    path = estimator.save(tmp_path, "fold0")
    assert path.parent == tmp_path
    assert path.stem == "fold0"
    if library == "lightgbm":
        import lightgbm

        again = lightgbm.Booster(model_file=path).predict(features)
    elif library == "xgboost":
        import xgboost

        again = xgboost.Booster(model_file=path).predict(xgboost.DMatrix(features))
    elif library == "torch":
        import torch

        content = torch.load(path, weights_only=True)
        assert content["hyperparameters"]["hidden"] == (8,)
        return
    else:
        assert path.read_bytes() == estimator.canonical()
        return
    assert (again == estimator.predict(features)).all()


def test_xgboost_ignores_no_hyperparameter_in_silence(rows):
    features, targets = rows
    with pytest.raises(UsageError, match="feature_selector"):
        make("xgboost", config={"feature_selector": "greedy"}).fit(features, targets["regression"])
