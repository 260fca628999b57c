from pathlib import Path

import numpy as np
import pytest

from harness.errors import PrerequisiteError
from harness.training.arrays import save_array


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(20)[::3],
        np.zeros((0, 4)),
        np.float64(3.0),
        np.array([True, False]),
    ],
)
def test_an_array_comes_back_as_it_was(tmp_path: Path, array: np.ndarray) -> None:
    save_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    np.save(tmp_path / "b.npy", np.array(array, order="C"))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("rows", [10, 1_000_000])
def test_a_full_disk_is_said_in_words(rows: int) -> None:
    with pytest.raises(PrerequisiteError, match="The disk is full: /dev/full"):
        save_array(Path("/dev/full"), np.zeros(rows))


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"nowhere/a\.npy cannot be written"):
        save_array(tmp_path / "nowhere" / "a.npy", np.zeros(3))
