from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.record.layout import cohort_folder, importances_file, run_folder
from harness.spec.experiment import View

PANEL, ALONE = View.CROSS_SECTIONAL, View.SYMBOL_SPECIFIC


def test_results_lie_where_users_of_such_pipelines_look_for_them() -> None:
    root = "targets/fwd_ret_10d/reproducibility"
    assert str(cohort_folder("fwd_ret_10d", PANEL, None, "cs_1")) == f"{root}/CROSS_SECTIONAL/cohort=cs_1"
    assert (
        str(cohort_folder("fwd_ret_10d", ALONE, "BRK.B", "sy_1")) == f"{root}/SYMBOL_SPECIFIC/symbol=BRK.B/cohort=sy_1"
    )
    assert (
        str(importances_file("fwd_ret_10d", ALONE, "AAPL", ["AAPL"], "lightgbm"))
        == f"{root}/SYMBOL_SPECIFIC/symbol=AAPL/feature_importances/lightgbm.csv"
    )
    panel = importances_file("fwd_ret_10d", PANEL, None, ["B", "A"], "lightgbm")
    assert panel.match(f"{root}/CROSS_SECTIONAL/universe=*/feature_importances/lightgbm.csv")
    assert run_folder(Path("RESULTS"), "first") == Path("RESULTS/runs/first")


def test_a_universe_is_told_from_another_whatever_its_order() -> None:
    one = importances_file("t", PANEL, None, ["A", "B"], "f")
    assert one == importances_file("t", PANEL, None, ["B", "A"], "f")
    assert one != importances_file("t", PANEL, None, ["A", "C"], "f")


@pytest.mark.parametrize("name", ["..", "a/b", "", "a\x00", ".a", "con"])
def test_names_that_are_no_part_of_a_path_are_refused(name: str) -> None:
    for make in (
        lambda: cohort_folder(name, PANEL, None, "cs_1"),
        lambda: cohort_folder("t", ALONE, name, "sy_1"),
        lambda: cohort_folder("t", PANEL, None, name),
        lambda: importances_file("t", PANEL, None, ["A"], name),
        lambda: run_folder(Path("RESULTS"), name),
    ):
        with pytest.raises(UsageError):
            make()


def test_a_symbol_goes_with_its_view() -> None:
    with pytest.raises(UsageError, match="needs a symbol"):
        cohort_folder("t", ALONE, None, "sy_1")
    with pytest.raises(UsageError, match="has no symbol"):
        cohort_folder("t", PANEL, "AAPL", "cs_1")
