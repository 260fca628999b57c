"""What `harness lock` reads of a package's file: within bounds, and every damage is one sentence."""

import lzma
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import IntegrityError
from harness.locking.debian import MaintainerScript
from harness.locking.scripts import read_scripts
from harness.record.hashing import digest_of
from tests.images.image_packages import COMPRESSORS, ar, deb, hardlink, member, symlink, tar

CONTROL = member("./control", b"Package: evil\nVersion: 1.0\nArchitecture: amd64\n")
POSTINST = b"#!/bin/sh\nexit 0\n"


def read(data: bytes, folder: Path) -> tuple[MaintainerScript, ...]:
    path = folder / "evil.deb"
    path.write_bytes(data)
    return read_scripts(path, "evil", "amd64")


def with_control(members: list[tuple[tarfile.TarInfo, bytes]], edit: Callable[[bytes], bytes] = bytes) -> bytes:
    return ar([("debian-binary", b"2.0\n"), ("control.tar", edit(tar(members))), ("data.tar", tar([]))])


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_scripts_are_read_however_the_package_is_compressed(compression: str, tmp_path: Path) -> None:
    data = deb("evil", [], compression=compression, scripts={"postinst": POSTINST, "preinst": POSTINST})
    assert [(script.name, script.digest) for script in read(data, tmp_path)] == [
        ("preinst", digest_of(POSTINST)),
        ("postinst", digest_of(POSTINST)),
    ]


@pytest.mark.parametrize("name", ["postinst", "./postinst", "/postinst", ".//postinst", "a/../postinst"])
def test_a_script_is_found_whatever_way_it_is_named(name: str, tmp_path: Path) -> None:
    assert [script.name for script in read(with_control([CONTROL, member(name, POSTINST)]), tmp_path)] == ["postinst"]


def dictionary_of_gigabytes(data: bytes) -> bytes:
    # The dictionary's size is one byte of the block's header; it is raised there, and the header's sum with it.
    packed = bytearray(lzma.compress(data, preset=0))
    header = packed[12 : 12 + (packed[12] + 1) * 4]
    header[header.index(0x21) + 2] = 38
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    packed[12 : 12 + len(header)] = header
    return bytes(packed)


def sized(size: int, name: str = "./postinst") -> bytes:
    """A script, or another member, that says that it is so large."""
    info, data = member(name, POSTINST)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(512 - len(data))


def nested(depth: int) -> bytes:
    """Headers that each say a name of the next one's."""
    info, _ = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)
    info.size = 2
    return (info.tobuf(tarfile.GNU_FORMAT) + b"x\0" + bytes(510)) * depth


def packed(control: bytes, extension: str = "") -> bytes:
    return ar([("debian-binary", b"2.0\n"), (f"control.tar{extension}", control), ("data.tar", tar([]))])


FIRST = tar([CONTROL])[:1024]
END = bytes(1024)
DAMAGED = {
    "nothing": b"",
    "no archive": b"not an archive at all",
    "another archive": ar([("other", b"")]),
    "no control archive": ar([("debian-binary", b"2.0\n")]),
    "two control archives": ar([("debian-binary", b""), ("control.tar", FIRST), ("control.tar.xz", FIRST)]),
    "a negative size": ar([("debian-binary", b"2.0\n")], sizes={"debian-binary": -60}),
    "an ar header that is cut off": with_control([CONTROL])[:-10250],
    "no xz": packed(b"not xz", ".xz"),
    "no gzip": packed(b"not gzip", ".gz"),
    "no bzip2": packed(b"not bzip2", ".bz2"),
    "no zstd": packed(b"not zstd", ".zst"),
    "gzip that is damaged": packed(COMPRESSORS[".gz"](FIRST + END)[:-20] + bytes(20), ".gz"),
    "xz that is cut off": packed(lzma.compress(FIRST + END)[:-20], ".xz"),
    "zstd that is cut off": packed(COMPRESSORS[".zst"](FIRST + END)[:-4], ".zst"),
    "xz that asks for gigabytes": packed(dictionary_of_gigabytes(FIRST + END), ".xz"),
    "a compression that is not known": packed(FIRST + END, ".foo"),
    "no tar": packed(b"a" * 10240),
    "no control file": with_control([member("./postinst", POSTINST)]),
    "a script that is a link": with_control([CONTROL, symlink("./postinst", "/etc/passwd")]),
    "a script that is a hard link": with_control([CONTROL, hardlink("./postinst", "./control")]),
    "a script twice": with_control([CONTROL, member("./postinst", POSTINST), member("postinst", b"")]),
    "a script that is cut off": packed(FIRST + sized(4096)),
    "a script of more bytes than there are": packed(FIRST + sized(1 << 80) + END),
    "another member of more bytes than there are": packed(FIRST + sized(1 << 80, "./x") + END),
    "a script behind a damaged header": packed(FIRST + b"x" * 512 + sized(len(POSTINST)) + END),
    "no end mark": packed(FIRST),
    "headers without end": packed(FIRST + nested(2000) + END),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_package_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="evil"):
        read(data, tmp_path)


def test_the_parts_that_those_are_made_of_are_read_when_they_are_whole(tmp_path: Path) -> None:
    assert read(packed(FIRST + END), tmp_path) == ()
    assert [script.name for script in read(packed(FIRST + sized(len(POSTINST)) + END), tmp_path)] == ["postinst"]
    assert read(packed(lzma.compress(FIRST + END, preset=0), ".xz"), tmp_path) == ()
    assert read(packed(FIRST + nested(3) + sized(1, "./x") + END), tmp_path) == ()


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_control_archive_that_unpacks_without_end_is_refused(compression: str, tmp_path: Path) -> None:
    data = COMPRESSORS[compression](tar([CONTROL, member("./md5sums", bytes(17 << 20))]))
    with pytest.raises(IntegrityError, match=r"control\.tar unpacks to more than 16777216 bytes"):
        read(packed(data, compression), tmp_path)


def test_a_script_larger_than_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="postinst of evil is larger than 4194304 bytes"):
        read(with_control([CONTROL, member("./postinst", bytes((4 << 20) + 1))]), tmp_path)


def test_a_header_of_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    info, _ = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)
    info.size = 2 << 20
    with pytest.raises(IntegrityError, match="headers take more than 1048576 bytes"):
        read(packed(FIRST + info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size) + END), tmp_path)
