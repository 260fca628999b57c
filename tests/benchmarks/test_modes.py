import pytest

from benchmarks.modes import Trained, figures
from benchmarks.table import row

SAME = {"a": "1", "b": "2"}


def trained(wall, **fingerprints):
    return Trained(wall=wall, fits=wall / 2, fingerprints={**SAME, **fingerprints})


def test_speed_is_the_time_of_the_fast_mode_by_that_of_the_deterministic_one():
    found = figures({"--deterministic": [trained(4.0)] * 2, "--no-deterministic": [trained(2.0)] * 2}, "it")
    assert [row(figure)[1] for figure in found[:2]] == ["0.50 x", "0.50 x"]


def test_cells_that_did_not_repeat_are_counted_out_and_nothing_is_promised():
    free = [trained(1.0), trained(1.0, b="other"), trained(1.0, a="x", b="y")]
    found = figures({"--deterministic": [trained(1.0)] * 3, "--no-deterministic": free}, "it")
    assert [figure.values for figure in found[2:]] == [(2.0, 2.0), (1.0, 0.0)]
    assert row(found[2])[1] == "2.00 of 2"
    assert all(figure.met is None for figure in found)


def test_two_modes_with_other_numbers_of_runs_cannot_be_compared():
    with pytest.raises(ValueError, match="argument"):
        figures({"--deterministic": [trained(1.0)], "--no-deterministic": [trained(1.0)] * 2}, "it")
