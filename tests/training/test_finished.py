from pathlib import Path

import msgspec
import pytest

from harness.errors import IncomparableError, IntegrityError
from harness.training.finished import FitCheckpoints, keep_finished, take_finished

np = pytest.importorskip("numpy")


class Result(msgspec.Struct, frozen=True):
    model_file: str
    score: float


def decode(data: bytes) -> tuple[Result, str]:
    result = msgspec.json.decode(data, type=Result)
    return result, result.model_file


@pytest.fixture
def checkpoints(tmp_path: Path) -> FitCheckpoints:
    return FitCheckpoints(folder=str(tmp_path / "fit"), identity="code: 1\n", every=5, keep=2)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The files that a fit made."""
    folder = tmp_path / "made"
    folder.mkdir()
    np.save(folder / "predictions.npy", np.array([0.1, np.nextafter(0.1, 1)]))
    (folder / "fold0.txt").write_bytes(b"a model\0\xff")
    return folder


def keep(checkpoints: FitCheckpoints, made: Path, name: str = "fold0.txt") -> None:
    keep_finished(checkpoints, Result(name, 0.1), made / "predictions.npy", made / "fold0.txt")


def test_a_fit_that_ended_comes_back_with_its_files(checkpoints, made: Path, tmp_path: Path) -> None:
    steps = checkpoints.steps
    assert steps is not None
    steps.save(5, {"round": 5})
    keep(checkpoints, made)
    assert steps.load() is None
    new = tmp_path / "new"
    new.mkdir()
    assert take_finished(checkpoints, decode, new / "predictions.npy", new) == Result("fold0.txt", 0.1)
    for name in ("predictions.npy", "fold0.txt"):
        assert (new / name).read_bytes() == (made / name).read_bytes()


def test_a_fit_that_did_not_end_is_made(checkpoints, tmp_path: Path) -> None:
    assert take_finished(checkpoints, decode, tmp_path / "p.npy", tmp_path) is None


def test_without_a_number_of_rounds_a_fit_under_way_has_no_checkpoints(checkpoints) -> None:
    assert msgspec.structs.replace(checkpoints, every=None).steps is None


def test_another_runs_fit_is_refused(checkpoints, made: Path, tmp_path: Path) -> None:
    keep(checkpoints, made)
    other = msgspec.structs.replace(checkpoints, identity="code: 2\n")
    with pytest.raises(IncomparableError):
        take_finished(other, decode, tmp_path / "p.npy", tmp_path)


@pytest.mark.parametrize("name", ["../fold0.txt", "/etc/passwd", ""])
def test_a_model_files_name_leads_nowhere_else(checkpoints, made: Path, tmp_path: Path, name: str) -> None:
    keep(checkpoints, made, name)
    with pytest.raises(IntegrityError, match="names the model file"):
        take_finished(checkpoints, decode, tmp_path / "p.npy", tmp_path)
