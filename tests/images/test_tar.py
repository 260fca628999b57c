import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.images.tar import BLOCK, END, Kind, header, padding

TYPES = {Kind.FILE: tarfile.REGTYPE, Kind.HARDLINK: tarfile.LNKTYPE, Kind.SYMLINK: tarfile.SYMTYPE}
names = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=6).map("/".join)


def read(data: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        (member,) = archive.getmembers()
        return member


@given(paths, st.sampled_from(list(TYPES)), st.integers(0, 0o7777), paths)
def test_an_independent_reader_reads_what_was_written(path: str, kind: Kind, mode: int, target: str) -> None:
    link = target if kind is not Kind.FILE else ""
    data = header(path, kind, mode, target=link) + END
    member = read(data)
    assert (member.name, member.type, member.mode, member.linkname) == (path, TYPES[kind], mode, link)
    assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
    assert len(data) % BLOCK == 0


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8**11 - 1, 8**11, 2**60])
def test_sizes_of_any_magnitude_are_kept(size: int) -> None:
    data = header("file", Kind.FILE, 0o644, size=size)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as archive:
        member = archive.next()
    assert member is not None
    assert member.size == size
    assert (size + len(padding(size))) % BLOCK == 0


def test_only_what_has_no_room_in_a_header_gets_an_extended_one() -> None:
    assert len(header("x" * 100, Kind.FILE, 0o755)) == BLOCK
    assert len(header("x" * 101, Kind.FILE, 0o755)) == 3 * BLOCK
    assert len(header("naïve", Kind.FILE, 0o755)) == 3 * BLOCK


def test_headers_are_written_as_they_always_were() -> None:
    # Every image's digest rests on these bytes: if this fails, raise the builder's format.
    long = header("long/" * 30 + "naïve", Kind.SYMLINK, 0o777, target="x" * 120)
    short = header("usr/bin/python3", Kind.FILE, 0o755, size=12345)
    assert hashlib.sha256(short).hexdigest() == "b92caa628611652ebdbe228f89fc4c569f47a39e57c0f39fa12ba9e0033d4f23"
    assert hashlib.sha256(long).hexdigest() == "981145877eed97f0dbef698684389eb6322af8c7ae5d4c73d2395677dae74bcd"
