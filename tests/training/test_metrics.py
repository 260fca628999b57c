import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from harness.training.metrics import classification_metrics, regression_metrics

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(2, 300), st.booleans())
@settings(max_examples=40, deadline=None)
def test_regression_metrics_are_those_of_scikit_learn_and_scipy(seed: int, rows: int, coarse: bool) -> None:
    generator = np.random.default_rng(seed)
    y = np.exp(2 * generator.standard_normal(rows))
    p = y + generator.standard_normal(rows)
    if coarse:
        y, p = np.floor(y) + np.arange(rows) % 2, np.floor(p) + np.arange(rows) // 2 % 2
    found = regression_metrics(y, p, np.arange(rows, dtype=np.int32))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, p))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, p))
    assert found["r2"] == (pytest.approx(sk.r2_score(y, p)) if len(np.unique(y)) > 1 else None)
    if len(np.unique(y)) > 1 and len(np.unique(p)) > 1:
        assert found["pearson_ic"] == pytest.approx(stats.pearsonr(y, p).statistic, abs=1e-9)
        assert found["spearman_ic"] == pytest.approx(stats.spearmanr(y, p).statistic, abs=1e-9)


@given(seeds, st.integers(2, 300), st.booleans())
@settings(max_examples=40, deadline=None)
def test_classification_metrics_are_those_of_scikit_learn(seed: int, rows: int, coarse: bool) -> None:
    generator = np.random.default_rng(seed)
    y = (generator.random(rows) > 0.4).astype(np.float64)
    y[:2] = [0.0, 1.0]
    p = generator.random(rows)
    p = np.round(p, 1) if coarse else p
    found = classification_metrics(y, p)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, p))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p > 0.5))


def test_the_daily_correlation_is_the_mean_over_dates_that_have_one() -> None:
    generator = np.random.default_rng(1)
    days = np.repeat(np.arange(30, dtype=np.int32), generator.integers(1, 8, 30))
    y, p = np.round(generator.standard_normal((2, len(days))), 1)
    p[days == 3] = 0.5
    daily = []
    for day in range(30):
        of_day = days == day
        if of_day.sum() > 1 and len(set(y[of_day])) > 1 and len(set(p[of_day])) > 1:
            daily.append(stats.spearmanr(y[of_day], p[of_day]).statistic)
    assert 10 < len(daily) < 30
    assert regression_metrics(y, p, days)["daily_ic"] == pytest.approx(np.mean(daily))


def test_perfect_and_reversed_predictions_have_the_extreme_scores() -> None:
    y = np.array([3.0, 1.0, 2.0, 5.0])
    days = np.array([0, 0, 1, 1], dtype=np.int32)
    perfect, reversed_ = regression_metrics(y, y, days), regression_metrics(y, -y, days)
    assert perfect == {"rmse": 0.0, "mae": 0.0, "r2": 1.0, "pearson_ic": 1.0, "spearman_ic": 1.0, "daily_ic": 1.0}
    assert [reversed_[name] for name in ("pearson_ic", "spearman_ic", "daily_ic")] == [-1.0, -1.0, -1.0]
    classes = np.array([0.0, 1.0, 0.0, 1.0])
    certain, wrong = classification_metrics(classes, classes), classification_metrics(classes, 1 - classes)
    assert (certain["auc"], certain["accuracy"], wrong["auc"], wrong["accuracy"]) == (1.0, 1.0, 0.0, 0.0)
    assert wrong["log_loss"] == pytest.approx(-math.log(np.finfo(np.float64).eps))


def test_the_order_of_rows_changes_no_bit() -> None:
    generator = np.random.default_rng(2)
    y, p = np.exp(2 * generator.standard_normal((2, 5000)))
    days = np.zeros(5000, dtype=np.int32)
    order = generator.permutation(5000)
    assert regression_metrics(y, p, days) == regression_metrics(y[order], p[order], days)
    classes, probabilities = (y > 1).astype(np.float64), p / (1 + p)
    found = classification_metrics(classes, probabilities)
    assert found == classification_metrics(classes[order], probabilities[order])
    naive = {float(np.sum((y - p)[generator.permutation(5000)])) for _ in range(20)}
    assert len(naive) > 1


def test_constant_predictions_have_no_correlation() -> None:
    y, days = np.array([1.0, 2.0, 3.0]), np.zeros(3, dtype=np.int32)
    found = regression_metrics(y, np.full(3, 0.1), days)
    assert (found["pearson_ic"], found["spearman_ic"], found["daily_ic"]) == (None, None, None)
    assert found["rmse"] is not None
    assert classification_metrics(np.array([0.0, 1.0]), np.full(2, 0.3))["auc"] == 0.5


def test_a_constant_target_has_no_r2_and_one_class_no_auc() -> None:
    constant, p = np.full(7, 0.1), np.arange(7.0)
    found = regression_metrics(constant, p, np.zeros(7, dtype=np.int32))
    assert (found["r2"], found["pearson_ic"], found["daily_ic"]) == (None, None, None)
    assert found["mae"] is not None
    assert classification_metrics(np.ones(3), np.array([0.2, 0.5, 0.9]))["auc"] is None
    assert classification_metrics(np.ones(3), np.array([0.2, 0.5, 0.9]))["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_have_no_metrics(bad: float) -> None:
    y, p = np.array([0.0, 1.0]), np.array([0.5, bad])
    assert set(regression_metrics(y, p, np.arange(2, dtype=np.int32)).values()) == {None}
    assert set(classification_metrics(y, p).values()) == {None}


def test_no_rows_have_no_metrics() -> None:
    none = np.empty(0)
    assert set(regression_metrics(none, none, np.empty(0, dtype=np.int32)).values()) == {None}
    assert set(classification_metrics(none, none).values()) == {None}


def test_one_row_has_errors_and_no_correlations() -> None:
    found = regression_metrics(np.array([2.0]), np.array([1.5]), np.zeros(1, dtype=np.int32))
    assert found == {"rmse": 0.5, "mae": 0.5, "r2": None, "pearson_ic": None, "spearman_ic": None, "daily_ic": None}


def test_squares_that_overflow_give_no_number_rather_than_infinity() -> None:
    found = regression_metrics(np.array([1e200, -1e200]), np.array([-1e200, 1e200]), np.zeros(2, dtype=np.int32))
    assert (found["rmse"], found["r2"], found["pearson_ic"]) == (None, None, None)
    assert found["spearman_ic"] == -1.0
    huge = np.array([1.7e308, 1.7e308, -1.7e308])
    assert regression_metrics(huge, -huge, np.zeros(3, dtype=np.int32))["mae"] is None
