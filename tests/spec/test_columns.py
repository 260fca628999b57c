import pytest

from harness.errors import UsageError
from harness.spec.columns import (
    FEATURE_FORMS,
    TARGET_FORMS,
    Feature,
    Measure,
    Target,
    TargetKind,
    parse_feature,
    parse_features,
    parse_target,
)


def test_target_names_are_parsed() -> None:
    assert parse_target("fwd_ret_10d") == Target("fwd_ret_10d", TargetKind.REGRESSION, 10)
    assert parse_target("fwd_up_1d") == Target("fwd_up_1d", TargetKind.CLASSIFICATION, 1)


@pytest.mark.parametrize(
    ("name", "measure", "window", "column", "lag", "rank", "history"),
    [
        ("ret_5d", Measure.RETURN, 5, None, 0, False, 5),
        ("mom_252d", Measure.MOMENTUM, 252, None, 0, False, 252),
        ("vol_20d", Measure.VOLATILITY, 20, None, 0, False, 20),
        ("sma_50d", Measure.MOVING_AVERAGE, 50, None, 0, False, 49),
        ("col_volume", Measure.COLUMN, 0, "volume", 0, False, 0),
        ("lag_3_ret_5d", Measure.RETURN, 5, None, 3, False, 8),
        ("rank_vol_20d", Measure.VOLATILITY, 20, None, 0, True, 20),
        ("rank_lag_3_col_x", Measure.COLUMN, 0, "x", 3, True, 3),
    ],
)
def test_feature_names_are_parsed(
    name: str, measure: Measure, window: int, column: str | None, lag: int, rank: bool, history: int
) -> None:
    feature = parse_feature(name)
    assert feature == Feature(name=name, measure=measure, window=window, column=column, lag=lag, rank=rank)
    assert feature.history == history


@pytest.mark.parametrize(
    "name",
    [
        *("", "ret", "ret_d", "ret_0d", "ret_01d", "ret_-1d", "ret_5", "RET_5d", "ret_5d ", "ret_5d\n", "ret_\u0665d"),
        *("xyz_5d", "lag_0_ret_5d", "lag_2_lag_3_ret_5d", "rank_rank_ret_5d", "col_", "col_a/b", "fwd_ret_5d"),
        "ret_9999999d",
    ],
)
def test_a_feature_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_feature(name)
    assert all(form in str(caught.value) for form in FEATURE_FORMS)


@pytest.mark.parametrize("name", ["", "fwd_ret_10m", "fwd_ret_0d", "fwd_down_10d", "fwd_ret_10d/..", "ret_5d"])
def test_a_target_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(name)
    assert all(form in str(caught.value) for form in TARGET_FORMS)


@pytest.mark.parametrize("name", ["mom_21d", "vol_1d", "sma_1d", "ret_5001d", "lag_5001_ret_1d"])
def test_lengths_that_make_no_sense_are_refused_with_their_bounds(name: str) -> None:
    with pytest.raises(UsageError, match="It takes from"):
        parse_feature(name)


def test_a_rank_in_the_wrong_place_is_put_right() -> None:
    with pytest.raises(UsageError, match="Write rank_lag_5_ret_20d"):
        parse_feature("lag_5_rank_ret_20d")


def test_features_keep_their_order() -> None:
    names = ["vol_20d", "ret_1d", "col_b", "col_a"]
    assert [feature.name for feature in parse_features(names)] == names
