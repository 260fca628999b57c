import html
import os
import re
from pathlib import Path

import msgspec
import pytest

from harness.errors import UsageError
from harness.release.formats.registry import FORMATS, Output, clear_places, parse_outputs, write_outputs
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


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"json"}))
def test_no_format_asks_anybody_to_answer_for_a_rehearsal(
    name: str, rehearsal: DriftReport, harmless: DriftReport, sample: DriftReport
) -> None:
    words = re.compile(
        r"\b(?:fails|failing|waived?|undo|new baseline|of the baseline|against baseline)\b", re.IGNORECASE
    )
    assert words.search(FORMATS[name].render(sample))
    for report in (rehearsal, harmless):
        text = FORMATS[name].render(report)
        assert not words.search(text), words.search(text)
        assert "cpu with numpy==2.4.6" in html.unescape(text)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_names_a_candidate_of_another_name(name: str, crossed: DriftReport, sample: DriftReport) -> None:
    assert "cpu-prev" in FORMATS[name].render(crossed)
    assert "cpu-prev" not in FORMATS[name].render(sample)


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


def test_a_report_of_another_day_is_removed_and_nothing_else(tmp_path: Path) -> None:
    old, link, pipe, other = (tmp_path / name for name in ("old", "link", "pipe", "other"))
    for path in (old, other, tmp_path / "behind"):
        path.write_text("yesterday's")
    link.symlink_to("behind")
    os.mkfifo(pipe)
    outputs = parse_outputs([f"json={old}", f"html={link}", f"sarif={pipe}", f"table={tmp_path / 'new'}", "markdown"])
    clear_places([*outputs, Output("junit", Path("/dev/null"))], {})
    assert {path.name for path in tmp_path.iterdir()} == {"link", "pipe", "other"}
    assert link.is_symlink()
    assert pipe.is_fifo()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("refused", ["lockfiles/v1.json", "rules.yaml", "link", "lockfiles/new.json"])
@pytest.mark.parametrize("first", [True, False])
def test_what_is_guarded_is_never_written_over_and_a_report_of_another_day_goes_all_the_same(
    tmp_path: Path, refused: str, first: bool
) -> None:
    folder = tmp_path / "lockfiles"
    folder.mkdir()
    old, read, rules = tmp_path / "old", folder / "v1.json", tmp_path / "rules.yaml"
    for path in (old, read, rules):
        path.write_text("as it was")
    (tmp_path / "link").symlink_to("lockfiles/v1.json")
    guarded = {folder.resolve(): "locks are read", rules.resolve(): "rules are read"}
    wanted = [f"html={tmp_path / refused}", f"json={old}"]
    with pytest.raises(UsageError, match=r"cannot be written: (locks|rules) are read"):
        clear_places(parse_outputs(wanted if first else wanted[::-1]), guarded)
    assert [path.read_text() for path in (read, rules)] == ["as it was"] * 2
    assert not old.exists()


@pytest.mark.parametrize(("place", "said"), [("no/such", "there is no folder"), ("folder", "it is a folder")])
def test_a_report_of_another_day_does_not_outlive_a_place_that_cannot_be_written(
    tmp_path: Path, place: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    old, last, other = (tmp_path / name for name in ("old", "last", "other"))
    for path in (old, last, other):
        path.write_text("yesterday's")
    with pytest.raises(UsageError, match=said):
        clear_places(parse_outputs([f"json={old}", f"sarif={tmp_path / place}", f"html={last}"]), {})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "kept", "other"]


def test_the_first_place_that_is_refused_is_the_one_named(tmp_path: Path) -> None:
    places = [f"json={tmp_path / 'no' / 'such'}", f"html={tmp_path}"]
    with pytest.raises(UsageError, match="there is no folder"):
        clear_places(parse_outputs(places), {})
    with pytest.raises(UsageError, match="it is a folder"):
        clear_places(parse_outputs(places[::-1]), {})
