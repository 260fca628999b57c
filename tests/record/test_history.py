import multiprocessing
from pathlib import Path

import pytest

from harness.record.cells import RunLabel
from harness.record.history import HistoryEntry, append_history, read_history
from harness.record.verdicts import CellVerdict, Verdict
from harness.spec.digest import Digest


def entry(number: int, reason: str = "") -> HistoryEntry:
    verdict = CellVerdict(
        target="t",
        view="CROSS_SECTIONAL",
        symbol=None,
        family="lightgbm",
        verdict=Verdict.DIVERGENT,
        reasons=(reason,),
        against=None,
    )
    run = RunLabel("2026-01-01T00:00:00.000000Z", f"r{number}", "a")
    return HistoryEntry(
        at="2026-01-01T00:00:00.000000Z", run=run, verdict=verdict, fingerprint=Digest("sha256:" + "0" * 64)
    )


def append_many(results: Path, writer: int) -> None:
    for number in range(20):
        append_history(results, [entry(writer * 1000 + number, "x" * 5000), entry(writer * 1000 + number)])


def test_no_history_is_an_empty_one(tmp_path: Path) -> None:
    assert read_history(tmp_path) == read_history(tmp_path / "nowhere")
    assert read_history(tmp_path).entries == ()


def test_verdicts_are_only_ever_added(tmp_path: Path) -> None:
    append_history(tmp_path, [entry(1), entry(2, "two\nlines → one")])
    before = (tmp_path / "history.jsonl").read_bytes()
    append_history(tmp_path, [entry(3)])
    append_history(tmp_path, [])
    assert (tmp_path / "history.jsonl").read_bytes().startswith(before)
    assert read_history(tmp_path).entries == (entry(1), entry(2, "two\nlines → one"), entry(3))
    assert read_history(tmp_path).problems == ()


def test_a_torn_last_line_is_reported_and_the_next_verdict_starts_a_line_of_its_own(tmp_path: Path) -> None:
    append_history(tmp_path, [entry(1), entry(2)])
    path = tmp_path / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    torn = read_history(tmp_path)
    assert torn.entries == (entry(1),)
    assert len(torn.problems) == 1
    assert "line 2" in torn.problems[0]
    append_history(tmp_path, [entry(3)])
    assert read_history(tmp_path).entries == (entry(1), entry(3))


@pytest.mark.parametrize("line", [b"", b"{}", b"\xff\xfe", b"[1]", b'{"at": 1}'])
def test_a_damaged_line_in_the_middle_hides_no_other(tmp_path: Path, line: bytes) -> None:
    append_history(tmp_path, [entry(1)])
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(line + b"\n")
    append_history(tmp_path, [entry(2)])
    found = read_history(tmp_path)
    assert found.entries == (entry(1), entry(2))
    assert len(found.problems) == 1


def test_processes_that_write_at_once_lose_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(tmp_path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    found = read_history(tmp_path)
    assert found.problems == ()
    assert len(found.entries) == 4 * 40
