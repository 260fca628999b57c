import base64
import csv
import hashlib
import io
import stat
import zipfile
from pathlib import Path

import pytest
from image_packages import record_row, wheel

from harness.errors import IntegrityError
from harness.images.paths import Excludes
from harness.images.tree import Entry, File
from harness.images.wheel import read_wheel
from harness.locking.python import LockedWheel
from harness.spec.digest import digest_from_hex

SITE = "usr/local/lib/python3.11/dist-packages"
PLATFORM = "x86_64-manylinux_2_36"
EVIL = LockedWheel("evil", "1.0", "evil-1.0-py3-none-any.whl", digest_from_hex("0" * 64))


def read(data: bytes, folder: Path, exclude: tuple[str, ...] = ()) -> dict[str, Entry]:
    path = folder / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    return dict(read_wheel(EVIL, path, python="3.11", platform=PLATFORM, exclude=Excludes(exclude)).entries)


def text(entry: Entry) -> bytes:
    assert isinstance(entry, File)
    return b"".join(entry.content.chunks())


def executable(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | 0o775) << 16
    return info


FILES: list[tuple[str | zipfile.ZipInfo, bytes]] = [
    ("evil/__init__.py", b"x = 1\n"),
    (executable("evil/run"), b"#!/bin/sh\n"),
    ("evil/tests/test_x.py", b"assert 1"),
    ("evil/__pycache__/x.cpython-311.pyc", b"stale"),
    ("evil-1.0.data/scripts/tool", b"#!python\nprint()\n"),
    ("evil-1.0.data/data/share/x", b"data"),
    ("evil-1.0.data/headers/x.h", b"header"),
    ("evil-1.0.dist-info/entry_points.txt", b"[console_scripts]\nrun-evil = evil:main\n"),
]


def test_a_wheel_goes_where_debians_python_looks(tmp_path: Path) -> None:
    entries = read(wheel("evil", FILES), tmp_path)
    assert text(entries[f"{SITE}/evil/__init__.py"]) == b"x = 1\n"
    assert text(entries["usr/local/bin/tool"]).startswith(b"#!/usr/bin/python3\n")
    assert text(entries["usr/local/bin/run-evil"]).startswith(b"#!/usr/bin/python3\n")
    assert text(entries["usr/local/share/x"]) == b"data"
    assert text(entries["usr/local/include/python3.11/evil/x.h"]) == b"header"
    modes = {path.rpartition("/")[2]: entry.mode for path, entry in entries.items() if isinstance(entry, File)}
    assert modes["run"] == modes["tool"] == modes["run-evil"] == 0o755
    assert modes["__init__.py"] == modes["RECORD"] == 0o644


def test_nothing_is_added_that_differs_from_one_installer_to_the_next(tmp_path: Path) -> None:
    entries = read(wheel("evil", FILES), tmp_path)
    names = {path.rpartition("/")[2] for path in entries}
    assert not names & {"INSTALLER", "REQUESTED", "direct_url.json", "x.cpython-311.pyc"}


def test_record_lists_exactly_what_is_there_with_its_hashes(tmp_path: Path) -> None:
    entries = read(wheel("evil", FILES), tmp_path, exclude=("*/tests/*",))
    record = text(entries[f"{SITE}/evil-1.0.dist-info/RECORD"]).decode()
    rows = list(csv.reader(io.StringIO(record)))
    assert rows == sorted(rows)
    assert "evil/tests/test_x.py" not in record
    listed = {str((Path("/") / SITE / row[0]).resolve())[1:]: row for row in rows}
    assert set(listed) == set(entries)
    for path, (name, checksum, size) in listed.items():
        if name.endswith("RECORD"):
            assert (checksum, size) == ("", "")
            continue
        digest = base64.urlsafe_b64encode(hashlib.sha256(text(entries[path])).digest()).decode().rstrip("=")
        assert (checksum, size) == (f"sha256={digest}", str(len(text(entries[path]))))


def test_the_order_of_members_does_not_count(tmp_path: Path) -> None:
    one, other = read(wheel("evil", FILES), tmp_path), read(wheel("evil", FILES, order=-1), tmp_path)
    assert {path: text(entry) for path, entry in one.items()} == {path: text(entry) for path, entry in other.items()}


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE: dict[str, tuple[list[tuple[str | zipfile.ZipInfo, bytes]], str]] = {
    "traversal": ([("../../bin/sh", b"")], "leads out of the image"),
    "traversal in the middle": ([("evil/../../x", b"")], "leads out of the image"),
    "traversal in a data folder": ([("evil-1.0.data/data/../../../etc/passwd", b"")], "leads out of the image"),
    "absolute path": ([("/etc/passwd", b"")], "is absolute"),
    "backslashes": ([("evil\\..\\x", b"")], "not a plain path"),
    "link": ([(link("evil/x"), b"/etc/passwd")], "link or special file"),
    "the same path twice": ([("evil/x", b"1"), ("evil/x", b"2")], "there twice"),
    "whiteout": ([("evil/.wh.x", b"")], r"\.wh\."),
    "control character": ([("evil/a\tb", b"")], "control character"),
    "entry point that leads out": (
        [("evil-1.0.dist-info/entry_points.txt", b"[console_scripts]\n../../../sbin/init = evil:main\n")],
        "leads out of the image",
    ),
    "the root": ([(".", b"")], "not a plain path"),
    "a name that begins with a dot and a slash": ([("./evil/x", b"")], "not a plain path"),
    "a file in place of the data folder": ([("evil-1.0.data", b"")], "is a file where wheels have a folder"),
    "a file in place of a scheme's folder": ([("evil-1.0.data/scripts", b"")], "is a file where wheels have a folder"),
    "entry points that are no text of that kind": (
        [("evil-1.0.dist-info/entry_points.txt", b"[console_scripts\n")],
        "not a wheel that can be installed",
    ),
    "name longer than a system takes": ([("evil/" + "x" * 256, b"")], "longer than a system takes"),
    "unknown data folder": ([("evil-1.0.data/kernel/x", b"")], "not contained in a valid .data"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("files", "problem"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_member_is_refused_and_named(
    files: list[tuple[str | zipfile.ZipInfo, bytes]], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match=rf"evil-1\.0-py3.*{problem}"):
        read(wheel("evil", files), tmp_path)


RECORD = "evil-1.0.dist-info/RECORD,,\n"
METADATA = b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"
ABOUT = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (RECORD, "not mentioned in RECORD"),
        ("evil/x,,\n" + RECORD, "does not give evil/x its size and a strong hash"),
        ("evil/x,md5=abc,1\n" + RECORD, "strong hash"),
        ("evil/x,sha256=abc,2\n" + RECORD, "its size"),
        ("evil/x,sha256=abc\n" + RECORD, "RECORD"),
        ("evil/x,sha256=abc,1\nevil/x,sha256=abd,1\n" + RECORD, "twice, and differently"),
        ("\x00", "RECORD"),
    ],
)
def test_a_file_that_record_does_not_vouch_for_is_refused(record: str, problem: str, tmp_path: Path) -> None:
    rows = record_row("evil-1.0.dist-info/METADATA", METADATA) + record_row("evil-1.0.dist-info/WHEEL", ABOUT)
    with pytest.raises(IntegrityError, match=problem) as refused:
        read(wheel("evil", {"evil/x": b"1"}, record=rows + record), tmp_path)
    assert "lock another version" in (refused.value.hint or "")


def test_content_that_is_not_what_record_says_is_refused_when_it_is_read(tmp_path: Path) -> None:
    entries = read(wheel("evil", {"evil/x": b"these"}, recorded={"evil/x": b"other"}), tmp_path)
    with pytest.raises(IntegrityError, match="evil/x is not what the wheel's RECORD says"):
        text(entries[f"{SITE}/evil/x"])


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    zeros = bytes(1_000_000)
    data = bytearray(wheel("evil", {"evil/x": zeros}, recorded={"evil/x": zeros[:10]}))
    while (place := data.find(len(zeros).to_bytes(4, "little"))) != -1:
        data[place : place + 4] = (10).to_bytes(4, "little")
    entries = read(bytes(data), tmp_path)
    with pytest.raises(IntegrityError, match=r"evil/x (cannot be unpacked|does not unpack|is not what)"):
        text(entries[f"{SITE}/evil/x"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x05\x06" + bytes(18),
        wheel("evil", {})[:-30],
        wheel("good", {}),
        wheel("evil", {}, version="2.0"),
        wheel("evil", {"good-1.0.dist-info/METADATA": b""}),
    ],
)
def test_what_is_no_wheel_or_another_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"evil-1\.0-py3-none-any\.whl"):
        read(data, tmp_path)


def test_a_flipped_bit_in_a_member_is_refused(tmp_path: Path) -> None:
    content = hashlib.shake_256(b"x").digest(5000)
    data = bytearray(wheel("evil", {"evil/x": content}))
    data[2500] ^= 1
    entries = read(bytes(data), tmp_path)
    with pytest.raises(IntegrityError, match="evil/x"):
        text(entries[f"{SITE}/evil/x"])


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(wheel("evil", {"evil/x": b"secret"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    with pytest.raises(IntegrityError, match="is encrypted"):
        read(bytes(data), tmp_path)


@pytest.mark.parametrize(
    "tag", ["cp312-cp312-manylinux_2_28_x86_64", "cp311-cp311-manylinux_2_28_aarch64", "cp311-cp311-win_amd64",
            "cp311-cp311-manylinux_2_40_x86_64", "py2-none-any"],
)  # fmt: skip
def test_a_wheel_for_another_python_or_platform_is_refused(tag: str, tmp_path: Path) -> None:
    path = tmp_path / "wheel"
    path.write_bytes(wheel("evil", {}))
    locked = LockedWheel("evil", "1.0", f"evil-1.0-{tag}.whl", digest_from_hex("0" * 64))
    with pytest.raises(IntegrityError, match=rf"is for {tag}.*Python 3\.11 on x86_64-manylinux_2_36") as caught:
        read_wheel(locked, path, python="3.11", platform=PLATFORM, exclude=Excludes(()))
    assert "harness lock" in (caught.value.hint or "")


@pytest.mark.parametrize(("tag", "fits"), [("cp311-abi3-linux_x86_64", True), ("cp312-cp312-linux_x86_64", False)])
def test_a_wheel_that_was_renamed_is_known_by_what_it_says_itself(tag: str, fits: bool, tmp_path: Path) -> None:
    data = wheel("evil", {}, tag=tag)
    if fits:
        assert read(data, tmp_path)
    else:
        with pytest.raises(
            IntegrityError, match=rf"evil-1\.0-py3-none-any\.whl says in its WHEEL that it is for {tag}"
        ):
            read(data, tmp_path)


def test_a_wheel_that_unpacks_to_far_more_than_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.images.wheel._FREE", 1_000_000)
    data = wheel("evil", {"evil/zeros": bytes(2_000_000)})
    with pytest.raises(IntegrityError, match=r"would unpack to 2000.*looks like a bomb"):
        read(data, tmp_path)
    monkeypatch.setattr("harness.images.wheel.MAX_RATIO", 2_000_000)
    assert read(data, tmp_path)


def test_members_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    data = bytearray(wheel("evil", {"evil/a": b"A" * 100, "evil/b": b"A" * 100}))
    table = [place for place in range(len(data)) if data[place : place + 4] == b"PK\x01\x02"]
    data[table[1] + 42 : table[1] + 46] = data[table[0] + 42 : table[0] + 46]
    with pytest.raises(IntegrityError, match="lie over each other"):
        read(bytes(data), tmp_path)


def test_a_table_of_contents_of_many_megabytes_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.images.wheel.MAX_TABLE", 1 << 17)
    with pytest.raises(IntegrityError, match="headers take more than 131072 bytes"):
        read(wheel("evil", {f"evil/{number:0100}": b"" for number in range(1000)}), tmp_path)


@pytest.mark.parametrize("name", ["METADATA", "RECORD", "WHEEL", "entry_points.txt"])
def test_a_text_of_many_megabytes_is_refused_before_it_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = wheel("evil", {"evil-1.0.dist-info/entry_points.txt": b"[console_scripts]\n"})
    place = data.rindex(f"evil-1.0.dist-info/{name}".encode()) - 46
    lying = bytearray(data)
    lying[place + 24 : place + 28] = (60 << 20).to_bytes(4, "little")
    with pytest.raises(IntegrityError, match=rf"{name} has more than"):
        read(bytes(lying), tmp_path)


def test_a_compression_that_wheels_do_not_use_is_refused(tmp_path: Path) -> None:
    data = bytearray(wheel("evil", {"evil/x": b"x"}))
    place = data.index(b"PK\x01\x02")
    data[place + 10 : place + 12] = zipfile.ZIP_BZIP2.to_bytes(2, "little")
    with pytest.raises(IntegrityError, match="compressed in a way that wheels are not"):
        read(bytes(data), tmp_path)


def test_a_program_among_the_scripts_is_taken_as_it_is(tmp_path: Path) -> None:
    entries = read(wheel("evil", {"evil-1.0.data/scripts/tool": b"\x7fELF" + bytes(100)}), tmp_path)
    tool = entries["usr/local/bin/tool"]
    assert (text(tool), isinstance(tool, File) and tool.mode) == (b"\x7fELF" + bytes(100), 0o755)
