import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import UsageError
from harness.spec.columns import parse_features
from harness.training.features import build_features, feature_signature
from harness.training.panel import Panel, Values
from harness.training.ranks import average_ranks

NAMES = [
    *("ret_1d", "ret_5d", "lag_3_ret_2d", "mom_30d", "vol_2d", "vol_10d", "sma_7d", "col_volume"),
    *("rank_ret_5d", "rank_lag_2_vol_5d", "rank_col_volume", "lag_4_col_volume"),
]
FEATURES = parse_features(NAMES)


def make_panel(dates: int = 80, symbols: int = 5, seed: int = 0) -> Panel:
    generator = np.random.default_rng(seed)
    prices = np.exp(np.cumsum(0.02 * generator.standard_normal((dates, symbols)), axis=0)) * 50
    volume = np.floor(generator.exponential(5.0, (dates, symbols)))
    names = tuple(f"S{number}" for number in range(symbols))
    return Panel(np.arange(dates, dtype=np.int64), names, {"close": prices, "volume": volume}, "close")


def changed(panel: Panel, rows: slice, factor: float = 1.7) -> Panel:
    columns = {name: values.copy() for name, values in panel.columns.items()}
    for values in columns.values():
        values[rows] = values[rows] * factor + 1.0
    return Panel(panel.dates, panel.symbols, columns, panel.price_column)


def one(panel: Panel, name: str) -> Values:
    return build_features(panel, parse_features([name]))[:, :, 0]


def test_features_are_what_their_names_say() -> None:
    panel = make_panel()
    prices, t = panel.prices, 60
    returns = prices[1:] / prices[:-1] - 1
    assert one(panel, "ret_5d")[t] == pytest.approx(prices[t] / prices[t - 5] - 1)
    assert one(panel, "lag_3_ret_2d")[t] == pytest.approx(prices[t - 3] / prices[t - 5] - 1)
    assert one(panel, "mom_30d")[t] == pytest.approx(prices[t - 21] / prices[t - 30] - 1)
    assert one(panel, "vol_10d")[t] == pytest.approx(returns[t - 10 : t].std(axis=0, ddof=1), rel=1e-12)
    assert one(panel, "sma_7d")[t] == pytest.approx(prices[t] / prices[t - 6 : t + 1].mean(axis=0) - 1)
    np.testing.assert_array_equal(one(panel, "col_volume"), panel.columns["volume"])
    ranks = stats.rankdata(prices[t] / prices[t - 5] - 1)
    assert one(panel, "rank_ret_5d")[t] == pytest.approx((ranks - 0.5) / 5)


def test_columns_keep_the_order_asked_for() -> None:
    panel = make_panel()
    forwards, backwards = build_features(panel, FEATURES), build_features(panel, FEATURES[::-1])
    np.testing.assert_array_equal(forwards, backwards[:, :, ::-1])
    assert not np.array_equal(forwards, backwards, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_begins_exactly_after_its_history(name: str) -> None:
    values, history = one(make_panel(), name), parse_features([name])[0].history
    assert np.isnan(values[:history]).all()
    assert not np.isnan(values[history:]).any()


def peeks(panel: Panel, built: Values, today: int) -> bool:
    later = build_features(changed(panel, slice(today + 1, None)), FEATURES)
    return built[: today + 1].tobytes() != later[: today + 1].tobytes()


@pytest.mark.parametrize("today", [0, 10, 33, 50, 78])
def test_later_prices_change_no_feature_up_to_today(today: int) -> None:
    panel = make_panel()
    assert not peeks(panel, build_features(panel, FEATURES), today)


@pytest.mark.parametrize("today", [33, 50, 77])
def test_a_look_ahead_of_one_row_would_be_seen(today: int) -> None:
    panel = make_panel()
    shifted = np.roll(build_features(panel, FEATURES), -1, axis=0)
    original = shifted[: today + 1]
    later = np.roll(build_features(changed(panel, slice(today + 1, None)), FEATURES), -1, axis=0)[: today + 1]
    assert original.tobytes() != later.tobytes()


def test_todays_price_does_change_todays_features() -> None:
    panel = make_panel()
    before, after = build_features(panel, FEATURES), build_features(changed(panel, slice(60, 61)), FEATURES)
    for place, name in enumerate(NAMES):
        if "lag" not in name and name != "mom_30d" and not name.startswith("rank"):
            assert (before[60, :, place] != after[60, :, place]).all(), name


@given(start=st.integers(1, 30), end=st.integers(60, 80))
@settings(max_examples=20, deadline=None)
def test_a_feature_has_the_same_bits_in_a_shorter_panel(start: int, end: int) -> None:
    panel = make_panel()
    rows = slice(start, end)
    columns = {name: values[rows] for name, values in panel.columns.items()}
    part = build_features(Panel(panel.dates[rows], panel.symbols, columns, "close"), FEATURES)
    longest = max(feature.history for feature in FEATURES)
    assert part[longest:].tobytes() == build_features(panel, FEATURES)[rows][longest:].tobytes()


def test_a_feature_that_is_no_rank_has_the_same_bits_without_other_symbols() -> None:
    panel = make_panel()
    own = [place for place, feature in enumerate(FEATURES) if not feature.rank]
    columns = {name: values[:, 2:3] for name, values in panel.columns.items()}
    alone = build_features(Panel(panel.dates, ("S2",), columns, "close"), [FEATURES[place] for place in own])
    assert alone[:, 0].tobytes() == build_features(panel, FEATURES)[:, 2][:, own].tobytes()


def test_a_missing_price_leaves_out_what_needs_it_and_nothing_else() -> None:
    panel = make_panel()
    panel.columns["close"][40, 1] = np.nan
    assert np.flatnonzero(np.isnan(one(panel, "ret_5d")[5:, 1])).tolist() == [35, 40]
    assert np.flatnonzero(np.isnan(one(panel, "sma_7d")[6:, 1])).tolist() == list(range(34, 41))
    assert np.flatnonzero(np.isnan(one(panel, "vol_10d")[10:, 1])).tolist() == list(range(30, 41))
    assert not np.isnan(one(panel, "vol_10d")[10:, [0, 2, 3, 4]]).any()
    ranks = one(panel, "rank_ret_5d")[40]
    assert np.isnan(ranks[1])
    assert sorted(ranks[[0, 2, 3, 4]]) == [0.125, 0.375, 0.625, 0.875]


def test_constant_prices_give_constant_features_and_no_nan() -> None:
    panel = Panel(np.arange(60), ("A", "B"), {"close": np.full((60, 2), 3.0), "volume": np.ones((60, 2))}, "close")
    built = build_features(panel, FEATURES)[40:]
    assert set(np.unique(built).tolist()) == {0.0, 0.5, 1.0}


def test_a_window_longer_than_the_panel_is_all_missing() -> None:
    panel = make_panel(dates=10)
    for name in ("ret_10d", "vol_20d", "sma_11d", "lag_50_ret_1d", "mom_100d"):
        assert np.isnan(one(panel, name)).all(), name


def test_what_the_panel_cannot_give_is_refused() -> None:
    panel = make_panel(symbols=1)
    with pytest.raises(UsageError, match="Did you mean volume"):
        one(panel, "col_volumes")
    with pytest.raises(UsageError, match="rank_ret_1d ranks symbols among each other, and the panel has one"):
        one(panel, "rank_ret_1d")
    panel.columns["close"][30:32, 0] = [1e-300, 1e300]
    with pytest.raises(UsageError, match="ret_1d overflows for S0 on 1970-02-01"):
        one(panel, "ret_1d")


def test_the_signature_is_over_definitions_and_their_order() -> None:
    base = feature_signature(FEATURES)
    assert feature_signature(parse_features(NAMES)) == base
    assert feature_signature(FEATURES[::-1]) != base
    assert feature_signature(FEATURES[:-1]) != base
    assert feature_signature(parse_features([*NAMES[:-1], "lag_5_col_volume"])) != base


tables = st.integers(1, 6).flatmap(
    lambda columns: st.lists(
        st.lists(st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0, math.inf, math.nan]), min_size=columns, max_size=columns),
        min_size=1,
        max_size=5,
    )
)


@given(tables)
def test_ranks_are_scipys(rows: list[list[float]]) -> None:
    table = np.array(rows)
    expected = np.vstack([stats.rankdata(row, nan_policy="omit") for row in table])
    np.testing.assert_array_equal(average_ranks(table), expected)
