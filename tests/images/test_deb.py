import errno
import io
import lzma
import tarfile
import zlib
from pathlib import Path

import msgspec
import pytest
from backports import zstd
from image_packages import COMPRESSORS, ar, deb, folder, hardlink, member, symlink, tar

from harness.errors import IntegrityError
from harness.images.content import same_content
from harness.images.deb import read_deb
from harness.images.tree import Directory, Entry, File, Symlink
from harness.locking.debian import DebianPackage, MaintainerScript
from harness.record.hashing import digest_of


def read(data: bytes, package: DebianPackage, folder: Path) -> dict[str, Entry]:
    path = folder / "package.deb"
    path.write_bytes(data)
    return dict(read_deb(package, path, lambda deb: deb.data(folder)))


def text(entry: Entry) -> bytes:
    assert isinstance(entry, File)
    return b"".join(entry.content.chunks())


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_package_is_read_however_it_is_compressed(compression: str, package: DebianPackage, tmp_path: Path) -> None:
    data = deb("evil", [folder("./usr/"), member("./usr/a", b"A" * 3_000_000)], compression=compression)
    entries = read(data, package, tmp_path)
    assert entries["usr"] == Directory(0o755)
    assert text(entries["usr/a"]) == b"A" * 3_000_000
    assert text(entries["var/lib/dpkg/status.d/evil"]).startswith(b"Package: evil\n")
    assert "var/lib/dpkg/status.d/evil.md5sums" not in entries


def test_a_packages_paragraph_and_sums_go_where_scanners_look(package: DebianPackage, tmp_path: Path) -> None:
    sums = b"d41d8cd98f00b204e9800998ecf8427e  bin/sh\n"
    entries = read(deb("evil", [member("./bin/sh")], sums=sums), package, tmp_path)
    assert text(entries["var/lib/dpkg/status.d/evil"]).endswith(b"Status: install ok installed\n")
    assert text(entries["var/lib/dpkg/status.d/evil.md5sums"]) == sums


def test_what_is_shipped_in_the_root_goes_to_the_merged_usr(package: DebianPackage, tmp_path: Path) -> None:
    data = deb(
        "evil", [member("./bin/sh", b"sh"), hardlink("./sbin/ash", "./bin/sh"), symlink("./lib64/ld", "/lib/ld")]
    )
    entries = read(data, package, tmp_path)
    assert {"usr/bin/sh", "usr/sbin/ash", "usr/lib64/ld"} < set(entries)
    assert entries["usr/lib64/ld"] == Symlink("/lib/ld")
    assert entries["usr/bin/sh"] is entries["usr/sbin/ash"]


def test_bits_that_would_give_privileges_are_left_out(package: DebianPackage, tmp_path: Path) -> None:
    data = deb("evil", [member("./su", mode=0o6755), folder("./local", 0o2775), folder("./tmp", 0o1777)])
    entries = read(data, package, tmp_path)
    modes = [entry.mode for entry in entries.values() if isinstance(entry, File | Directory)]
    assert modes[:3] == [0o755, 0o775, 0o1777]


HOSTILE = {
    "traversal": ([member("./../etc/passwd")], "leads out of the image"),
    "traversal in the middle": ([member("./usr/../../etc/passwd")], "leads out of the image"),
    "absolute path": ([member("/etc/passwd")], "is absolute"),
    "empty part": ([member("./usr//passwd")], "not a plain path"),
    "symlink that leads out": ([symlink("./usr/x", "../../etc/passwd")], "leads out of the image"),
    "symlink to nowhere": ([symlink("./usr/x", "")], "no plain target"),
    "hardlink that leads out": ([hardlink("./usr/x", "../etc/passwd")], "leads out of the image"),
    "absolute hardlink": ([hardlink("./usr/x", "/etc/passwd")], "is absolute"),
    "hardlink to what is not there": ([hardlink("./usr/x", "./usr/y")], "no file before it"),
    "hardlink to a symlink": ([symlink("./a", "b"), hardlink("./c", "./a")], "no file before it"),
    "character device": ([member("./dev/null", type=tarfile.CHRTYPE)], "device, pipe"),
    "block device": ([member("./dev/sda", type=tarfile.BLKTYPE)], "device, pipe"),
    "pipe": ([member("./dev/pipe", type=tarfile.FIFOTYPE)], "device, pipe"),
    "the same path twice": ([member("./a", b"1"), member("./a", b"2")], "there twice"),
    "the same path twice, alike": ([member("./a", b"1"), member("./a", b"1")], "there twice"),
    "the same path twice, through the merged usr": ([member("./bin/a"), member("./usr/bin/a")], "there twice"),
    "a folder that becomes a link": ([folder("./a"), symlink("./a", "b")], "there twice"),
    "whiteout": ([member("./usr/.wh.bin")], r"\.wh\."),
    "whiteout of a folder": ([member("./.wh..wh..opq")], r"\.wh\."),
    "name that is not UTF-8": ([member("./usr/\udcff")], "not UTF-8"),
    "control character": ([member("./usr/a\nb")], "control character"),
    "name longer than a system takes": ([member("./" + "x" * 256)], "longer than a system takes"),
    "path longer than a system takes": ([member("./" + "d/" * 2048 + "x")], "longer than a system takes"),
    "link longer than a system takes": ([symlink("./x", "d/" * 2048 + "x")], "no plain target"),
}


@pytest.mark.parametrize(("members", "problem"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_member_is_refused_and_named(
    members: list[tuple[tarfile.TarInfo, bytes]], problem: str, package: DebianPackage, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match=rf"evil 1\.0.*{problem}"):
        read(deb("evil", members), package, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "package.deb"]


def test_links_that_stay_inside_are_taken(package: DebianPackage, tmp_path: Path) -> None:
    data = deb("evil", [symlink("./usr/lib/x", "../../etc/x"), symlink("./usr/y", "/etc/../y")])
    assert read(data, package, tmp_path)["usr/lib/x"] == Symlink("../../etc/x")


def test_a_package_that_is_another_is_refused(package: DebianPackage, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"says in its control file that it is good 1\.0 amd64"):
        read(deb("good", []), package, tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive at all",
        ar([("debian-binary", b"2.0\n")]),
        ar([("other", b"")]),
        ar([("debian-binary", b"2.0\n"), ("control.tar.xz", b"not xz"), ("data.tar.xz", b"")]),
        ar([("debian-binary", b"2.0\n")], sizes={"debian-binary": -60}),
        deb("evil", [member("./a", b"a" * 5000)])[:-200],
        deb("evil", [], data=b"a" * 10240),
        deb("evil", [], data=tar([member("./a", b"a" * 5000)])[:4096]),
        deb("evil", [], data=tar([member("./a")])[:512]),
        deb("evil", [], data=tar([member("./a")])[:512] + b"x" * 512),
    ],
)
def test_a_damaged_package_is_refused(data: bytes, package: DebianPackage, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="evil"):
        read(data, package, tmp_path)


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_package_that_unpacks_without_end_is_refused(
    compression: str, package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.locking.debfile.MAX_UNPACKED", 1_000_000)
    with pytest.raises(IntegrityError, match=r"data\.tar unpacks to more than 1000000 bytes"):
        read(deb("evil", [member("./zeros", bytes(2_000_000))], compression=compression), package, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "package.deb"]


def test_an_unknown_compression_is_refused(package: DebianPackage, tmp_path: Path) -> None:
    data = deb("evil", []).replace(b"data.tar.xz ", b"data.tar.foo")
    with pytest.raises(IntegrityError, match=r"not known: \.foo"):
        read(data, package, tmp_path)


def test_contents_can_be_read_again_and_compared(package: DebianPackage, tmp_path: Path) -> None:
    entries = read(
        deb("evil", [member("./a", b"same"), member("./b", b"same"), member("./c", b"else")]), package, tmp_path
    )
    a, b, c = (entries[name] for name in "abc")
    assert text(a) == text(a) == b"same"
    assert isinstance(a, File) and isinstance(b, File) and isinstance(c, File)  # noqa: PT018
    assert same_content(a.content, b.content)
    assert not same_content(a.content, c.content)


def test_a_sparse_member_is_refused(package: DebianPackage, tmp_path: Path) -> None:
    info, _ = member("./sparse", b"", type=tarfile.GNUTYPE_SPARSE)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info)
    with pytest.raises(IntegrityError, match="device, pipe or other special"):
        read(deb("evil", [], data=stream.getvalue()), package, tmp_path)


def test_a_package_that_unpacks_to_far_more_than_it_is_is_refused(
    package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.locking.debfile._FREE", 1_000_000)
    members = [member("./zeros", bytes(2_000_000))]
    with pytest.raises(IntegrityError, match="looks like a bomb"):
        read(deb("evil", members), package, tmp_path)
    assert len(text(read(deb("evil", members, compression=""), package, tmp_path)["zeros"])) == 2_000_000


def test_a_control_archive_that_unpacks_without_end_is_refused(
    package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.locking.debfile.MAX_CONTROL", 100_000)
    with pytest.raises(IntegrityError, match=r"control\.tar unpacks to more than 100000 bytes"):
        read(deb("evil", [], control="Package: evil\n" + "A" * 200_000), package, tmp_path)


def test_a_control_file_that_is_not_utf8_is_refused_and_not_guessed_at(package: DebianPackage, tmp_path: Path) -> None:
    data = deb("evil", [], control="Package: evil\nVersion: 1.0\nArchitecture: amd64\nDescription: \udcff\n")
    with pytest.raises(IntegrityError, match="the control file is not UTF-8"):
        read(data, package, tmp_path)


def test_a_header_of_a_megabyte_is_refused_before_it_is_read(package: DebianPackage, tmp_path: Path) -> None:
    info, _ = member("././@LongLink", b"", type=tarfile.GNUTYPE_LONGNAME)
    info.size = 2 << 20
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size) + tar([member("./a")])
    with pytest.raises(IntegrityError, match="headers take more than 1048576 bytes"):
        read(deb("evil", [], data=data), package, tmp_path)


def test_more_members_than_any_package_has_are_refused(
    package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.locking.debfile.MAX_MEMBERS", 50)
    with pytest.raises(IntegrityError, match="more than 50 members"):
        read(deb("evil", [member(f"./{number}") for number in range(60)]), package, tmp_path)


def test_more_parts_than_any_package_has_are_refused(package: DebianPackage, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="more parts than a package"):
        read(ar([("debian-binary", b"2.0\n"), *[("x", b"")] * 200]), package, tmp_path)


def test_a_compressor_that_asks_for_gigabytes_of_memory_is_refused(package: DebianPackage, tmp_path: Path) -> None:
    # The dictionary's size is one byte of the block's header; it is raised there, and the header's sum with it.
    packed = bytearray(lzma.compress(tar([member("./a")]), preset=0))
    header = packed[12 : 12 + (packed[12] + 1) * 4]
    header[header.index(0x21) + 2] = 38
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    packed[12 : 12 + len(header)] = header
    data = ar([("debian-binary", b"2.0\n"), ("control.tar.xz", bytes(packed)), ("data.tar.xz", bytes(packed))])
    with pytest.raises(IntegrityError, match=r"(?i)memory usage limit"):
        read(data, package, tmp_path)


def test_a_package_compressed_with_zstd_that_is_cut_off_is_refused(package: DebianPackage, tmp_path: Path) -> None:
    data = deb("evil", [member("./a", b"A" * 3_000_000)], compression=".zst")
    with pytest.raises(IntegrityError, match="cannot be read"):
        read(data[:-8], package, tmp_path)


def test_zstd_that_asks_for_gigabytes_of_memory_is_refused(package: DebianPackage, tmp_path: Path) -> None:
    def packed(window: int) -> bytes:
        options = {zstd.CompressionParameter.window_log: window, zstd.CompressionParameter.content_size_flag: 0}
        compressor = zstd.ZstdCompressor(options=options)  # which does not know the size when it writes the header
        return compressor.compress(tar([member("./a", b"A")])) + compressor.flush()

    def package_of(window: int) -> bytes:
        control = zstd.compress(tar([member("./control", b"Package: evil\nVersion: 1.0\nArchitecture: amd64\n")]))
        return ar([("debian-binary", b"2.0\n"), ("control.tar.zst", control), ("data.tar.zst", packed(window))])

    assert text(read(package_of(27), package, tmp_path)["a"]) == b"A"
    with pytest.raises(IntegrityError, match=r"(?i)too much memory"):
        read(package_of(30), package, tmp_path)


def test_a_full_disk_is_not_taken_for_a_damaged_package(
    package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.locking.debfile.tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match="No space left"):
        read(deb("evil", [member("./a")]), package, tmp_path)


def test_streams_one_after_another_are_all_unpacked(package: DebianPackage, tmp_path: Path) -> None:
    whole = tar([member("./a", b"A" * 3000)])
    packed = lzma.compress(whole[:700]) + bytes(8) + lzma.compress(whole[700:])
    control = lzma.compress(tar([member("./control", b"Package: evil\nVersion: 1.0\nArchitecture: amd64\n")]))
    data = ar([("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", packed)])
    assert text(read(data, package, tmp_path)["a"]) == b"A" * 3000


def test_the_maintainer_scripts_must_be_those_that_the_lock_says_were_read(
    package: DebianPackage, tmp_path: Path
) -> None:
    body = b"#!/bin/sh\nexit 0\n"
    data = deb("evil", [], scripts={"postinst": body})
    locked = msgspec.structs.replace(package, scripts=(MaintainerScript("postinst", digest_of(body)),))
    read(data, locked, tmp_path)
    other = msgspec.structs.replace(package, scripts=(MaintainerScript("postinst", digest_of(b"other")),))
    for wrong in (package, other):
        with pytest.raises(IntegrityError, match=r"The postinst of evil 1\.0 is not the one"):
            read(data, wrong, tmp_path)
    with pytest.raises(IntegrityError, match=r"The postinst of evil 1\.0 is not the one"):
        read(deb("evil", []), locked, tmp_path)
