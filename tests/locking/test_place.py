"""Files of a checkout are put in their places together, whatever comes in between."""

from pathlib import Path

import pytest

from harness.locking import place as place_module
from harness.locking.place import place

FILES = {"docker/cpu.yaml": b"new", "lockfiles/cpu/debian.lock": b"{}", "lockfiles/cpu/python.txt": b""}


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "cpu.yaml").write_text("mine")
    return tmp_path


def test_all_files_are_written_and_those_that_changed_are_named(there: Path) -> None:
    assert place(there, FILES) == tuple(there / path for path in FILES)
    assert {path: data for path, data in contents(there).items() if data is not None} == FILES
    before = (there / "docker" / "cpu.yaml").stat()
    assert place(there, {**FILES, "lockfiles/cpu/python.txt": b"x"}) == (there / "lockfiles/cpu/python.txt",)
    assert (there / "docker" / "cpu.yaml").stat().st_mtime_ns == before.st_mtime_ns
    assert place(there, {**FILES, "lockfiles/cpu/python.txt": b"x"}) == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_error_in_the_middle_of_writing_leaves_what_was_there(
    there: Path, number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(there)
    real, calls = place_module.write_atomically, []

    def failing(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == number:
            raise error
        real(path, data)

    monkeypatch.setattr(place_module, "write_atomically", failing)
    with pytest.raises((KeyboardInterrupt, OSError)):
        place(there, FILES)
    assert contents(there) == before
