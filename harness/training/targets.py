"""Targets: what a model is asked to foresee, made from prices after the date of its features."""

import numpy as np

from harness.record.hashing import signature
from harness.spec.columns import Target, TargetKind
from harness.spec.digest import Digest
from harness.training.panel import Panel, Values

SCHEMA = "harness.targets/1"


def build_target(panel: Panel, target: Target) -> Values:
    """The target (dates by symbols): a return, or 1.0 and 0.0 for classes; NaN where a price is missing."""
    prices, horizon = panel.prices, target.horizon
    returns = np.full_like(prices, np.nan)
    if horizon < len(prices):
        returns[:-horizon] = prices[horizon:] / prices[:-horizon] - 1.0
    if target.kind is TargetKind.REGRESSION:
        return returns
    return np.where(np.isnan(returns), np.nan, (returns > 0.0).astype(np.float64))


def task_signature(target: Target) -> Digest:
    """The digest of what the target is."""
    return signature([SCHEMA, target])
