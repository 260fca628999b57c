from pathlib import Path

import pytest

from harness.record.verdicts import CellVerdict, Verdict
from harness.runs.summary import advice, main_metric
from harness.spec.run import Mode


def verdicts(*found: Verdict) -> list[CellVerdict]:
    return [
        CellVerdict(target="t", view="v", symbol=None, family="f", verdict=verdict, reasons=(), against=None)
        for verdict in found
    ]


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"rmse": 1.0, "spearman_ic": 0.5}, ("spearman_ic", 0.5)),
        ({"log_loss": 0.7, "auc": None}, ("auc", None)),
        ({"zeta": 1.0, "alpha": 2.0}, ("alpha", 2.0)),
        ({}, (None, None)),
    ],
)
def test_the_metric_that_is_shown(metrics: dict, shown: tuple) -> None:
    assert main_metric(metrics) == shown


@pytest.mark.parametrize(
    ("mode", "found", "words"),
    [
        (Mode.STRICT, [Verdict.IDENTICAL, Verdict.DIVERGENT], "1 of 2 cells gave other bits"),
        (Mode.STRICT, [Verdict.UNVERIFIED, Verdict.IDENTICAL], "Run the same command again"),
        (Mode.STRICT, [Verdict.IDENTICAL], "Keep 'my results/runs/r' as evidence"),
        (Mode.BEST_EFFORT, [Verdict.IDENTICAL], "best_effort seeds, and libraries choose"),
        (Mode.BEST_EFFORT, [Verdict.DIVERGENT], "gave other bits"),
    ],
)
def test_what_to_do_next_follows_from_the_verdicts(mode: Mode, found: list[Verdict], words: str) -> None:
    said = advice(mode, Path("my results"), "r", verdicts(*found))
    assert words in said
    assert "fingerprint" not in said  # it would end up in `grep fingerprint`
