"""How far apart two arrays of predictions are, against values worked out by hand."""

import pickle
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.errors import IntegrityError
from harness.record.distance import Distance, distance


@pytest.fixture
def apart(tmp_path: Path) -> Any:
    """`apart(before, after)`: the distance between two arrays, by way of files."""

    def call(before: Any, after: Any) -> Distance | None:
        paths = (tmp_path / "before.npy", tmp_path / "after.npy")
        for path, values in zip(paths, (before, after), strict=True):
            np.save(path, np.asarray(values))
        return distance(*paths)

    return call


def test_the_numbers_are_those_worked_out_by_hand(apart):
    assert apart([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 6.0]) == Distance(
        predictions=4,
        differing=1,
        largest=2.0,
        root_mean_square=1.0,
        relative=pytest.approx(1 / 1.25**0.5, rel=1e-15),  # the standard deviation of 1, 2, 3, 4 is the root of 1.25
        correlation=pytest.approx(8 / (5 * 14) ** 0.5, rel=1e-15),
    )


def test_equal_predictions_are_at_no_distance(apart):
    assert apart([0.5, -1.0, 2.0], [0.5, -1.0, 2.0]) == Distance(
        predictions=3, differing=0, largest=0.0, root_mean_square=0.0, relative=0.0, correlation=1.0
    )


def test_the_last_bit_is_seen(apart):
    found = apart([0.1, 0.2], [0.1, np.nextafter(0.2, 1)])
    assert (found.differing, found.largest) == (1, np.nextafter(0.2, 1) - 0.2)
    assert found.relative > 0


def test_opposite_predictions_are_anticorrelated(apart):
    assert apart([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]).correlation == pytest.approx(-1.0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e300])
def test_a_constant_side_has_no_correlation_though_its_mean_is_rounded(apart, value):
    constant, other = [value] * 10, [float(number) for number in range(10)]
    assert (apart(constant, other).relative, apart(constant, other).correlation) == (None, None)
    assert apart(other, constant).relative is not None
    assert apart(other, constant).correlation is None


def test_no_predictions_are_at_no_distance(apart):
    assert apart([], []) == Distance(
        predictions=0, differing=0, largest=0.0, root_mean_square=0.0, relative=None, correlation=None
    )


def test_rows_that_do_not_pair_up_have_no_distance(apart):
    assert apart([1.0, 2.0], [1.0, 2.0, 3.0]) is None
    assert apart([[1.0, 2.0]], [1.0, 2.0]) is None
    assert apart([[1.0, 2.0]], [[1.0, 5.0]]).largest == 3.0


def test_integers_and_single_precision_are_numbers_too(apart):
    assert apart(np.array([1, 2**53 + 1]), np.array([1, 2**53])).largest == 1.0
    assert apart(np.array([0.5], np.float32), [0.25]).largest == 0.25


def test_the_largest_floats_do_not_overflow(apart):
    largest = sys.float_info.max
    found = apart([-largest, largest, 0.0], [largest, -largest, 0.0])
    assert (found.largest, found.root_mean_square) == (largest, largest)
    assert found.correlation == pytest.approx(-1.0)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Distance) == found


@pytest.mark.parametrize(
    "values", [[1.0, float("nan")], [float("inf")], [1 + 2j], ["a"], np.zeros(1, [("a", "f8"), ("b", "f8")])]
)
def test_what_is_no_finite_number_is_refused(apart, values):
    with pytest.raises(IntegrityError, match="finite numbers"):
        apart([1.0], values)


def test_an_array_of_objects_is_refused_unopened(tmp_path):
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, np.zeros(1))
    np.save(bad, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(IntegrityError, match=r"bad.npy is no array"):
        distance(good, bad)
    bad.write_bytes(pickle.dumps(np.zeros(1)))
    with pytest.raises(IntegrityError, match=r"bad.npy is no array"):
        distance(bad, good)


@pytest.mark.parametrize("kept", [0, 1, 20, 90, 127, 128, 135, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "values.npy"
    np.save(path, np.arange(4.0))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(IntegrityError, match="values"):
        distance(path, path)


@pytest.mark.parametrize("header", ["{'descr': '<f8', 'shape': (", "\t{\n  {\n }", "{'descr': '<f8'}", "x" * 20_000])
def test_a_broken_header_is_refused(tmp_path, header):
    path = tmp_path / "values.npy"
    text = header.encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(IntegrityError, match="values"):
        distance(path, path)


def test_a_header_that_promises_more_than_memory_holds_is_refused(tmp_path):
    path = tmp_path / "values.npy"
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(IntegrityError, match="values"):
        distance(path, path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"gone.npy"):
        distance(tmp_path / "gone.npy", tmp_path / "gone.npy")
