"""`harness baseline` as people call it: help, and refusals of one sentence. No engine is asked here."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main as command

Harness = Callable[..., tuple[int, str, str]]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Harness:
    """Call the command in this process, in an empty checkout: exit code, stdout, stderr."""
    for name in ("docker", "lockfiles/baselines"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "store"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", "baseline", *arguments])
        with pytest.raises(SystemExit) as stop:
            command.main()
        out, error = capfd.readouterr()
        return int(stop.value.code or 0), out, error

    return call


def test_every_part_explains_itself_with_examples(harness: Harness) -> None:
    for part in ("create", "list", "show", "restore"):
        code, out, error = harness(part, "--help")
        assert (code, error) == (0, "")
        assert "Examples:" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("show",), "There is no baseline in"),
        (("show", "v1.2"), "There is no baseline in"),
        (("show", "gone.json"), "gone.json cannot be read"),
        (("restore", "--out", "then"), "There is no baseline in"),
        (("restore",), "Missing option"),
        (("create",), "Missing option"),
        (("create", "--release", "../v1"), "'../v1'"),
        (("create", "--release", "v1", "--golden", "a", "--no-golden"), "contradict"),
        (("create", "--release", "v1", "--golden", "nothing"), "There is no experiment 'nothing'"),
        (("create", "--release", "v1", "--environment", "gpu"), "gpu.yaml"),
        (("create", "--release", "v1", "--environment", "host"), "cpu.yaml"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_2(harness: Harness, arguments: tuple[str, ...], named: str) -> None:
    code, out, error = harness(*arguments)
    assert (code, out) == (2, "")
    assert named in error
    assert error.count("harness: ") == 1
    assert "Traceback" not in error


def test_a_damaged_baseline_is_4_for_every_part_that_reads_it(harness: Harness) -> None:
    Path("lockfiles/baselines/v1.2.json").write_text("{")
    for arguments in (("list",), ("show",), ("restore", "--out", "then")):
        code, out, error = harness(*arguments)
        assert (code, out) == (4, "")
        assert "v1.2.json is damaged" in error
        assert "version control" in error


def test_where_there_is_none_the_list_says_how_to_make_one(harness: Harness) -> None:
    code, out, _ = harness("list")
    assert (code, "harness baseline create --release v1.0" in out) == (0, True)
    assert harness("list", "--json")[:2] == (0, "[]\n")
