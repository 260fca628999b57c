import msgspec
import numpy as np
import pytest
from scipy import stats

from harness.spec.columns import parse_features, parse_target
from harness.spec.experiment import Folds
from harness.training.features import build_features
from harness.training.folds import make_folds
from harness.training.matrix import Matrix, design_matrix
from harness.training.panel import Panel
from harness.training.statistics import DataStatistics, describe
from harness.training.targets import build_target

FEATURES = parse_features(["ret_5d", "col_flat", "vol_10d"])


def make_panel() -> Panel:
    generator = np.random.default_rng(3)
    prices = np.exp(np.cumsum(0.02 * generator.standard_normal((120, 3)), axis=0)) * 50
    prices[50, 1] = np.nan
    return Panel(
        np.arange(120), ("A", "B", "C"), {"close": prices, "flat": np.full((120, 3), 0.1)}, "close", ("a note",)
    )


def described(name: str, symbol_index: int | None = None) -> tuple[DataStatistics, Matrix]:
    panel, target = make_panel(), parse_target(name)
    built, labels = build_features(panel, FEATURES), build_target(panel, target)
    matrix = design_matrix(built, labels, symbol_index)
    folds = make_folds(matrix.dates_in_use, Folds(count=2, min_train=40), target.horizon)
    return describe(panel, FEATURES, built, target, labels, matrix, folds, symbol_index), matrix


def test_rows_gaps_and_dates_are_counted() -> None:
    found, matrix = described("fwd_ret_5d")
    assert (found.first_date, found.last_date, found.dates) == ("1970-01-01", "1970-04-30", 120)
    assert found.missing_prices == {"A": 0, "B": 1, "C": 0}
    assert (found.rows, found.dropped) == (len(matrix.y), 360 - len(matrix.y))
    assert [column.missing for column in found.columns] == [15 + 2, 0, 30 + 11]
    assert found.target.missing == 15 + 2


def test_moments_are_scipys() -> None:
    found, matrix = described("fwd_ret_5d")
    for place in (0, 2):
        column, values = found.columns[place], matrix.x[:, place]
        assert column.name == FEATURES[place].name
        assert (column.minimum, column.maximum) == (values.min(), values.max())
        assert column.mean == pytest.approx(values.mean())
        assert column.deviation == pytest.approx(values.std())
        assert column.skewness == pytest.approx(stats.skew(values))
        assert column.kurtosis == pytest.approx(stats.kurtosis(values))


def test_a_constant_column_is_noted_and_has_no_shape() -> None:
    found, _ = described("fwd_ret_5d")
    flat = found.columns[1]
    assert flat.constant
    assert (flat.mean, flat.deviation, flat.skewness, flat.kurtosis) == (0.1, 0.0, None, None)
    assert not found.columns[0].constant
    assert found.notes == ("a note", "col_flat is constant")


def test_rows_and_classes_are_counted_per_split() -> None:
    found, matrix = described("fwd_up_5d")
    for split in found.splits:
        for part in (split.train, split.test):
            first, last = (int(np.datetime64(day, "D").astype(int)) for day in (part.first_date, part.last_date))
            rows = (matrix.date_index >= first) & (matrix.date_index <= last)
            ones = int(matrix.y[rows].sum())
            assert (part.rows, part.classes) == (rows.sum(), {"0": rows.sum() - ones, "1": ones})
            assert part.dates == len(set(matrix.date_index[rows].tolist()))
    assert described("fwd_ret_5d")[0].splits[0].train.classes is None


def test_one_symbol_alone_is_described_alone() -> None:
    found, matrix = described("fwd_ret_5d", 1)
    assert found.symbols == ("B",)
    assert found.missing_prices == {"B": 1}
    assert found.rows + found.dropped == 120
    assert [column.missing for column in found.columns] == [5 + 2, 0, 10 + 11]
    assert found.columns[0].maximum == matrix.x[:, 0].max()


def test_statistics_are_written_as_json_without_nan() -> None:
    found, _ = described("fwd_up_5d")
    assert msgspec.json.decode(msgspec.json.encode(found), type=DataStatistics) == found
