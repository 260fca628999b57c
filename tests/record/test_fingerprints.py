import re
from typing import Any

from harness.record.fingerprints import cohort_id, script_cohort_id, universe_signature
from harness.record.snapshot import fingerprint_lines
from harness.spec.experiment import View


def test_a_cohorts_name_depends_on_what_it_is_not_on_data_or_order() -> None:
    one = cohort_id("e", "fwd_ret_10d", View.CROSS_SECTIONAL, ["A", "B"])
    assert re.fullmatch(r"cs_[0-9a-f]{12}", one)
    assert one == cohort_id("e", "fwd_ret_10d", View.CROSS_SECTIONAL, ["B", "A", "A"])
    others = {
        cohort_id("f", "fwd_ret_10d", View.CROSS_SECTIONAL, ["A", "B"]),
        cohort_id("e", "fwd_up_10d", View.CROSS_SECTIONAL, ["A", "B"]),
        cohort_id("e", "fwd_ret_10d", View.CROSS_SECTIONAL, ["A", "C"]),
        cohort_id("e", "fwd_ret_10d", View.SYMBOL_SPECIFIC, ["A"]),
    }
    assert len(others | {one}) == 5


def test_a_cohort_of_one_symbol_is_not_the_panel_of_that_symbol() -> None:
    panel = cohort_id("e", "t", View.CROSS_SECTIONAL, ["A"])
    alone = cohort_id("e", "t", View.SYMBOL_SPECIFIC, ["A"])
    assert panel.removeprefix("cs_") != alone.removeprefix("sy_")


def test_a_scripts_cohort_depends_on_where_its_arguments_end() -> None:
    assert script_cohort_id(["a", "b c"]) != script_cohort_id(["a b", "c"])


def test_a_universe_is_a_set() -> None:
    assert universe_signature(["B", "A"]) == universe_signature(("A", "B"))
    assert universe_signature(["AB"]) != universe_signature(["A", "B"])


def test_lines_come_one_a_cell_in_sorted_order_with_nothing_but_names_and_the_fingerprint(scene: Any) -> None:
    lines = fingerprint_lines(reversed(scene.snapshots()))
    assert len(lines) == 4
    assert lines == sorted(lines)
    name = r"[A-Za-z0-9._=^-]+"
    pattern = rf"fingerprint target={name} view=[A-Z_]+ symbol={name} family={name} sha256:[0-9a-f]{{64}}"
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert "symbol=- family=lightgbm" in lines[0]
    assert "symbol=AAPL" in lines[-1]


def test_lines_of_equal_runs_are_equal_and_of_other_bits_are_not(scene: Any) -> None:
    again = scene.snapshots()
    assert fingerprint_lines(again) == fingerprint_lines(scene.snapshots())
    changed = fingerprint_lines(scene.but(noise={"model": "x"}).snapshots())
    assert not set(changed) & set(fingerprint_lines(again))
