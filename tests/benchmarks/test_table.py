from benchmarks.figures import Bound, Check, Figure, Skipped
from benchmarks.table import row


def test_a_missed_target_is_shown_as_missed_with_its_spread() -> None:
    figure = Figure(
        name="n", statement="speed", unit="x", values=(1.0, 1.5, 1.2), bound=Bound.AT_LEAST, target=1.7
    )  # fmt: skip
    assert row(figure) == ("speed", "1.20 x", "1.00 … 1.50", "3", "≥ 1.70 x", "MISSED")


def test_a_met_target_is_shown_as_met() -> None:
    figure = Figure(name="n", statement="time", unit="s", values=(0.3,), bound=Bound.AT_MOST, target=0.5)
    assert row(figure) == ("time", "0.30 s", "0.30 … 0.30", "1", "≤ 0.50 s", "met")


def test_a_figure_without_a_target_claims_nothing() -> None:
    assert row(Figure(name="n", statement="time", unit="s", values=(0.3,)))[-2:] == ("", "")


def test_a_check_that_fails_and_a_benchmark_that_could_not_run_cannot_be_taken_for_success() -> None:
    assert row(Check(name="n", statement="one image", holds=False, detail="2 digests"))[-1] == "MISSED"
    assert row(Skipped(name="image", reason="only root"))[-1] == "NOT MEASURED"
