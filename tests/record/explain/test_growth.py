"""What somebody else's program wrote costs time in proportion to its size, however it is made."""

import json
import pickle
import signal
from collections.abc import Callable, Iterator

import pytest

from harness.record.explain.cause import UNKNOWN, Digests, Facts
from harness.record.explain.contents import compare_contents
from harness.record.explain.explanation import _pairs
from harness.record.explain.tokens import compare_line, volatile_form

SIZE, LIMIT = 90_000, 20.0

# Each begins what a rule looks for, again and again, and ends in what the rule refuses.
HOSTILE = {
    "a temporary file's name without an end": "/tmp/" + "_" * 170 + "é",
    "temporary folders": "/tmp/" + "a_b.c-d8/" * 5 + "é",
    "short temporary names": "/tmp/a.b-",
    "a name of dots": "/tmp/" + "." * 90 + "_" * 90,
    "letters and digits in turn": "a1",
    "hexadecimal letters": "f",
    "hexadecimal digits, other letters": "0123456789abcdef" * 8 + "g ",
    "letters after an accent": "éfffffff",
    "digits": "7",
    "digits and colons": "1:",
    "dates without an end": "2026-03-05T10:00:0",
    "months and blanks": "Mon, Mar" + " " * 50,
    "blanks": " ",
    "exponents": "1e+",
    "signs": "-+",
    "points": "1.",
    "addresses": "0x",
    "UUIDs without an end": "01234567-0123-0123-0123-0123456789a ",
    "units": "1 s/",
    "words, then numbers": "elapsed=1 ",
    "brackets": "[{(",
}


def assert_in_proportion(work: Callable[[int], object], *, size: int = SIZE) -> None:
    """That `work` ends within far more processor time than what is linear needs, and far less than what is a square."""

    def give_up(*_: object) -> None:
        pytest.fail(f"{LIMIT} s on the processor were not enough for {size} characters")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        work(size)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_what_is_a_square_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "LIMIT", 0.2)
    with pytest.raises(pytest.fail.Exception, match="were not enough"):
        assert_in_proportion(lambda size: sum(1 for _ in range(size) for _ in range(size)))


def line(unit: str, size: int, last: str) -> str:
    return (unit * (size // len(unit) + 1))[: size - 1] + last


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_line_costs_in_proportion_to_its_length(unit: str) -> None:
    def work(size: int) -> None:
        volatile_form(line(unit, size, "x"))
        list(compare_line(line(unit, size, "x"), line(unit, size, "y"), "line 1", UNKNOWN))

    assert_in_proportion(work)


def test_a_line_of_times_and_numbers_that_all_differ_does_too() -> None:
    def work(size: int) -> None:
        one, other = (f"10:00:0{digit} {digit}7.5 " * (size // 14) for digit in "12")
        assert len(list(compare_line(one, other, "line 1", UNKNOWN))) > size // 14

    assert_in_proportion(work)


def test_digests_are_not_looked_for_among_all_outputs_one_by_one() -> None:
    def work(size: int) -> None:
        count = size // 10
        facts = Facts(digests=Digests((str(number), f"{number:064x}") for number in range(count)))
        one, other = ("".join(f"{digit}bcdef{number:06x} " for number in range(count)) for digit in "ac")
        assert list(compare_line(one, other, "line 1", (facts, facts)))

    assert_in_proportion(work, size=32_000)


@pytest.mark.parametrize("name", ["a.json", "a.pkl"])
def test_a_long_key_is_not_read_again_for_each_of_its_numbers(name: str) -> None:
    def work(size: int) -> None:
        values = [{"k" * size: [number + shift for number in range(size // 10)]} for shift in (0.25, 0.5)]
        one, other = (json.dumps(v).encode() if name == "a.json" else pickle.dumps(v, 2) for v in values)
        assert len(list(compare_contents(name, one, other, UNKNOWN))) > 1

    assert_in_proportion(work)


def names(count: int, form: str) -> Iterator[tuple[str, str]]:
    return ((form.format(number), f"sha256:{number:064x}") for number in range(count))


@pytest.mark.parametrize("form", ["run/{}x.bin", "{}", "a/" + "b" * 200 + "{}"])
def test_files_are_paired_in_proportion_to_their_number(form: str) -> None:
    def work(size: int) -> None:
        count = size // 10
        pairs, gone, added = _pairs(dict(names(count, form)), dict(names(count, form + "7")))
        assert len(pairs) + len(gone) == count == len(pairs) + len(added)

    assert_in_proportion(work)


def test_a_long_name_without_a_digit_is_read_once() -> None:
    assert_in_proportion(lambda size: _pairs({"a" * size: "1"}, {"b" * size: "2"}))
