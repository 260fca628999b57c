"""What the table of third-party scripts counts, and what it does not."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import __main__ as program
from benchmarks.scripts import Row, _total, commands, page_table
from benchmarks.table import row
from harness.record.explain.cause import Cause, Kind


def cause(kind: Kind, *, explained: bool) -> Cause:
    return Cause(
        file="outputs/a.json", where="$.x", kind=kind, before="1", after="2", detail="", count=1, sources=(),
        explained=explained,
    )  # fmt: skip


TIME, UUID, NUMBER = (
    cause(Kind.TIME, explained=True), cause(Kind.TOKEN, explained=True), cause(Kind.NUMBER, explained=False),
)  # fmt: skip


def made(script: str, bare: tuple[Cause, ...], strict: tuple[Cause, ...], codes: tuple[int, int] = (0, 0)) -> Row:
    return Row(script=script, bare=bare, strict=strict, exit_codes=codes)


def test_times_are_left_out_of_identical_on_both_sides_and_nothing_else_is() -> None:
    assert made("a.py", (TIME,), (TIME,)).bare_identical
    assert made("a.py", (TIME,), (TIME,)).strict_identical
    assert not made("a.py", (TIME, NUMBER), ()).bare_identical
    assert not made("a.py", (UUID,), ()).bare_identical
    assert not made("a.py", (), (UUID,)).strict_identical


def test_a_script_counts_where_all_that_differs_is_explained_and_it_succeeded() -> None:
    assert made("a.py", (NUMBER,), ()).holds
    assert made("a.py", (NUMBER,), (UUID, TIME)).holds
    assert not made("a.py", (), (UUID, NUMBER)).holds
    assert not made("a.py", (), (), (0, 1)).holds


def test_the_page_has_a_row_a_script_and_counts_them() -> None:
    rows = [made("a.py", (NUMBER,), ()), made("b.py", (TIME,), (UUID,)), made("c.py", (UUID,), (NUMBER,))]
    page = page_table(rows, "host")
    assert page.startswith("bare Python identical 1 of 3; strict identical 1 and explained 1 of 3 (host engine).\n")
    assert "| `a.py` | differs: number, not explained | identical | nothing |" in page
    assert "| `b.py` | identical, times aside | differs: random token | a.json, $.x: a random token |" in page
    assert "| `c.py` | differs: random token | differs: number, not explained | a.json, $.x: a number |" in page


def test_the_total_is_missed_where_one_is_not_explained() -> None:
    assert row(_total([made("a.py", (), (NUMBER,))]))[-1] == "MISSED"
    assert row(_total([made("a.py", (NUMBER,), (TIME,))]))[-1] == "met"


def test_a_script_that_fails_is_neither_identical_nor_explained() -> None:
    total = _total([made("a.py", (), (), (1, 1)), made("b.py", (), (TIME,))])
    assert total.statement == "bare Python identical 2 of 2; strict identical 1 and explained 0 of 2"
    assert row(total)[-1] == "MISSED"


def test_files_and_packages_are_commands(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "tool/__init__.py", "tool/__main__.py", "data/x.csv", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert commands(tmp_path) == [("python", "a.py"), ("python", "b.py"), ("python", "-m", "tool")]


@pytest.mark.parametrize(("cause", "required", "code"), [(TIME, True, 0), (NUMBER, True, 1), (NUMBER, False, 0)])
def test_what_is_not_explained_ends_with_1_where_that_is_required(
    monkeypatch: pytest.MonkeyPatch, cause: Cause, required: bool, code: int
) -> None:
    monkeypatch.setattr(program, "script_figures", lambda *_, **__: [_total([made("a.py", (), (cause,))])])
    application = typer.Typer()
    application.command()(program.main)
    arguments = ["scripts", *(["--require"] if required else [])]
    assert CliRunner().invoke(application, arguments).exit_code == code
