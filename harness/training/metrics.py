"""How good predictions are. Sums are `math.fsum`: rounded once, so they depend on no order and no vector width.

What cannot be computed (a correlation with a constant, an AUC with one class, predictions that are not finite) is None.
"""

import math

import numpy as np
from numpy.typing import NDArray

from harness.training.ranks import average_ranks

# Probabilities are clipped to [e, 1 - e] with float64's e, as scikit-learn's log_loss does.
_SMALLEST = float(np.finfo(np.float64).eps)

Metrics = dict[str, float | None]
Vector = NDArray[np.float64]


def regression_metrics(y: Vector, p: Vector, date_index: NDArray[np.int32]) -> Metrics:
    """`rmse`, `mae`, `r2`, `pearson_ic`, `spearman_ic` and `daily_ic` of predictions `p` of `y` (rows).

    `daily_ic` is the mean over dates of the rank correlation across that date's symbols; `date_index` (rows, rising)
    says which rows belong together.
    """
    if not _usable(y, p):
        return dict.fromkeys(("rmse", "mae", "r2", "pearson_ic", "spearman_ic", "daily_ic"))
    with np.errstate(over="ignore", invalid="ignore"):
        errors = y - p
        squares = _sum(errors * errors)
        spread = _centred(y)
        total = _sum(spread * spread)
        return {
            "rmse": _finite(math.sqrt(squares / len(y))),
            "mae": _finite(_sum(np.abs(errors)) / len(y)),
            "r2": None if _constant(y) else _finite(1.0 - squares / total),
            "pearson_ic": _correlation(y, p),
            "spearman_ic": _correlation(_ranks(y), _ranks(p)),
            "daily_ic": _daily_correlation(y, p, date_index),
        }


def classification_metrics(y: Vector, p: Vector) -> Metrics:
    """`log_loss`, `auc` and `accuracy` of `p`, the probabilities of class 1, for the classes `y` (rows, 0.0 or 1.0).

    A row is put into class 1 where its probability is above one half.
    """
    if not _usable(y, p):
        return dict.fromkeys(("log_loss", "auc", "accuracy"))
    positive = y == 1.0
    clipped = np.clip(p, _SMALLEST, 1.0 - _SMALLEST)
    losses = -np.log(np.where(positive, clipped, 1.0 - clipped))
    return {
        "log_loss": _finite(_sum(losses) / len(y)),
        "auc": _area(positive, p),
        "accuracy": float(np.count_nonzero((p > 0.5) == positive) / len(y)),
    }


def _usable(y: Vector, p: Vector) -> bool:
    return len(y) > 0 and bool(np.isfinite(y).all() and np.isfinite(p).all())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sum(values: Vector) -> float:
    """The sum, rounded once; infinity where it is beyond float64."""
    try:
        return math.fsum(values.tolist())
    except (OverflowError, ValueError):
        return math.inf


def _constant(values: Vector) -> bool:
    return bool((values == values[0]).all())


def _centred(values: Vector) -> Vector:
    centred: Vector = values - _sum(values) / len(values)
    return centred


def _ranks(values: Vector) -> Vector:
    ranks: Vector = average_ranks(values[np.newaxis, :])[0]
    return ranks


def _correlation(a: Vector, b: Vector) -> float | None:
    """Pearson's correlation; None where one of the two is constant."""
    if _constant(a) or _constant(b):
        return None
    a, b = _centred(a), _centred(b)
    shared, spread_a, spread_b = _sum(a * b), _sum(a * a), _sum(b * b)
    spread = math.sqrt(spread_a) * math.sqrt(spread_b)
    if 0.0 < spread_a * spread_b < math.inf:
        spread = math.sqrt(spread_a * spread_b)  # one rounding fewer: a perfect correlation is exactly 1
    if not 0.0 < spread < math.inf:
        return None
    return max(-1.0, min(1.0, shared / spread))


def _daily_correlation(y: Vector, p: Vector, date_index: NDArray[np.int32]) -> float | None:
    """The mean of the dates' rank correlations, over the dates where there is one."""
    starts = np.flatnonzero(np.r_[True, date_index[1:] != date_index[:-1]])
    counts = np.diff(np.r_[starts, len(y)])
    if counts.max() < 2:
        return None
    day = np.repeat(np.arange(len(starts)), counts)
    place = np.arange(len(y)) - np.repeat(starts, counts)
    ranks = []
    for values in (y, p):
        table = np.full((len(starts), int(counts.max())), np.nan)
        table[day, place] = values
        ranks.append(average_ranks(table) - (counts[:, np.newaxis] + 1) / 2.0)
    a, b = (np.nan_to_num(table) for table in ranks)
    # Centred ranks are multiples of one half, so these sums are exact in any order.
    shared, spread_a, spread_b = (a * b).sum(axis=1), (a * a).sum(axis=1), (b * b).sum(axis=1)
    defined = (spread_a > 0.0) & (spread_b > 0.0)
    if not defined.any():
        return None
    daily = shared[defined] / np.sqrt(spread_a[defined] * spread_b[defined])
    return _sum(daily) / len(daily)


def _area(positive: NDArray[np.bool_], p: Vector) -> float | None:
    """The area under the ROC curve: how often a row of class 1 outranks one of class 0, ties counting half."""
    ones = int(np.count_nonzero(positive))
    zeros = len(p) - ones
    if not ones or not zeros:
        return None
    # Ranks are multiples of one half: the sum is exact in any order.
    above = float(_ranks(p)[positive].sum()) - ones * (ones + 1) / 2.0
    return above / (ones * zeros)
