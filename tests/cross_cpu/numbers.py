"""Inputs that are the same on every CPU: made of whole-number arithmetic alone, of very different sizes."""

from typing import Any

import numpy as np

_MASK = np.uint64(2**64 - 1)


def uniform(count: int, stream: int) -> Any:
    """`count` float64 from [-1, 1), exact multiples of 2**-52: splitmix64 (https://prng.di.unimi.it/splitmix64.c)."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(stream * 0x632BE59BD9B4E019 & int(_MASK))
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z = (z ^ z >> np.uint64(31)) >> np.uint64(11)
    return z.astype(np.float64) * 2.0**-52 - 1.0


def heavy(count: int, stream: int) -> Any:
    """`count` float64 of both signs with exponents spread over 2**-20 … 2**20: their sum depends on its order."""
    exponents = ((uniform(count, stream + 1000) + 1) * 20.5).astype(np.int64) - 20
    return np.ldexp(uniform(count, stream), exponents)
