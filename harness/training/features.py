"""Features of each symbol at each date, from values at that date and before it, never after.

Every window is summed afresh, oldest value first, elementwise over the panel: so a feature at a date has the same bits
however long the panel is, whatever else is in it, and with any vector width. What `Feature` means stands in
`harness.spec.columns`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.record.hashing import signature
from harness.spec.columns import MOMENTUM_SKIP, Feature, Measure
from harness.spec.digest import Digest
from harness.spec.documents import suggestion
from harness.training.panel import Panel, Values, date_text
from harness.training.ranks import average_ranks

SCHEMA = "harness.features/1"


def build_features(panel: Panel, features: Sequence[Feature]) -> NDArray[np.float64]:
    """The features (dates by symbols by features), in the order given; NaN where a value that is needed is missing.

    Raises:
        UsageError: the panel lacks a column that a feature names, or a rank is asked for among fewer than two symbols,
            or prices are so far apart that a feature overflows.
    """
    built = np.empty((len(panel.dates), len(panel.symbols), len(features)), dtype=np.float64)
    for place, feature in enumerate(features):
        with np.errstate(over="ignore"):
            values = _build(panel, feature)
        if np.isinf(values).any():
            date, symbol = np.argwhere(np.isinf(values))[0]
            where = f"{panel.symbols[symbol]} on {date_text(panel.dates[date])}"
            raise UsageError(f"The feature {feature.name} overflows for {where}", hint="Look at the prices before it.")
        built[:, :, place] = values
    return built


def feature_signature(features: Sequence[Feature]) -> Digest:
    """The digest of what the features are and of their order: definitions, not values."""
    return signature([SCHEMA, list(features)])


def _build(panel: Panel, feature: Feature) -> Values:
    if feature.rank and len(panel.symbols) < 2:
        raise UsageError(
            f"The feature {feature.name} ranks symbols among each other, and the panel has one",
            hint="Take more symbols, or leave the rank_ features out.",
        )
    values = _lagged(_measure(panel, feature), feature.lag)
    return _ranked(values) if feature.rank else values


def _measure(panel: Panel, feature: Feature) -> Values:
    prices, window = panel.prices, feature.window
    match feature.measure:
        case Measure.RETURN:
            return prices / _lagged(prices, window) - 1.0
        case Measure.MOMENTUM:
            return _lagged(prices, MOMENTUM_SKIP) / _lagged(prices, window) - 1.0
        case Measure.VOLATILITY:
            return _rolling_deviation(prices / _lagged(prices, 1) - 1.0, window)
        case Measure.MOVING_AVERAGE:
            return prices / (_rolling_sum(prices, window) / window) - 1.0
        case Measure.COLUMN:
            if feature.column is None or feature.column not in panel.columns:
                hint = suggestion(str(feature.column), sorted(panel.columns))
                raise UsageError(f"The panel has no column for the feature {feature.name}", hint=hint)
            return panel.columns[feature.column]


def _lagged(values: Values, rows: int) -> Values:
    """The values of `rows` rows earlier; NaN where there is no such row."""
    lagged = np.full_like(values, np.nan)
    if rows < len(values):
        lagged[rows:] = values[: len(values) - rows]
    return lagged


def _rolling_sum(values: Values, window: int) -> Values:
    """The sum of the last `window` rows, oldest first; NaN where one is missing."""
    total = _lagged(values, window - 1)
    for age in range(window - 2, -1, -1):
        total += _lagged(values, age)
    return total


def _rolling_deviation(values: Values, window: int) -> Values:
    """The standard deviation (denominator `window` - 1) of the last `window` rows, in two passes."""
    mean = _rolling_sum(values, window) / window
    squares = np.zeros_like(values)
    for age in range(window - 1, -1, -1):
        difference = _lagged(values, age) - mean
        squares += difference * difference
    return np.sqrt(squares / (window - 1))


def _ranked(values: Values) -> Values:
    """(rank - 1/2) / n among the n symbols that have a value at that date: in (0, 1), ties sharing their mean."""
    counts = np.count_nonzero(~np.isnan(values), axis=1, keepdims=True)
    ranks: Values = (average_ranks(values) - 0.5) / np.maximum(counts, 1)
    return ranks
