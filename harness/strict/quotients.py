"""Numbers of any size, divided and rounded once to a float's bits: how an exact sum becomes a result.

A number is limbs of 32 bits. Everything is done on integers, so that no flag of the processor has a say.
"""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LIMB = 32
MASK = (1 << LIMB) - 1

Unsigned = NDArray[np.uint64]


class Format(NamedTuple):
    """A binary floating-point format of IEEE 754: bits of the stored fraction, bias, and the integer that holds it."""

    fraction: int
    bias: int
    bits: type[np.unsignedinteger[Any]]

    @property
    def infinity(self) -> int:
        """The bits of infinity."""
        return (2 * self.bias + 1) << self.fraction


FORMATS = {np.dtype(np.float32): Format(23, 127, np.uint32), np.dtype(np.float64): Format(52, 1023, np.uint64)}


def quotients(limbs: Unsigned, lowest: int, divisor: Fraction, form: Format) -> Unsigned:
    """The bits of the numbers in `limbs` (limbs by numbers, lowest first) by `divisor`, rounded to nearest even."""
    if divisor == 1:
        return _round(limbs, lowest * LIMB, np.zeros(limbs.shape[1], dtype=bool), form)
    power = divisor.denominator.bit_length() - 1
    whole = divisor.numerator
    twos = (whole & -whole).bit_length() - 1
    whole, power = whole >> twos, power - twos
    room = whole.bit_length() // LIMB + 3
    limbs = np.concatenate([np.zeros((room, limbs.shape[1]), dtype=np.uint64), limbs])
    exponent = (lowest - room) * LIMB + power
    if whole > MASK:
        return _slow_quotients(limbs, exponent, whole, form)
    rest = np.zeros(limbs.shape[1], dtype=np.uint64)
    for row in range(len(limbs) - 1, -1, -1):
        value = (rest << np.uint64(LIMB)) | limbs[row]
        limbs[row], rest = value // np.uint64(whole), value % np.uint64(whole)
    return _round(limbs, exponent, rest != 0, form)


def _slow_quotients(limbs: Unsigned, exponent: int, whole: int, form: Format) -> Unsigned:
    """As `quotients`, number by number, where the divisor does not fit into a limb."""
    rests = np.zeros(limbs.shape[1], dtype=bool)
    for column in range(limbs.shape[1]):
        value = sum(int(limb) << (LIMB * place) for place, limb in enumerate(limbs[:, column]))
        value, rest = divmod(value, whole)
        limbs[:, column] = [value >> (LIMB * place) & MASK for place in range(len(limbs))]
        rests[column] = rest != 0
    return _round(limbs, exponent, rests, form)


def _round(limbs: Unsigned, exponent: int, more: NDArray[np.bool_], form: Format) -> Unsigned:
    """The bits of `limbs` times two to `exponent`; `more` says where something follows below the lowest limb."""
    count, size = limbs.shape
    padded = np.concatenate([np.zeros((2, size), dtype=np.uint64), limbs])
    filled = padded != 0
    top = count + 1 - np.argmax(filled[::-1], axis=0)
    zero = ~filled.any(axis=0)
    top = np.where(zero, 2, top)
    columns = np.arange(size)
    first = padded[top, columns]
    below = (padded[top - 1, columns] << np.uint64(LIMB)) | padded[top - 2, columns]
    # Whether anything lies below the three limbs that are looked at.
    lowest = np.where(zero, count + 2, np.argmax(filled, axis=0))
    sticky = more | (lowest < top - 2)
    length = np.frexp(first.astype(np.float64))[1].astype(np.int64)
    width = np.maximum(length, 1).astype(np.uint64)
    words = (first << (np.uint64(64) - width)) | (below >> width)
    sticky |= (below & ((np.uint64(1) << width) - np.uint64(1))) != 0
    leading = exponent + (top - 2) * LIMB + np.maximum(length, 1) - 1
    smallest = 1 - form.bias
    drop = np.minimum(63 - form.fraction + np.maximum(smallest - leading, 0), 65)
    kept = np.where(drop < 64, words >> np.minimum(drop, 63).astype(np.uint64), np.uint64(0))
    half = np.uint64(1) << np.minimum(drop - 1, 63).astype(np.uint64)
    rest = np.where(drop < 64, words & ((half << np.uint64(1)) - np.uint64(1)), words)
    up = (drop < 65) & ((rest > half) | ((rest == half) & (sticky | (kept & np.uint64(1) == 1))))
    kept = kept + up.astype(np.uint64)
    # A fraction that is rounded up to the next power of two carries into the exponent by itself.
    normal = leading >= smallest
    biased = np.where(normal, np.minimum(leading, form.bias + 1) + form.bias - 1, 0).astype(np.uint64)
    bits = (biased << np.uint64(form.fraction)) + kept
    bits = np.minimum(bits, np.uint64(form.infinity))
    return np.where(zero, np.uint64(0), bits)
