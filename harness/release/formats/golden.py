"""Golden cells that were run again, as people read them."""

import msgspec

from harness.release.formats.fate import fails, fate
from harness.release.formats.text import count, listed, number, shown
from harness.release.report import Change, GoldenCell, Purpose


class CellView(msgspec.Struct, frozen=True, kw_only=True):
    """One golden cell: whether its bits are as they were, and if not, how far apart the numbers are."""

    path: str
    answer: str
    because: str
    metrics: str
    distance: str
    reasons: str
    status: str
    fails: bool


def cell_view(cell: GoldenCell, change: Change | None, purpose: Purpose) -> CellView:
    """A golden cell in words; `change` is what layer `golden` says of it."""
    deltas = [
        f"{shown(name)} {number(delta.before)} → {number(delta.after)}"
        + (f" ({delta.delta:+.3g})" if delta.delta is not None else "")
        for name, delta in sorted(cell.metric_deltas.items())
    ]
    return CellView(
        path=shown(cell.path),
        answer=cell.answer.value,
        because=shown(cell.because_of) if cell.because_of else "",
        metrics=listed(deltas, 6),
        distance=_distance(cell),
        reasons="; ".join(shown(reason) for reason in cell.reasons),
        status="" if change is None else fate(change, purpose),
        fails=change is not None and fails(change, purpose),
    )


def _distance(cell: GoldenCell) -> str:
    far = cell.distance
    if far is None:
        return ""
    if far.differing == 0:
        return f"none of {count(far.predictions, 'prediction')} differs"
    return (
        f"{far.differing:,} of {far.predictions:,} predictions differ, largest by {number(far.largest)},"
        f" root mean square {number(far.root_mean_square)} ({number(far.relative)} of the spread),"
        f" correlation {number(far.correlation)}"
    )
