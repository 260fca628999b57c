import pytest

from benchmarks.figures import Bound, Check, Figure, differences, faster, ratios


def figure(*values: float, bound: Bound | None = Bound.AT_MOST, target: float | None = 1.0) -> Figure:
    return Figure(name="n", statement="s", unit="s", values=values, bound=bound, target=target)


def test_a_median_on_the_right_side_of_its_target_is_met() -> None:
    assert figure(0.5, 0.9, 9.0).met is True
    assert figure(1.0).met is True
    assert figure(1.8, 1.9, 0.1, bound=Bound.AT_LEAST, target=1.7).met is True


def test_a_median_on_the_wrong_side_of_its_target_is_missed_however_good_the_best_pair_is() -> None:
    assert figure(0.1, 1.1, 1.2).met is False
    assert figure(9.0, 1.6, 1.5, bound=Bound.AT_LEAST, target=1.7).met is False


def test_a_figure_without_a_target_is_neither_met_nor_missed() -> None:
    assert figure(5.0, bound=None, target=None).met is None


def test_a_check_is_met_when_it_holds_and_not_otherwise() -> None:
    assert Check(name="n", statement="s", holds=True, detail="").met
    assert not Check(name="n", statement="s", holds=False, detail="").met


def test_pairs_stay_pairs() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == (2.0, 3.0)
    assert differences([2.0, 9.0], [1.0, 3.0]) == (1.0, 6.0)
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_the_faster_alternative_is_the_one_with_the_smaller_median_not_the_one_with_the_best_run() -> None:
    assert faster({"lucky once": [0.1, 5.0, 5.0], "steady": [3.0, 3.0, 3.0]}) == "steady"
    assert faster({"lucky once": [0.1, 2.0, 5.0], "steady": [3.0, 3.0, 3.0]}) == "lucky once"
