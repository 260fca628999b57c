"""Verdicts: the four things that a comparison can say of a cell, and the exit codes they lead to."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from harness.errors import ExitCode, worst


class Verdict(StrEnum):
    """Same group and same bits, same group and other bits, another group, or nothing to compare with."""

    IDENTICAL = "identical"
    DIVERGENT = "divergent"
    INCOMPARABLE = "incomparable"
    UNVERIFIED = "unverified"


class CellVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was said of one cell, and against which run (its run_id; null where there was none)."""

    target: str
    view: str
    symbol: str | None
    family: str
    verdict: Verdict
    reasons: tuple[str, ...]
    against: str | None


_CODES = {
    Verdict.IDENTICAL: ExitCode.OK,
    Verdict.DIVERGENT: ExitCode.DIVERGENT,
    Verdict.INCOMPARABLE: ExitCode.INCOMPARABLE,
}


def comparison_exit_code(verdicts: Iterable[Verdict]) -> ExitCode:
    """What `compare` answers: 0 only where every cell is identical, and there is at least one."""
    codes = [_CODES.get(verdict, ExitCode.INCOMPARABLE) for verdict in verdicts]
    return worst(codes) if codes else ExitCode.INCOMPARABLE


def run_exit_code(verdicts: Iterable[Verdict]) -> ExitCode:
    """What `run` answers: as `compare`, but a cell with nothing to compare with is no failure."""
    return worst(_CODES.get(verdict, ExitCode.OK) for verdict in verdicts)
