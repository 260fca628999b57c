"""Standardised columns: what linear models and networks need of their inputs."""

from typing import Self

import msgspec
import numpy as np

from harness.errors import UsageError
from harness.strict.models.interface import Floats


class Scaling(msgspec.Struct, frozen=True):
    """`center` and `scale` of each column, from training rows; a constant column's scale is 1."""

    center: Floats
    scale: Floats

    @classmethod
    def of(cls, features: Floats) -> Self:
        """The scaling that gives these rows mean 0 and standard deviation 1.

        Raises:
            UsageError: a value is missing.
        """
        if np.isnan(features).any():
            raise UsageError("The features hold NaN, which only trees can take", hint="Drop those rows.")
        center = features.mean(axis=0)
        deviation = features.std(axis=0)
        return cls(center, np.where(deviation > 0, deviation, 1.0))

    def apply(self, features: Floats) -> Floats:
        """The rows, standardised."""
        return (features - self.center) / self.scale
