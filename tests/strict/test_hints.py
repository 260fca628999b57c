"""Whoever meets an error of these rooms is told what to do about it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from harness import errors

HARNESS = Path(errors.__file__).parent
ROOMS = ("strict", "training")
ERRORS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.HarnessError)
}
WITHOUT = {
    "strict/checkpoints.py: _read",  # `load` raises it again, with the checkpoint that can be gone on from
}


def without_hint(source: str) -> Iterator[str]:
    """The functions that make an error of the harness's and give it no hint."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id in ERRORS
                and all(keyword.arg != "hint" for keyword in call.keywords)
            ):
                yield function.name


def test_every_error_says_what_to_do() -> None:
    files = [path for room in ROOMS for path in sorted((HARNESS / room).rglob("*.py"))]
    assert len(files) > 50
    found = {f"{path.relative_to(HARNESS)}: {name}" for path in files for name in without_hint(path.read_text("utf-8"))}
    assert found == WITHOUT


def test_an_error_without_a_hint_is_found() -> None:
    source = "def f():\n    raise {}\n"
    assert [*without_hint(source.format("UsageError('no')"))] == ["f"]
    assert [*without_hint(source.format("UsageError('no', hint='Say yes.')"))] == []
    assert [*without_hint(source.format("ValueError('no')"))] == []
