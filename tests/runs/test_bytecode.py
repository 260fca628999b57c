"""Compiled Python beside an image: made once, kept by the image's digest, and never a reason for a run to fail."""

from pathlib import Path

import pytest

from harness.engines.interface import Output
from harness.images.build import Image
from harness.runs.bytecode import bytecode_mount
from harness.spec.digest import digest_from_hex
from harness.spec.run import ImageReference, Mount, Resources, RunResult, RunSpec
from harness.store.store import Store


class Compiler:
    """An engine whose only run compiles one file; with `exit_code` it fails."""

    name = "docker"

    def __init__(self, exit_code: int = 0) -> None:
        self.exit_code = exit_code
        self.runs = 0

    def describe(self) -> dict[str, str]:
        return {}

    def prepare(self, image: Image) -> None:
        raise AssertionError

    def run(self, spec: RunSpec, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        self.runs += 1
        folder = Path(spec.output) / "bytecode" / "usr"
        folder.mkdir(parents=True)
        (folder / "numpy.pyc").write_bytes(b"compiled")
        on_stderr(b"no space\n")
        return RunResult(exit_code=self.exit_code, wall_seconds=1.0)


class Notes:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def task(self, description: str, *, total: float | None = None, unit: str = "items"):
        from harness.store.progress import SILENT

        return SILENT.task(description, total=total, unit=unit)

    def note(self, message: str) -> None:
        self.notes.append(message)


def image(digit: str) -> ImageReference:
    return ImageReference("cpu", digest_from_hex(digit * 64), digest_from_hex("f" * 64))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def mount(store: Store, engine: Compiler, digit: str = "1", notes: Notes | None = None) -> Mount | None:
    return bytecode_mount(
        image(digit), variant="cpu", code=Mount("code", "/code", digest_from_hex("c" * 64)), engine=engine,
        resources=Resources(cpus=(0,)), store=store, progress=notes or Notes(),
    )  # fmt: skip


def test_it_is_made_once_for_an_image(store: Store) -> None:
    engine = Compiler()
    first, second = mount(store, engine), mount(store, engine)
    assert first is not None
    assert first == second
    assert (Path(first.source) / "usr/numpy.pyc").read_bytes() == b"compiled"
    assert engine.runs == 1
    mount(store, engine, "2")
    assert engine.runs == 2


def test_altered_bytecode_is_found_and_never_mounted(store: Store) -> None:
    engine = Compiler()
    first = mount(store, engine)
    assert first is not None
    file = Path(first.source) / "usr/numpy.pyc"
    file.parent.chmod(0o755)
    file.chmod(0o644)
    file.write_bytes(b"c0mpiled")
    second = mount(store, engine)
    assert second is not None
    assert (Path(second.source) / "usr/numpy.pyc").read_bytes() == b"compiled"


def test_a_compiler_that_fails_costs_time_alone_and_is_tried_again(store: Store) -> None:
    notes = Notes()
    assert mount(store, Compiler(exit_code=1), notes=notes) is None
    (note,) = notes.notes
    assert "start slowly" in note
    assert "no space" in note
    assert mount(store, Compiler()) is not None


def test_another_way_of_compiling_compiles_anew(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = Compiler()
    for program in (b"one", b"one", b"two"):
        warm = tmp_path / "warm.py"
        warm.write_bytes(program)
        monkeypatch.setattr("harness.runs.bytecode._WARM", warm)
        assert mount(store, engine) is not None
    assert engine.runs == 2
