"""Arrays on disk: `.npy` files whose writing fails with an error that says why."""

from pathlib import Path
from typing import Any

import numpy as np

from harness.record.results import writing


def save_array(path: Path, array: Any) -> None:
    """Write an array of plain numbers to `path` as `numpy.save` does, in C order.

    Raises:
        PrerequisiteError: the disk is full, or the file cannot be written.
    """
    whole = np.asarray(array, order="C")
    with writing(path), path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        # numpy.save would call `tofile`, whose OSError on a full disk has no errno.
        file.write(whole.data)
