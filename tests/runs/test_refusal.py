from pathlib import Path

import pytest

from harness.errors import IntegrityError
from harness.record.environment import Captured, Cpu
from harness.runs import refusal
from harness.runs.refusal import require_strict, unrecorded
from harness.strict.hook import LOADED
from harness.strict.refusal import FILE_NAME


def captured(*libraries: str) -> Captured:
    cpu = Cpu(architecture="", vendor="", family="", model="", model_name="", dispatch={})
    return Captured(
        python={},
        libraries={},
        native={},
        cpu=cpu,
        gpu=None,
        settings={},
        host={},
        probe={name: {} for name in libraries},
    )


def test_the_word_that_a_refused_process_left_is_the_error_and_without_it_there_is_none(tmp_path: Path) -> None:
    require_strict(tmp_path)
    (tmp_path / FILE_NAME).write_text("numpy's openblas is 2, not 1\n  Leave it at 1.")
    with pytest.raises(IntegrityError, match="numpy's openblas is 2, not 1; the run is not kept") as caught:
        require_strict(tmp_path)
    assert caught.value.hint == "Leave it at 1."


def test_even_an_empty_word_is_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    with pytest.raises(IntegrityError, match="was not strict; the run is not kept"):
        require_strict(tmp_path)


def test_a_library_that_was_loaded_and_not_recorded_is_named(tmp_path: Path) -> None:
    for name in ("numpy", "torch"):
        (tmp_path / (LOADED + name)).touch()
    assert unrecorded(tmp_path, captured("numpy", "torch")) == []
    (sentence,) = unrecorded(tmp_path, captured("numpy"))
    assert sentence.startswith("What torch selected is not recorded")


def test_both_sides_mean_the_same_files() -> None:
    assert (refusal.REFUSED, refusal._LOADED) == (FILE_NAME, LOADED)
