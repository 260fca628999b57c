import pytest

from harness.errors import IntegrityError
from harness.images.dpkg import paragraph, sums_of

CONTROL = b"Package: a\nVersion: 1\nDescription: short\n long\n .\n more\n"
SUM = b"d41d8cd98f00b204e9800998ecf8427e"


def test_a_paragraph_says_that_the_package_is_installed() -> None:
    fields, text = paragraph(CONTROL, "a")
    assert fields["Package"] == "a"
    assert text == CONTROL + b"Status: install ok installed\n"


def test_a_line_end_more_or_less_does_not_count() -> None:
    assert paragraph(CONTROL.rstrip(), "a") == paragraph(b"\n" + CONTROL + b"\n\n", "a")


@pytest.mark.parametrize(
    ("control", "problem"),
    [
        (CONTROL + b"\nPackage: b\nVersion: 2\n", "more than one paragraph"),
        (CONTROL + b"  \nPackage: b\n", "more than one paragraph"),
        (CONTROL + b"status: deinstall ok config-files\n", "Status"),
        (CONTROL + b"Maintainer: \xff\n", "UTF-8"),
    ],
)
def test_a_control_file_that_would_mislead_scanners_is_refused(control: bytes, problem: str) -> None:
    with pytest.raises(IntegrityError, match=problem):
        paragraph(control, "a 1")


def test_sums_are_of_files_that_are_there() -> None:
    text = SUM + b"  bin/a\n" + SUM + b"  usr/share/doc/a\n" + SUM + b"  usr/na\xc3\xafve\n"
    assert sums_of(text, {"usr/bin/a", "usr/naïve"}, "a") == SUM + b"  bin/a\n" + SUM + b"  usr/na\xc3\xafve\n"


@pytest.mark.parametrize(
    "line", [b"short  usr/a", SUM.upper() + b"  usr/a", SUM + b"  ", SUM + b"  /usr/a", b"\xff" * 40]
)
def test_a_line_that_is_no_sum_is_refused(line: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"no sum and path|absolute"):
        sums_of(line + b"\n", set(), "a")
