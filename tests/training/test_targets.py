import numpy as np
import pytest

from harness.errors import UsageError
from harness.spec.columns import parse_target
from harness.training.matrix import design_matrix
from harness.training.panel import Panel
from harness.training.targets import build_target, task_signature

PRICES = np.array([[1.0, 4.0], [2.0, 4.0], [1.0, np.nan], [3.0, 2.0], [6.0, 8.0]])
PANEL = Panel(np.arange(5), ("A", "B"), {"close": PRICES}, "close")


def test_a_return_looks_ahead_by_its_horizon() -> None:
    expected = [[0.0, np.nan], [0.5, -0.5], [5.0, np.nan], [np.nan, np.nan], [np.nan, np.nan]]
    np.testing.assert_array_equal(build_target(PANEL, parse_target("fwd_ret_2d")), expected)


def test_a_class_says_whether_the_return_is_above_zero() -> None:
    expected = [[0.0, np.nan], [1.0, 0.0], [1.0, np.nan], [np.nan, np.nan], [np.nan, np.nan]]
    np.testing.assert_array_equal(build_target(PANEL, parse_target("fwd_up_2d")), expected)


def test_a_target_depends_on_prices_up_to_its_horizon_and_no_further() -> None:
    prices = np.cumsum(np.random.default_rng(0).exponential(1.0, (30, 2)), axis=0) + 1
    target = parse_target("fwd_ret_5d")
    before = build_target(Panel(np.arange(30), ("A", "B"), {"close": prices}, "close"), target)
    prices = prices.copy()
    prices[20:] *= 1.5
    after = build_target(Panel(np.arange(30), ("A", "B"), {"close": prices}, "close"), target)
    assert before[:15].tobytes() == after[:15].tobytes()
    assert (before[15:20] != after[15:20]).all()


@pytest.mark.parametrize("horizon", [5, 6, 100])
def test_a_horizon_as_long_as_the_panel_leaves_no_target(horizon: int) -> None:
    assert np.isnan(build_target(PANEL, parse_target(f"fwd_ret_{horizon}d"))).all()


def test_the_signature_tells_targets_apart() -> None:
    names = ["fwd_ret_10d", "fwd_ret_11d", "fwd_up_10d"]
    assert len({task_signature(parse_target(name)) for name in names}) == 3
    assert task_signature(parse_target("fwd_up_10d")) == task_signature(parse_target("fwd_up_10d"))


def test_rows_lie_in_the_order_of_date_and_symbol_without_gaps() -> None:
    target = build_target(PANEL, parse_target("fwd_ret_1d"))
    features = np.stack([PRICES, PRICES * 10], axis=2)
    features[3, 0, 1] = np.nan
    matrix = design_matrix(features, target, None)
    assert list(zip(matrix.date_index.tolist(), matrix.symbol_index.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (2, 0), (3, 1),
    ]  # fmt: skip
    np.testing.assert_array_equal(matrix.x, [[1, 10], [4, 40], [2, 20], [1, 10], [2, 20]])
    np.testing.assert_array_equal(matrix.y, [1.0, 0.0, -0.5, 2.0, 3.0])
    assert (matrix.x.dtype, matrix.y.dtype, matrix.date_index.dtype) == (np.float64, np.float64, np.int32)
    assert matrix.dropped == 5
    assert matrix.dates_in_use.tolist() == [0, 1, 2, 3]


def test_one_symbol_alone_is_what_the_whole_says_of_it() -> None:
    target = build_target(PANEL, parse_target("fwd_ret_1d"))
    features = np.stack([PRICES], axis=2)
    whole, alone = design_matrix(features, target, None), design_matrix(features, target, 1)
    np.testing.assert_array_equal(alone.x, whole.x[whole.symbol_index == 1])
    np.testing.assert_array_equal(alone.y, whole.y[whole.symbol_index == 1])
    assert set(alone.symbol_index.tolist()) == {1}
    assert alone.dropped == 3


def test_no_complete_row_is_refused() -> None:
    with pytest.raises(UsageError, match="No date has all features and the target"):
        design_matrix(np.full((5, 2, 1), np.nan), PRICES, None)
