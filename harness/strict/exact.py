"""Sums and means that are exact until one last rounding: whatever the order, the sharding or the tree they come in.

An `ExactSum` keeps every element as a fixed-point number, in limbs of 32 bits; only those limbs exist that some value
reached (as Kulisch's accumulator, https://doi.org/10.1515/9783110203431, without its empty parts). Everything is done
on the bits of the numbers, so that no flag of the processor (flush to zero) and no library's kernel has a say.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.errors import IntegrityError, UsageError
from harness.strict.quotients import FORMATS, LIMB, MASK, Unsigned, quotients

SCHEMA = "harness.exact-sum/1"

_CHUNK = 1 << 16
_MOST_ADDS = 1 << 26  # a limb of 64 bits holds 2**30 words of 33 bits, and one add is eight words at most
_LANES = 1 << 12
_LOWEST, _HIGHEST = -(1 << 10), 1 << 10  # limbs that a state may name: beyond any float64 times any weight

Signed = NDArray[np.int64]


class ExactSum:
    """The exact sum of arrays of one shape, element by element, and of their weights.

    Takes float32, float64 and integers. Equal contents give equal `state()` and results, in whatever order or tree
    `add` and `merge` brought them together. A sum has float32 where all that was added was float32, else float64.
    NaN, or infinities of both signs, give NaN; a sum that is exactly zero is +0.0; one beyond the format is infinite.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] | None = None
        self._single = True
        self._count = 0
        self._weight = Fraction(0)
        self._limbs: dict[int, Signed] = {}
        self._flags: dict[str, NDArray[np.bool_]] = {}
        self._pending = 0

    @property
    def count(self) -> int:
        """How many arrays were added (those of weight 0 are left out)."""
        return self._count

    @property
    def weight(self) -> Fraction:
        """The sum of the weights."""
        return self._weight

    def add(self, values: Any, weight: int | float = 1) -> Self:
        """Add an array (or a number), `weight` times; an array of weight 0 is left out, whatever it holds.

        Raises:
            UsageError: the shape is another than before, the elements are neither float32, float64 nor integers, or
                the weight is negative or not finite.
        """
        array, factor = _array(values), _weight(weight)
        self._require_shape(array.shape)
        if factor == 0:
            return self
        self._single &= array.dtype == np.float32
        self._count += 1
        self._weight += factor
        self._add(array.reshape(-1), factor)
        return self

    def merge(self, other: "ExactSum") -> Self:
        """Add everything that another sum holds.

        Raises:
            UsageError: its shape is another.
        """
        if other._shape is None:
            return self
        self._require_shape(other._shape)
        self._single &= other._single
        self._count += other._count
        self._weight += other._weight
        self._carry()
        for limb, values in other._copy()._carry()._limbs.items():
            self._at(limb)[:] += values
        for name, flag in other._flags.items():
            self._flag(name)[:] |= flag
        self._pending = 2
        return self

    def result(self, dtype: Any = None) -> Any:
        """The sum, rounded once to `dtype` (to nearest, ties to even): an array, or a scalar where numbers were added.

        Raises:
            UsageError: nothing was added, or `dtype` is neither float32 nor float64.
        """
        return self._rounded(dtype, Fraction(1))

    def mean(self, dtype: Any = None) -> Any:
        """The sum by the sum of the weights, rounded once.

        Raises:
            UsageError: nothing was added, or only with weight 0; or `dtype` is neither float32 nor float64.
        """
        if self._weight == 0:
            raise UsageError("The mean of nothing is not defined", hint="Add an array with a weight above 0.")
        return self._rounded(dtype, self._weight)

    def state(self) -> bytes:
        """Everything that the sum holds: the same bytes for the same contents, to be merged elsewhere.

        One line of JSON, then the signs (int8), the limbs (uint32, lowest first) and the flags (uint8), little-endian.
        """
        signs, limbs = self._canonical()
        kept = [limb for limb in sorted(limbs) if limbs[limb].any()]
        flags = [name for name in sorted(self._flags) if self._flags[name].any()]
        head = {
            "schema": SCHEMA,
            "shape": None if self._shape is None else list(self._shape),
            "single": self._single,
            "count": self._count,
            "weight": [self._weight.numerator, self._weight.denominator],
            "limbs": kept,
            "flags": flags,
        }
        parts = [json.dumps(head, separators=(",", ":")).encode(), b"\n", signs.astype("i1").tobytes()]
        parts += [limbs[limb].astype("<u4").tobytes() for limb in kept]
        parts += [self._flags[name].astype("u1").tobytes() for name in flags]
        return b"".join(parts)

    @classmethod
    def from_state(cls, data: bytes) -> Self:
        """The sum whose `state()` is `data`.

        Raises:
            IntegrityError: `data` is no such state, or a damaged one.
        """
        try:
            made = cls._read(data)
        except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError) as error:
            raise IntegrityError(f"This is no state of an ExactSum: {error}", hint="Take the sum's state again.") from (
                error
            )
        if made.state() != data:
            raise IntegrityError("The state of an ExactSum is damaged", hint="Take the sum's state again.")
        return made

    @classmethod
    def _read(cls, data: bytes) -> Self:
        line, _, rest = data.partition(b"\n")
        head = json.loads(line)
        if not isinstance(head, dict) or head.get("schema") != SCHEMA:
            raise ValueError(f"it does not begin with {SCHEMA}")
        made = cls()
        if head["shape"] is not None:
            made._shape = tuple(int(length) for length in head["shape"])
        made._single, made._count = bool(head["single"]), int(head["count"])
        made._weight = Fraction(*map(int, head["weight"]))
        size, names = made._size, [str(name) for name in head["flags"]]
        limbs = [int(limb) for limb in head["limbs"]]
        expected = size * (1 + 4 * len(limbs) + len(names))
        if len(rest) != expected or any(not _LOWEST <= limb <= _HIGHEST for limb in limbs):
            raise ValueError(f"it has {len(rest)} bytes of numbers, not {expected}")
        signs = np.frombuffer(rest, "i1", size).astype(np.int64)
        for place, limb in enumerate(limbs):
            made._limbs[limb] = np.frombuffer(rest, "<u4", size, size * (1 + 4 * place)).astype(np.int64) * signs
        for place, name in enumerate(names):
            made._flag(name)[:] = np.frombuffer(rest, "u1", size, size * (1 + 4 * len(limbs) + place)) != 0
        made._pending = 1
        return made

    @property
    def _size(self) -> int:
        return 0 if self._shape is None else math.prod(self._shape)

    def _require_shape(self, shape: tuple[int, ...]) -> None:
        if self._shape is None:
            self._shape = shape
        elif self._shape != shape:
            raise UsageError(
                f"An array of shape {shape} cannot be added to a sum of shape {self._shape}",
                hint="Keep one sum for each array of a model, and give every part of it the same shape.",
            )

    def _at(self, limb: int) -> Signed:
        if limb not in self._limbs:
            self._limbs[limb] = np.zeros(self._size, dtype=np.int64)
        return self._limbs[limb]

    def _flag(self, name: str) -> NDArray[np.bool_]:
        if name not in self._flags:
            self._flags[name] = np.zeros(self._size, dtype=bool)
        return self._flags[name]

    def _add(self, flat: NDArray[Any], factor: Fraction) -> None:
        shift = -(factor.denominator.bit_length() - 1)
        pieces = [
            (factor.numerator >> offset & MASK, shift + offset)
            for offset in range(0, factor.numerator.bit_length(), LIMB)
        ]
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            signs, words, exponents = self._taken_apart(part, start)
            low, high = words & np.uint64(MASK), words >> np.uint64(LIMB)
            for piece, offset in pieces:
                if factor == 1:
                    self._add_words(start, signs, words, exponents)
                elif piece:
                    self._add_words(start, signs, low * np.uint64(piece), exponents + offset)
                    self._add_words(start, signs, high * np.uint64(piece), exponents + (offset + LIMB))
        self._pending += 2 * len(pieces)
        if self._pending >= _MOST_ADDS:
            self._carry()

    def _taken_apart(self, part: NDArray[Any], start: int) -> tuple[Signed, Unsigned, Signed]:
        """Sign, whole number and power of two of each value; what is not finite becomes a flag and zero."""
        if part.dtype.kind in "iu":
            signs = np.where(part < 0, -1, 1).astype(np.int64) if part.dtype.kind == "i" else np.ones(part.size, "i8")
            words = part.astype(np.uint64)
            words = np.where(signs < 0, np.uint64(0) - words, words)
            return signs, words, np.zeros(part.size, dtype=np.int64)
        form = FORMATS[part.dtype]
        bits = np.ascontiguousarray(part).view(form.bits).astype(np.uint64)
        negative = bits >> np.uint64(part.dtype.itemsize * 8 - 1) == 1
        exponent = ((bits >> np.uint64(form.fraction)) & np.uint64(2 * form.bias + 1)).astype(np.int64)
        fraction = bits & np.uint64((1 << form.fraction) - 1)
        words = fraction | np.where(exponent > 0, np.uint64(1 << form.fraction), np.uint64(0))
        special = exponent == 2 * form.bias + 1
        if special.any():
            words = np.where(special, np.uint64(0), words)
            infinite = special & (fraction == 0)
            kinds = {"nan": special & (fraction != 0), "+inf": infinite & ~negative, "-inf": infinite & negative}
            for name, found in kinds.items():
                if found.any():
                    self._flag(name)[start : start + part.size] |= found
        powers = np.maximum(exponent, 1) - (form.bias + form.fraction)
        return np.where(negative, -1, 1).astype(np.int64), words, powers

    def _add_words(self, start: int, signs: Signed, words: Unsigned, powers: Signed) -> None:
        """Add sign times word (below 2**64) times two to the power, as three pieces of at most 33 bits."""
        limb, shift = powers >> 5, (powers & 31).astype(np.uint64)
        mask, half = np.uint64(MASK), np.uint64(LIMB)
        low, high = (words & mask) << shift, (words >> half) << shift
        middle = (low >> half) + (high & mask)
        pieces = [(low & mask), middle, high >> half]
        signed = [piece.astype(np.int64) * signs for piece in pieces]
        filled = words != 0
        if not filled.any():
            return
        for number in range(int(limb[filled].min()), int(limb[filled].max()) + 1):
            places = np.flatnonzero(filled & (limb == number))
            for above, piece in enumerate(signed if places.size else ()):
                values = piece[places]
                if values.any():
                    self._at(number + above)[places + start] += values

    def _carry(self) -> Self:
        """Bring every limb but the topmost to 0 … 2**32 - 1, the topmost keeping the sign."""
        if not self._limbs:
            self._pending = 0
            return self
        number = min(self._limbs)
        while number <= max(self._limbs):
            values = self._at(number)
            over = values >> LIMB
            if number < max(self._limbs) or ((over != 0) & (over != -1)).any():
                values &= MASK
                self._at(number + 1)[:] += over
            number += 1
        self._pending = 1
        return self

    def _copy(self) -> "ExactSum":
        made = ExactSum()
        made._shape, made._pending = self._shape, self._pending
        made._limbs = {limb: values.copy() for limb, values in self._limbs.items()}
        return made

    def _canonical(self) -> tuple[Signed, dict[int, Signed]]:
        """Signs (-1, 0, 1) and the limbs of the magnitudes, each from 0 to 2**32 - 1."""
        plain = self._copy()._carry()._limbs
        if not plain:
            return np.zeros(self._size, dtype=np.int64), {}
        negative = plain[max(plain)] < 0
        made = ExactSum()
        made._shape = self._shape
        flip = np.where(negative, -1, 1)
        made._limbs = {limb: values * flip for limb, values in plain.items()}
        made._at(max(plain) + 1)
        limbs = made._carry()._limbs
        filled = np.zeros(self._size, dtype=bool)
        for values in limbs.values():
            filled |= values != 0
        return flip * filled, limbs

    def _rounded(self, dtype: Any, divisor: Fraction) -> Any:
        if self._shape is None:
            raise UsageError("The sum of nothing has no shape", hint="Add an array first.")
        wanted = np.dtype((np.float32 if self._single else np.float64) if dtype is None else dtype)
        if wanted not in FORMATS:
            raise UsageError(f"A sum cannot be rounded to {wanted}", hint="Ask for float32 or float64.")
        form = FORMATS[wanted]
        signs, limbs = self._canonical()
        bits = np.empty(self._size, dtype=np.uint64)
        numbers = range(min(limbs, default=0), max(limbs, default=0) + 1)
        for start in range(0, self._size, _CHUNK):
            span = slice(start, min(start + _CHUNK, self._size))
            empty = np.zeros(span.stop - span.start, dtype=np.uint64)
            rows = [limbs[number][span].astype(np.uint64) if number in limbs else empty for number in numbers]
            bits[span] = quotients(np.array(rows), numbers.start, divisor, form)
        bits |= np.where(signs < 0, np.uint64(1 << (wanted.itemsize * 8 - 1)), np.uint64(0))
        values = bits.astype(form.bits).view(wanted)
        for name, value in (("+inf", np.inf), ("-inf", -np.inf)):
            if name in self._flags:
                values[self._flags[name]] = value
        undefined = self._flags.get("nan", np.zeros(self._size, dtype=bool)).copy()
        if "+inf" in self._flags and "-inf" in self._flags:
            undefined |= self._flags["+inf"] & self._flags["-inf"]
        values[undefined] = np.nan
        return values.reshape(self._shape)[()]


def exact_sum(values: Any, weights: Sequence[int | float] | None = None, *, dtype: Any = None) -> Any:
    """The sum over the items of `values`, exact and rounded once: `math.fsum` for arrays too.

    `values` are numbers, arrays of one shape, or an array whose first axis is summed over. With `weights`, one an
    item, each item counts so many times. The order of items (with their weights) changes no bit.

    Raises:
        UsageError: there is no item, shapes differ, there is not one weight an item, or an item is neither float32,
            float64 nor integers.
    """
    return _summed(values, weights).result(dtype)


def exact_mean(values: Any, weights: Sequence[int | float] | None = None, *, dtype: Any = None) -> Any:
    """The mean over the items of `values`, weighted if `weights` says so: the exact quotient, rounded once.

    Raises:
        UsageError: as `exact_sum`, or all weights are 0.
    """
    return _summed(values, weights).mean(dtype)


def _summed(values: Any, weights: Sequence[int | float] | None) -> ExactSum:
    if isinstance(values, Mapping | set | frozenset | str | bytes):
        raise UsageError(
            f"A {type(values).__name__} cannot be summed over", hint="Give a list of arrays: one sum for each name."
        )
    if weights is None and isinstance(values, np.ndarray) and values.ndim == 1:
        return _folded(values)
    if not isinstance(values, Iterable) or (isinstance(values, np.ndarray) and values.ndim == 0):
        raise UsageError(f"{values!r:.60} has no items to sum over", hint="Give a list of numbers or arrays.")
    total, items = ExactSum(), list(values)
    counts = [1] * len(items) if weights is None else list(weights)
    if len(counts) != len(items):
        raise UsageError(f"There are {len(items)} items and {len(counts)} weights", hint="Give one weight an item.")
    if weights is None and len(items) > 1 and all(type(item) in (float, np.float64, np.float32) for item in items):
        return _folded(np.array(items, dtype=np.result_type(*{np.asarray(item).dtype for item in items})))
    for item, weight in zip(items, counts, strict=True):
        total.add(item, weight)
    return total


def _folded(values: NDArray[Any]) -> ExactSum:
    """The sum of the numbers in an array (one axis), many at a time."""
    array = _array(values)
    wide = ExactSum()
    lanes = min(_LANES, array.size)
    whole = array.size // lanes * lanes if lanes else 0
    for row in array[:whole].reshape(-1, lanes) if lanes else ():
        wide.add(row)
    total = ExactSum()
    for value in array[whole:]:
        total.add(value)
    if wide._shape is None:
        return total
    narrow = ExactSum()
    narrow._shape, narrow._single = (), wide._single
    narrow._count, narrow._weight = whole, Fraction(whole)
    narrow._limbs = {limb: part.sum(keepdims=True) for limb, part in wide._carry()._limbs.items()}
    narrow._flags = {name: np.array([flag.any()]) for name, flag in wide._flags.items()}
    return narrow._carry().merge(total)


def _array(values: Any) -> NDArray[Any]:
    """`values` as an array of a type that is summed exactly, in native byte order."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{type(values).__name__} is no array of numbers: {error}",
            hint="Give whole numbers, float32 or float64, as many in each row, and tensors on the CPU.",
        ) from error
    if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "iu":
        return array
    raise UsageError(
        f"Elements of type {array.dtype} cannot be summed exactly",
        hint="Give float32, float64 or integers; other floats become float64 with .astype(float).",
    )


def _weight(weight: Any) -> Fraction:
    try:
        factor = Fraction(weight.item() if isinstance(weight, np.generic) else weight)
    except (TypeError, ValueError, OverflowError):
        factor = Fraction(-1)
    if factor < 0 or isinstance(weight, bool | str) or factor.denominator & (factor.denominator - 1):
        raise UsageError(f"{weight!r} is not a weight", hint="Give a whole number or a float from 0.")
    return factor
