import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.spec.experiment import Folds
from harness.training.folds import MIN_TEST_DATES, Fold, make_folds, split_signature


def indices(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@given(
    steps=st.integers(0, 60).flatmap(
        lambda extra: st.lists(st.integers(1, 3), min_size=60 + extra, max_size=60 + extra)
    ),
    count=st.integers(1, 4),
    min_train=st.integers(1, 25),
    embargo=st.integers(0, 3),
    horizon=st.integers(1, 8),
    longer=st.integers(0, 3),
)
def test_no_label_reaches_into_a_test_window_and_every_date_after_the_first_training_is_tested(
    steps: list[int], count: int, min_train: int, embargo: int, horizon: int, longer: int
) -> None:
    dates = indices(np.cumsum(steps).tolist())
    settings = Folds(count=count, min_train=min_train, embargo=embargo, purge=horizon + longer)
    gap = horizon + longer + embargo
    folds = make_folds(dates, settings, horizon)
    tested: list[int] = []
    for fold in folds:
        train, test = dates[fold.train_mask(dates)], dates[fold.test_mask(dates)]
        assert len(train) >= min_train
        assert len(test) >= MIN_TEST_DATES
        assert train.max() + gap < test.min()
        assert train.tolist() == [day for day in dates.tolist() if day + gap < test.min()]
        assert (fold.train, fold.test) == ((train[0], train[-1]), (test[0], test[-1]))
        tested += test.tolist()
    assert tested == dates[min_train + gap :].tolist()
    assert [fold.index for fold in folds] == list(range(count))
    lengths = [fold.test_mask(dates).sum() for fold in folds]
    assert max(lengths) - min(lengths) <= 1


def test_the_purge_is_the_horizon_unless_given() -> None:
    dates = indices(list(range(100)))
    assert make_folds(dates, Folds(count=1, min_train=50), 7)[0] == Fold(0, (0, 49), (57, 99))
    assert make_folds(dates, Folds(count=1, min_train=50, purge=9), 7)[0] == Fold(0, (0, 49), (59, 99))
    assert make_folds(dates, Folds(count=1, min_train=50, embargo=3), 7)[0] == Fold(0, (0, 49), (60, 99))


def test_a_purge_shorter_than_the_horizon_is_refused() -> None:
    with pytest.raises(UsageError, match=r"folds\.purge is 6, shorter than the target's horizon of 7"):
        make_folds(indices(list(range(100))), Folds(count=1, min_train=50, purge=6), 7)


def test_too_few_dates_are_refused_with_how_many_are_needed() -> None:
    settings = Folds(count=3, min_train=20, embargo=2)
    needed = 20 + 10 + 2 + 3 * MIN_TEST_DATES
    assert len(make_folds(indices(list(range(needed))), settings, 10)) == 3
    with pytest.raises(UsageError, match=f"need {needed} dates .*there are {needed - 1}"):
        make_folds(indices(list(range(needed - 1))), settings, 10)


def test_masks_pick_the_rows_of_the_folds_dates() -> None:
    fold = Fold(0, (2, 3), (5, 6))
    rows = indices([1, 2, 2, 3, 4, 5, 6, 6, 7])
    assert rows[fold.train_mask(rows)].tolist() == [2, 2, 3]
    assert rows[fold.test_mask(rows)].tolist() == [5, 6, 6]


def test_the_signature_is_over_the_dates_of_the_folds() -> None:
    dates = np.arange(100, dtype=np.int64)
    used = indices(list(range(100)))
    folds = make_folds(used, Folds(count=2, min_train=50), 5)
    base = split_signature(folds, dates)
    assert split_signature(make_folds(used, Folds(count=2, min_train=50), 5), dates) == base
    for other in (Folds(count=3, min_train=50), Folds(count=2, min_train=49), Folds(count=2, min_train=50, embargo=1)):
        assert split_signature(make_folds(used, other, 5), dates) != base
    assert split_signature(folds, dates + 1) != base
