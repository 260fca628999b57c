from pathlib import Path

import pytest

from harness.errors import IntegrityError
from harness.record.environment import Captured, Cpu
from harness.runs import refusal
from harness.runs.refusal import refused_operators, require_strict, unrecorded
from harness.strict.hook import LOADED, VERIFIED
from harness.strict.refusal import FILE_NAME, OPERATOR


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
    assert unrecorded(tmp_path, captured("numpy", "torch"), strict=True) == []
    (sentence,) = unrecorded(tmp_path, captured("numpy"), strict=True)
    assert sentence.startswith("What torch selected is not recorded, nor was it verified at the end")
    (free,) = unrecorded(tmp_path, captured("numpy"), strict=False)
    assert free.startswith("What torch selected is not recorded: the processes")


def test_processes_that_were_never_verified_are_counted_though_others_recorded_the_library(tmp_path: Path) -> None:
    (tmp_path / f"{LOADED}torch").write_bytes(b"...")
    (tmp_path / f"{VERIFIED}torch").write_bytes(b"..")
    (sentence,) = unrecorded(tmp_path, captured("torch"), strict=True)
    assert "the settings of torch still held in 1 of the 3 processes" in sentence
    assert unrecorded(tmp_path, captured("torch"), strict=False) == []
    (tmp_path / f"{VERIFIED}torch").write_bytes(b"...")
    assert unrecorded(tmp_path, captured("torch"), strict=True) == []
    (unsaid,) = unrecorded(tmp_path, captured("numpy"), strict=True)
    assert unsaid.startswith("What torch selected is not recorded: the processes")


def test_both_sides_mean_the_same_files() -> None:
    theirs = FILE_NAME, LOADED, VERIFIED, OPERATOR
    assert theirs == (refusal.REFUSED, refusal._LOADED, refusal._VERIFIED, refusal._OPERATOR)


def test_each_refused_operator_is_named_with_how_the_program_ended(tmp_path: Path) -> None:
    assert refused_operators(tmp_path, 1) == []
    for name in ("aten::erfinv", "aten::cumsum"):
        (tmp_path / (OPERATOR + name)).touch()
    assert refused_operators(tmp_path, 1) == [
        f"The profile x86-64-v3 refused {name}, and the program ended with exit code 1"
        for name in ("aten::cumsum", "aten::erfinv")
    ]
    assert all(sentence.endswith("went on and ended well") for sentence in refused_operators(tmp_path, 0))
    require_strict(tmp_path)
