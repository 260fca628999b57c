"""A trainer's words, as chunks of bytes that end anywhere."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harness.errors import ExitCode
from harness.runs.events import Lines, Printed, TrainerEvents
from harness.runs.log import RunLog

FACTS = {"run_id": "r1", "commit": "c0ffee", "image": None, "seed": 42}


class Bars:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.amounts: dict[str, float] = {}
        self.open: set[str] = set()

    @contextmanager
    def task(self, description: str, *, total: float | None = None, unit: str = "items") -> Iterator["Bar"]:
        self.open.add(description)
        self.amounts[description] = 0
        yield Bar(self, description)
        self.open.remove(description)

    def note(self, message: str) -> None:
        self.notes.append(message)


class Bar:
    def __init__(self, bars: Bars, name: str) -> None:
        self._bars, self._name = bars, name

    def advance(self, amount: float = 1) -> None:
        self._bars.amounts[self._name] += amount

    def total(self, total: float) -> None:
        pass


@pytest.fixture
def bars() -> Bars:
    return Bars()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with RunLog(tmp_path / "log.jsonl", FACTS) as log:
        yield log


@pytest.fixture
def events(bars: Bars, log: RunLog) -> TrainerEvents:
    return TrainerEvents(bars, log)


def lines(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


def event(**fields: object) -> bytes:
    return msgspec.json.encode(fields) + b"\n"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_are_whole_however_they_are_cut(size: int) -> None:
    text = "one\n\nzwölf\nlast".encode()
    cutter = Lines()
    found = [line for start in range(0, len(text), size) for line in cutter.feed(text[start : start + size])]
    assert [*found, *cutter.close()] == [b"one", b"", "zwölf".encode(), b"last"]
    assert cutter.close() == []


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    cutter = Lines()
    found = [piece for _ in range(40) for piece in cutter.feed(b"x" * 100_000)]
    assert sum(map(len, [*found, *cutter.close()])) == 4_000_000
    assert len(found) >= 3


def test_what_was_printed_is_whole_lines_of_text_without_empty_ones() -> None:
    printed = Printed()
    for chunk in (b"one", b" line\n\n", b"\xff is no text  \n", b"the end"):
        printed.feed(chunk)
    assert printed.lines == ["one line", "\ufffd is no text"]
    printed.close()
    assert printed.lines[-1] == "the end"


def test_stages_become_bars_and_log_lines(events: TrainerEvents, bars: Bars, tmp_path: Path) -> None:
    events.on_stdout(event(event="stage", stage="fits", total=3))
    events.on_stdout(event(event="advance", stage="fits", amount=2) + event(event="advance", stage="fits"))
    assert (bars.amounts, bars.open) == ({"fits": 3.0}, {"fits"})
    events.close()
    assert bars.open == set()
    assert lines(tmp_path)[0] | FACTS == lines(tmp_path)[0]


def test_progress_of_an_unknown_stage_is_ignored(events: TrainerEvents, bars: Bars) -> None:
    events.on_stdout(event(event="advance", stage="never", amount=2))
    assert bars.amounts == {}


def test_notes_reach_people_and_debugging_does_not(events: TrainerEvents, bars: Bars, tmp_path: Path) -> None:
    for level in ("debug", "info", "note", "warning"):
        events.on_stdout(event(event="log", level=level, message=f"a {level}", family="ridge"))
    assert bars.notes == ["a note", "a warning"]
    assert [line["message"] for line in lines(tmp_path)] == ["a debug", "a info", "a note", "a warning"]
    assert {line["family"] for line in lines(tmp_path)} == {"ridge"}


def test_a_trainer_cannot_speak_for_another_run(events: TrainerEvents, tmp_path: Path) -> None:
    events.on_stdout(event(event="log", level="info", message="m", run_id="other", seed=0, time="never"))
    (line,) = lines(tmp_path)
    assert (line["run_id"], line["seed"]) == ("r1", 42)
    assert line["time"] != "never"


@pytest.mark.parametrize(
    "text",
    [b"hello\n", b'"text"\n', b"[1]\n", b"{}\n", b'{"event": "dance"}\n', b'{"event": "stage", "stage": "x"}\n',
     b'{"event": "stage", "stage": "x", "total": "many"}\n', b'{"event": "error", "message": "m", "exit_code": 77}\n',
     b"\xff\xfe\n"],
)  # fmt: skip
def test_what_is_no_event_is_kept_as_it_is(events: TrainerEvents, text: bytes, tmp_path: Path) -> None:
    events.on_stdout(text)
    assert events.failure is None
    (line,) = lines(tmp_path)
    assert (line["level"], line["message"]) == ("stdout", text.decode(errors="replace").rstrip())


def test_a_failure_keeps_its_words_and_its_code(events: TrainerEvents) -> None:
    events.on_stdout(event(event="error", message="m", hint="h", exit_code=4))
    assert events.failure is not None
    assert (events.failure.message, events.failure.hint, events.failure.exit_code) == ("m", "h", ExitCode.INTEGRITY)


def test_the_end_of_stderr_is_kept_and_its_last_line_needs_no_end(events: TrainerEvents) -> None:
    events.on_stderr(b"".join(b"line %d\n" % number for number in range(200)) + b"\n  \nlast")
    assert events.errors[-1] == "line 199"
    events.close()
    assert events.errors[-1] == "last"
    assert len(events.errors) < 100


def test_the_launchers_refusal_is_told_from_a_programs_own_end(events: TrainerEvents) -> None:
    events.on_stderr(b"noise\nharness: this run would not be strict: X is 2\n  Unset X.\n")
    refusal = events.refusal(4)
    assert refusal is not None
    assert (refusal.message, refusal.hint) == ("this run would not be strict: X is 2", "Unset X.")
    assert refusal.exit_code is ExitCode.INTEGRITY
    assert events.refusal(1) is None
    assert events.refusal(137) is None


def test_a_program_that_says_nothing_refuses_nothing(events: TrainerEvents) -> None:
    events.on_stderr(b"Segmentation fault\n")
    assert events.refusal(4) is None
