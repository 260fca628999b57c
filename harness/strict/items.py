"""Randomness for one item of a data set: what follows from (seed, epoch, index) alone, on every machine.

For data sets that make or augment items, in whichever worker, order or process. The recipe: `sha256` over the JSON
text `["harness.items/1",PURPOSE,SEED,EPOCH,INDEX]` (no spaces; the purpose is `rng`, `seed` or `order`; an order's
index is null). JSON keeps the parts apart, so that no two lists of parts can be taken for one another.

    rng = item_rng(seed, epoch, index)
    image = image + rng.normal(0, 0.1, image.shape)
"""

import hashlib
import json
import operator
import re
from typing import TYPE_CHECKING, SupportsIndex

from harness.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

RECIPE = "harness.items/1"
LARGEST = 2**63 - 1
"""The largest seed, epoch and index: what every library and file format can hold."""

_LONGEST_ORDER = 2**40 - 1
_SUFFIX = re.compile(r"(?:[._-][A-Za-z0-9]+){1,8}\Z")


def item_rng(seed: SupportsIndex, epoch: SupportsIndex, index: SupportsIndex) -> "np.random.Generator":
    """A generator of its own for one item in one epoch; another item, epoch or seed has another.

    Philox is counter-based (Salmon et al. 2011) and is given its key, so making one costs microseconds. Its key is the
    first 16 bytes of the recipe's digest (purpose `rng`), little-endian; its counter begins at 0.

    Raises:
        UsageError: seed, epoch or index is no whole number from 0 to 2**63 - 1.
    """
    import numpy as np

    digest = _digest("rng", seed, epoch, _number("index", index))
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def item_seed(seed: SupportsIndex, epoch: SupportsIndex, index: SupportsIndex) -> int:
    """A seed for one item in one epoch, from 1 to 2**31 - 2: every library takes it, and none takes it for "no seed".

    It is the first 8 bytes of the recipe's digest (purpose `seed`), little-endian, modulo 2**31 - 2, and 1 more. With
    this few seeds, two of 50,000 items are likely to share one: where that matters, draw from `item_rng`.

    Raises:
        UsageError: seed, epoch or index is no whole number from 0 to 2**63 - 1.
    """
    return 1 + int.from_bytes(_digest("seed", seed, epoch, _number("index", index))[:8], "little") % (2**31 - 2)


def item_name(seed: SupportsIndex, index: SupportsIndex, suffix: str = ".png") -> str:
    """A file name for the item that `seed` and `index` make: `i000000000042_s0000000007.png`.

    Index and seed stand in it in full, zero-padded to 12 and 10 digits (`i` or `s` then `x` and 19 digits where there
    are more), so names are free of collisions, and sort as their indices do, then as their seeds.

    Raises:
        UsageError: seed or index is no whole number from 0 to 2**63 - 1, or `suffix` is anything but one to eight parts
            of letters and digits, each after `.`, `_` or `-`.
    """
    if not isinstance(suffix, str) or len(suffix) > 64 or _SUFFIX.match(suffix) is None:
        raise UsageError(
            f"{suffix!r} cannot end a file's name", hint="Use letters and digits after a dot, such as .png or .tar.gz."
        )
    return f"i{_padded('index', index, 12)}_s{_padded('seed', seed, 10)}{suffix}"


def epoch_order(seed: SupportsIndex, epoch: SupportsIndex, length: SupportsIndex) -> "np.ndarray":
    """The indices 0 … `length` - 1 in the order of one epoch: an int64 array, the same on every machine.

    Index i has the key "64 bits of Philox": number i that the generator of the recipe's digest (purpose `order`, no
    index) gives as `random_raw`. Indices are sorted by key, equal keys by index. Integers alone are compared, so
    neither CPU, thread count nor NumPy's own shuffling, which its versions may change, can move it.

    Raises:
        UsageError: seed or epoch is no whole number from 0 to 2**63 - 1, or `length` none from 0 to 2**40 - 1.
    """
    import numpy as np

    count = _number("length", length, _LONGEST_ORDER)
    digest = _digest("order", seed, epoch, None)
    keys = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)
    return np.argsort(keys, kind="stable").astype(np.int64)


def _digest(purpose: str, seed: SupportsIndex, epoch: SupportsIndex, index: int | None) -> bytes:
    parts = [RECIPE, purpose, _number("seed", seed), _number("epoch", epoch), index]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()


def _padded(what: str, value: SupportsIndex, digits: int) -> str:
    number = _number(what, value)
    return f"{number:0{digits}}" if number < 10**digits else f"x{number:019}"


def _number(what: str, value: SupportsIndex, largest: int = LARGEST) -> int:
    """`value` as a number, whichever integer type it has."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_") or not 0 <= number <= largest:
        raise UsageError(
            f"The {what} {value!r} is no whole number from 0 to {largest}",
            hint="Give a Python or NumPy integer within that.",
        )
    return number
