import os
from pathlib import Path

import msgspec
import pytest

from harness.errors import UsageError
from harness.release.formats.registry import FORMATS, Output, parse_outputs, write_outputs
from harness.release.report import DriftReport


def test_every_format_answers_to_its_name_and_ends_with_a_newline(sample: DriftReport) -> None:
    assert set(FORMATS) == {"table", "json", "markdown", "junit", "sarif", "html"}
    for name, each in FORMATS.items():
        assert each.name == name
        assert each.render(sample).endswith("\n")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_report_gives_the_same_text(name: str, sample: DriftReport) -> None:
    assert FORMATS[name].render(sample) == FORMATS[name].render(sample)


@pytest.mark.parametrize("name", FORMATS)
def test_a_change_of_the_report_changes_the_text(name: str, sample: DriftReport, green: DriftReport) -> None:
    assert FORMATS[name].render(sample) != FORMATS[name].render(green)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_report_is_rendered_too(name: str, green: DriftReport) -> None:
    assert FORMATS[name].render(msgspec.structs.replace(green, environments=(), commit=None))


def test_nothing_asked_for_is_a_table_on_stdout() -> None:
    assert parse_outputs([]) == (Output("table", None),)


def test_a_format_goes_to_stdout_or_to_its_file() -> None:
    found = parse_outputs(["table", "json=drift.json", "sarif=out/a=b.sarif"])
    assert found == (
        Output("table", None),
        Output("json", Path("drift.json")),
        Output("sarif", Path("out/a=b.sarif")),
    )
    assert parse_outputs(["json=-"]) == (Output("json", None),)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["jsn"], "Did you mean json"),
        (["xml=a.xml"], "There is: table, json, markdown, junit, sarif, html"),
        (["table", "json"], "table and json cannot both go to stdout"),
        (["json=-", "json"], "cannot both go to stdout"),
        (["json=a", "sarif=./b/../a"], "given for both json and sarif"),
        (["json="], "'json=' names no file"),
        (["json=a\0b"], "names no file that can be"),
        ([""], "There is no format ''"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(items: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_outputs(items)
    assert message in str(caught.value)


def test_several_formats_are_written_in_one_call(tmp_path: Path, sample: DriftReport) -> None:
    spoken: list[str] = []
    outputs = parse_outputs(["markdown", *(f"{name}={tmp_path / name}" for name in FORMATS)])
    write_outputs(sample, outputs, spoken.append)
    assert spoken == [FORMATS["markdown"].render(sample)]
    for name in FORMATS:
        assert (tmp_path / name).read_bytes() == FORMATS[name].render(sample).encode()


def test_only_a_terminal_gets_colours(sample: DriftReport, tmp_path: Path) -> None:
    plain: list[str] = []
    colored: list[str] = []
    write_outputs(sample, parse_outputs(["table", f"json={tmp_path / 'j'}"]), plain.append)
    outputs = parse_outputs(["table"])
    write_outputs(sample, outputs, colored.append, terminal_width=80)
    write_outputs(sample, parse_outputs([f"table={tmp_path / 't'}"]), plain.append, terminal_width=80)
    assert "\x1b[" not in plain[0]
    assert "\x1b[" in colored[0]
    assert "\x1b[" not in (tmp_path / "t").read_text()


def test_a_folder_that_is_missing_is_named_and_nothing_is_written(tmp_path: Path, sample: DriftReport) -> None:
    outputs = parse_outputs([f"json={tmp_path / 'drift.json'}", f"sarif={tmp_path / 'out' / 'drift.sarif'}", "table"])
    spoken: list[str] = []
    with pytest.raises(UsageError, match=r"there is no folder .*out"):
        write_outputs(sample, outputs, spoken.append)
    assert list(tmp_path.iterdir()) == []
    assert spoken == []


def test_a_folder_is_no_file(tmp_path: Path, sample: DriftReport) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        write_outputs(sample, parse_outputs([f"json={tmp_path}"]), print)


def test_all_is_rendered_before_the_first_is_written(
    tmp_path: Path, sample: DriftReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(report: DriftReport) -> str:
        raise RuntimeError("cannot be rendered")

    monkeypatch.setattr(FORMATS["html"], "render", fails, raising=True)
    outputs = parse_outputs([f"json={tmp_path / 'a'}", f"html={tmp_path / 'b'}"])
    with pytest.raises(RuntimeError):
        write_outputs(sample, outputs, print)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_gets_the_text_and_stays_a_pipe(tmp_path: Path, sample: DriftReport) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_outputs(sample, parse_outputs([f"markdown={pipe}"]), print)
        assert os.read(reader, 1 << 20).decode() == FORMATS["markdown"].render(sample)
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_link_stays_one_and_the_file_behind_it_is_written(tmp_path: Path, sample: DriftReport) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to("file")
    for _ in range(2):  # the first makes the file
        write_outputs(sample, parse_outputs([f"json={link}"]), print)
        assert link.is_symlink()
        assert file.read_text() == FORMATS["json"].render(sample)
    link.unlink()
    link.symlink_to("nowhere/file")
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        write_outputs(sample, parse_outputs([f"json={link}"]), print)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_device_is_one_sentence(sample: DriftReport) -> None:
    with pytest.raises(UsageError, match="/dev/full cannot be written: No space left"):
        write_outputs(sample, parse_outputs(["json=/dev/full"]), print)
    assert Path("/dev/full").is_char_device()


def test_a_file_is_replaced_whole(tmp_path: Path, sample: DriftReport) -> None:
    path = tmp_path / "drift.json"
    path.write_text("x" * 1_000_000)
    write_outputs(sample, parse_outputs([f"json={path}"]), print)
    assert path.read_text() == FORMATS["json"].render(sample)
    assert list(tmp_path.iterdir()) == [path]
