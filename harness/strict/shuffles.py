"""Shuffles that are defined here, and not by some version of a library's generator."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.strict.keys import encode_key

_DOMAIN = b"harness.shuffle/1\0"
_MOST = 1 << 32


def stable_permutation(count: int, seed: int | tuple[Any, ...]) -> NDArray[np.int64]:
    r"""The numbers from 0 to `count` - 1 in an order that `seed` alone decides, on every platform and version.

    Number i is placed by bytes 8i … 8i + 7 of SHAKE-256 over `harness.shuffle/1\0` and the seed (`keys.encode_key`),
    as a big-endian number, smallest first, ties by i. So a longer permutation holds a shorter one's numbers in the same
    order. A seed is a whole number from 0, or a tuple of keys: `(42, "epoch", 3)` gives each epoch an order of its own.

    Raises:
        UsageError: `count` is not a number from 0 to 2**32, or `seed` is no seed.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 0 <= count <= _MOST:
        raise UsageError(f"{count!r} is no number of items", hint=f"Give a whole number from 0 to {_MOST}.")
    stream = hashlib.shake_256(_DOMAIN + _seed(seed)).digest(8 * int(count))
    order: NDArray[np.int64] = np.argsort(np.frombuffer(stream, ">u8").astype(np.uint64), kind="stable")
    return order.astype(np.int64)


def stable_shuffle(items: Any, seed: int | tuple[Any, ...]) -> Any:
    """`items` in the order of `stable_permutation`: a new list, tuple or array; a number n stands for 0 … n - 1.

    An array is shuffled along its first axis. Nothing is shuffled in place.

    Raises:
        UsageError: `items` have no order to begin with (a set, a mapping, an iterator), are text, or `seed` is no seed.
    """
    if isinstance(items, int | np.integer):
        return stable_permutation(int(items) if not isinstance(items, bool) else items, seed)
    if isinstance(items, np.ndarray) and items.ndim:
        return items[stable_permutation(len(items), seed)]
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        raise UsageError(
            f"A {type(items).__name__} cannot be shuffled the same way twice",
            hint="Give a list, a tuple, an array or a number; sort what has no order first (strict.ordering).",
        )
    shuffled = [items[place] for place in stable_permutation(len(items), seed).tolist()]
    return tuple(shuffled) if isinstance(items, tuple) else shuffled


def _seed(seed: Any) -> bytes:
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if (whole and seed >= 0) or (isinstance(seed, tuple) and seed):
        return encode_key(seed)
    raise UsageError(
        f"{seed!r:.60} is not a seed", hint='A seed is a whole number from 0, or a tuple: (42, "epoch", 3).'
    )
