"""Hostile wheels and Debian packages, made by Hypothesis and by mutating bytes, against those who read them.

    python tests/images/fuzz_archives.py --minutes 10 [--seed 1]

What comes out is an image that stays inside its tree, of maintainer scripts what a lock can hold, or a `HarnessError`:
never another exception, a hang, or more
memory than the limit that this process gives itself. The first finding ends the run and says how to see it again.
"""

import argparse
import base64
import bz2
import csv
import gzip
import hashlib
import io
import lzma
import posixpath
import random
import resource
import signal
import stat
import struct
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
from backports import zstd
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from image_packages import ar, member, record_row

from harness.errors import HarnessError
from harness.images.deb import read_deb
from harness.images.layer import layer_chunks
from harness.images.paths import Excludes
from harness.images.tree import Entry, Tree
from harness.images.wheel import read_wheel, site_packages
from harness.locking.debian import SCRIPTS, DebianPackage, MaintainerScript
from harness.locking.python import LockedWheel
from harness.locking.scripts import read_scripts
from harness.spec.digest import digest_from_hex

MEMORY = 1 << 30  # on top of what the process has before
PATIENCE_SECONDS = 20
NONE = digest_from_hex("0" * 64)
PACKAGE = DebianPackage("evil", "1.0", "amd64", "pool/main/e/evil/evil.deb", 1, NONE, ())
WHEEL = LockedWheel("evil", "1.0", "evil-1.0-py3-none-any.whl", NONE)
EDGES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# ---- the readers, and what must hold of what they let through


def plan_deb(data: bytes, folder: Path) -> bool:
    """Whether the package is taken; then its layer is made and checked."""
    path = folder / "evil.deb"
    path.write_bytes(data)
    try:
        entries = read_deb(PACKAGE, path, lambda deb: deb.data(folder))
        layer = _layer(entries)
    except HarnessError:
        return False
    _check_layer(layer, {path for path, _ in entries})
    return True


def plan_wheel(data: bytes, folder: Path) -> bool:
    """Whether the wheel is taken; then its layer is made and checked, against its RECORD too."""
    path = folder / "evil.whl"
    path.write_bytes(data)
    try:
        entries = read_wheel(WHEEL, path, python="3.11", platform="x86_64-manylinux_2_36", exclude=Excludes(())).entries
        layer = _layer(entries)
    except HarnessError:
        return False
    contents = _check_layer(layer, {path for path, _ in entries})
    _check_record(contents)
    return True


def plan_scripts(data: bytes, folder: Path) -> bool:
    """Whether the package's maintainer scripts are read; then a lock must be able to hold what they would do."""
    path = folder / "evil.deb"
    path.write_bytes(data)
    try:
        scripts = read_scripts(path, "evil", "amd64")
    except HarnessError:
        return False
    assert msgspec.json.decode(msgspec.json.encode(scripts), type=tuple[MaintainerScript, ...]) == scripts
    return True


def _layer(entries: list[tuple[str, Entry]]) -> bytes:
    tree = Tree()
    for path, entry in entries:
        tree.add(path, entry, origin="evil", layer="evil")
    return b"".join(layer_chunks(tree.layers().get("evil", [])))


def _check_layer(layer: bytes, planned: set[str]) -> dict[str, bytes]:
    """The files' contents, after an independent reader has found the members plain and inside the tree."""
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:") as archive:
        members = archive.getmembers()
        assert {member.name for member in members} >= planned
        for found in members:
            parts = found.name.split("/")
            assert not {"", ".", ".."} & set(parts), found.name
            assert found.isreg() or found.isdir() or found.issym() or found.islnk(), found.name
            assert not found.mode & 0o6000, found.name
            if found.issym():
                place = posixpath.normpath(posixpath.join("/".join(parts[:-1]), found.linkname))
                assert not place.startswith("../"), found.linkname
            if found.islnk():
                assert archive.getmember(found.linkname).isreg()
            if found.isreg():
                file = archive.extractfile(found)
                assert file is not None
                contents[found.name] = file.read()
                assert len(contents[found.name]) == found.size
    return contents


def _check_record(contents: dict[str, bytes]) -> None:
    site = site_packages("3.11")
    record = next(name for name in contents if name.endswith(".dist-info/RECORD"))
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(contents[record].decode()))}
    listed = {posixpath.normpath(posixpath.join(site, name)): row for name, row in rows.items()}
    assert set(listed) == set(contents)
    for name, (checksum, size) in listed.items():
        if name != record:
            algorithm, _, value = checksum.partition("=")
            digest = hashlib.new(algorithm, contents[name]).digest()
            assert value == base64.urlsafe_b64encode(digest).decode().rstrip("=")
            assert size == str(len(contents[name]))


# ---- archives that know their format

HOSTILE = (
    "..", "../x", "/etc/passwd", "usr/../../x", "usr/..", ".", "./", "", "/", "//x", "a//b", "a/./b", "a\\..\\b",
    "a\0b", "a\nb", ".wh.a", "usr/.wh..wh..opq", "naïve", "\u202egpj.exe", "\udcff", "x" * 300, "a/" * 200 + "b",
    "d/" * 3000, "bin", "bin/x", "usr/bin/x", "lib", "usr", "evil-1.0.data", "evil-1.0.data/", "evil-1.0.data/scripts",
    "evil-1.0.data/scripts/x", "evil-1.0.data/scripts/../../x", "evil-1.0.data/data/x", "evil-1.0.data/headers/x.h",
    "evil-1.0.data/unknown/x", "evil-1.0.data/purelib/evil/a", "evil-1.0.dist-info", "evil-1.0.dist-info/RECORD",
    "evil-1.0.dist-info/RECORD.jws", "evil-1.0.dist-info/entry_points.txt", "evil-2.0.dist-info/METADATA",
    "evil/__pycache__/a.pyc", "EVIL/A",
)  # fmt: skip
PLAIN = st.lists(st.sampled_from(["usr", "share", "evil", "a", "b", "c.py"]), min_size=1, max_size=4).map("/".join)
NAMES = st.one_of(PLAIN, PLAIN, st.sampled_from(HOSTILE), st.text(max_size=8))
DATA = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([
        b"#!python\nx", b"#!pythonw", b"#!python", bytes(5000), b"[console_scripts]\na = b:c\n", b"[console_scripts\n",
        b"a = b", b"[x]\na=b\na=c\n", b"[gui_scripts]\n../../a = b:c.d [extra]\n", b"[console_scripts]\n\xff = a:b\n",
    ]),
)  # fmt: skip
SIZES = st.one_of(st.none(), st.none(), st.none(), st.sampled_from([*EDGES, 511, 512, 513, 1 << 33, 8**11]))
TYPES = st.sampled_from([
    tarfile.REGTYPE, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE,
    tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"Z",
])  # fmt: skip
PAX = st.dictionaries(
    st.sampled_from([
        "path", "linkpath", "size", "mtime", "uid", "gid", "uname", "hdrcharset", "GNU.sparse.map", "GNU.sparse.size",
        "GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.numblocks",
        "GNU.sparse.offset", "GNU.sparse.numbytes", "SCHILY.realsize",
    ]),
    st.one_of(st.sampled_from(["0", "1", "-1", "99999999999", "1,2", "nan", "x", "BINARY", "1e400"]), NAMES),
    max_size=2,
)  # fmt: skip


@st.composite
def tar_members(
    draw: st.DrawFn, names: st.SearchStrategy[str] = NAMES, contents: st.SearchStrategy[bytes] = DATA
) -> bytes:
    """One member: header, data and padding, any of which may lie about the others."""
    data = draw(contents)
    info, _ = member(
        draw(names),
        data,
        type=draw(TYPES),
        linkname=draw(st.one_of(st.just(""), NAMES)),
        mode=draw(st.integers(0, 0o7777)),
    )
    if (size := draw(SIZES)) is not None:
        info.size = size
    info.pax_headers = draw(st.one_of(st.just({}), PAX))
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    try:
        header = info.tobuf(form, "utf-8", "surrogateescape")
    except (ValueError, UnicodeError):  # what tarfile itself will not write
        return b""
    return header + data + bytes(-len(data) % 512)


CONTROL = b"Package: evil\nVersion: 1.0\nArchitecture: amd64\n"
CONTROLS = st.one_of(
    st.just(CONTROL),
    st.just(CONTROL),
    st.sampled_from([b"", b"\xff\n", b"Package: evil", CONTROL * 2]),
    st.binary(max_size=60),
)
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstd.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
}


def make_deb(
    control: bytes, data: bytes, compression: str, edit: Callable[[bytes], bytes] = bytes, *, more: bytes = b""
) -> bytes:
    """A package whose two archives are these, `more` being further members of the first.

    `edit` is done to the compressed data.
    """
    compress = COMPRESSIONS[compression]
    about = compress(_plain_member("./control", control) + more + bytes(1024))
    parts = [("debian-binary", b"2.0\n"), (f"control.tar{compression}", about)]
    return ar([*parts, (f"data.tar{compression}", edit(compress(data)))])


def _plain_member(name: str, data: bytes) -> bytes:
    return member(name, data)[0].tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


@st.composite
def debs(draw: st.DrawFn) -> bytes:
    """A package of a few members."""
    data = b"".join(draw(st.lists(tar_members(), max_size=5))) + draw(
        st.sampled_from([bytes(1024), bytes(512), b"", b"x"])
    )
    return make_deb(draw(CONTROLS), data, draw(st.sampled_from(list(COMPRESSIONS))))


LINES = (
    "set -e", 'if [ "$1" = configure ]; then', "fi", "else", "case $1 in configure)", ";; esac", "f() {", "}", "f a b",
    "for x in a /b $y; do", "done", "mkdir -p -m 0755 /srv/a/", "mkdir /a/../b /", "chmod 2755 /srv/a", "ldconfig",
    "update-alternatives --install /usr/bin/x x /usr/bin/y 5 --slave /usr/bin/z/ z /a/./b", "ln -s a/ /usr/lib/x/y",
    "update-alternatives --install /usr/bin/x x /usr/bin/y --5", "ln -sf ../../.. /usr/lib/../../x",
    "update-alternatives --install /usr/bin/x x /usr/bin/y 99999999999999999999", "addgroup --system web",
    "adduser --system --group --home /var/../x --uid web", "adduser --system --ingroup web --home /x/ webber",
    "sed -n -e 's/[[:space:]]*\\(a\\|b\\)*/x/gp' /etc/x", "awk -F: '{ print $1 }'", "cat <<EOF", "EOF",
    "x=$(f $((1", "`",
    '. "$x"', 'eval "$@"', "exit 0", "exec >/dev/null 2>&1", "#", "interest /x", "activate-noawait ldconfig", "\\", "'",
)  # fmt: skip
SCRIPT_NAMES = st.sampled_from([*SCRIPTS, *(f"./{name}" for name in SCRIPTS), ".//postinst", "a/../postinst"])
SHELL = st.lists(st.one_of(st.sampled_from(LINES), st.sampled_from(LINES), st.text(max_size=12)), max_size=12).map(
    lambda lines: "\n".join(["#!/bin/sh", *lines, ""]).encode(errors="replace")
)


@st.composite
def scripted_debs(draw: st.DrawFn) -> bytes:
    """A package of a few maintainer scripts."""
    contents = st.one_of(SHELL, SHELL, SHELL, DATA)
    plain = st.builds(_plain_member, SCRIPT_NAMES, contents)
    scripts = st.lists(st.one_of(plain, plain, plain, tar_members(SCRIPT_NAMES, contents)), max_size=3).map(b"".join)
    return make_deb(CONTROL, bytes(1024), draw(st.sampled_from(list(COMPRESSIONS))), more=draw(scripts))


ABOUT = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
METADATA = b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"
INFO = "evil-1.0.dist-info"


@st.composite
def zip_members(draw: st.DrawFn) -> tuple[zipfile.ZipInfo, bytes]:
    """One member."""
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = draw(NAMES)
    kinds = [0, 0o100644, 0o100755, 0o120777, 0o040755, stat.S_IFCHR, stat.S_IFIFO, 0o106755]
    info.external_attr = draw(st.sampled_from(kinds)) << 16
    info.compress_type = draw(st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2]))
    return info, draw(DATA)


@st.composite
def wheels(draw: st.DrawFn) -> bytes:
    """A wheel of a few members, with a RECORD that may lie and a table of contents that may too."""
    items = [
        *draw(st.lists(zip_members(), max_size=5)),
        (
            zipfile.ZipInfo(f"{INFO}/METADATA"),
            draw(st.sampled_from([METADATA, METADATA, METADATA, b"", b"Name: evil\n"])),
        ),
        (
            zipfile.ZipInfo(f"{INFO}/WHEEL"),
            draw(st.sampled_from([ABOUT, ABOUT, ABOUT, b"", ABOUT + b"Tag: cp312-x-y"])),
        ),
    ]
    rows = []
    for info, data in items:
        row = draw(st.sampled_from(["true", "true", "true", "true", "true", "none", "lie", "weak", "twice"]))
        name = '"' + info.filename.replace('"', '""') + '"'
        true = record_row(name, data)
        rows += {
            "true": [true], "none": [], "lie": [record_row(name, data + b"x")], "weak": [f"{name},md5=x,1\n"],
            "twice": [true, true],
        }[row]  # fmt: skip
    rows += draw(st.lists(st.sampled_from(['"', "\x00", "a,b", ",,,", "gone,sha256=x,1"]), max_size=1))
    items.append((zipfile.ZipInfo(f"{INFO}/RECORD"), "".join([*rows, f"{INFO}/RECORD,,\n"]).encode(errors="replace")))
    target = io.BytesIO()
    try:
        with zipfile.ZipFile(target, "w") as archive:
            for info, data in items:
                archive.writestr(info, data, compress_type=info.compress_type)
    except (UnicodeError, ValueError):  # what zipfile itself will not write
        return b""
    data = bytearray(target.getvalue())
    if draw(st.integers(0, 3)) == 0:
        _lie_in_table(data, draw(st.randoms(use_true_random=False)))
    return bytes(data)


# ---- bytes that are changed, with checksums made right again where a reader would stop at them


def _lie_in_table(data: bytearray, chance: random.Random) -> None:
    """Change one field of a zip's table of contents, of a member's own header, or of the end record."""
    mark, offsets = chance.choice([
        (b"PK\x01\x02", {"H": (8, 10, 28, 30, 32), "I": (16, 20, 24, 38, 42)}),
        (b"PK\x03\x04", {"H": (6, 8, 26, 28), "I": (18, 22)}),
        (b"PK\x05\x06", {"H": (8, 10, 20), "I": (12, 16)}),
    ])  # fmt: skip
    places = [place for place in range(len(data)) if data[place : place + 4] == mark]
    if places:
        form = chance.choice("HI")
        place = chance.choice(places) + chance.choice(offsets[form])
        if place + 4 <= len(data):
            old = struct.unpack_from(f"<{form}", data, place)[0]
            new = chance.choice([*EDGES, old + 1, old - 1, old * 2]) % (1 << 8 * struct.calcsize(form))
            struct.pack_into(f"<{form}", data, place, new)


def _mutate(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(changed):
                changed[place] = chance.choice([0, 0x20, 0x2F, 0x30, 0x37, 0x7F, 0x80, 0xFF, chance.randrange(256)])
            case 2:
                del changed[place : place + chance.choice([1, 4, 30, 512])]
            case 3:
                start = chance.randrange(len(changed) + 1)
                changed[place:place] = changed[start : start + chance.choice([1, 4, 46, 512])]
            case 4:
                changed[place:place] = chance.randbytes(chance.choice([1, 4, 60]))
            case _:
                value = chance.choice(EDGES)
                changed[place : place + 4] = struct.pack("<I", value)
    return bytes(changed)


def _true_checksums(data: bytes, chance: random.Random) -> bytes:
    """A tar archive some of whose header fields are changed, with each header's checksum made right."""
    changed = bytearray(data)
    blocks = [place for place in range(0, len(changed) - 511, 512) if changed[place + 257 : place + 262] == b"ustar"]
    fields = ((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (386, 24), (482, 1), (483, 12))
    for _ in range(chance.choice([1, 2, 3])):
        if blocks:
            place = chance.choice(blocks)
            offset, length = chance.choice(fields)
            fillings = [
                b"7" * length, b"\x80" + bytes(length - 1), b"\xff" * length, b"../" * 52, b"L", b"K", b"x", b"g", b"S",
                chance.randbytes(length), b"0" * (length - 1) + b"\0",
            ]  # fmt: skip
            new = chance.choice(fillings)[:length]
            changed[place + offset : place + offset + len(new)] = new
            head = changed[place : place + 512]
            total = sum(head[:148]) + 8 * 0x20 + sum(head[156:])
            changed[place + 148 : place + 156] = b"%06o\0 " % total
    return bytes(changed)


def _whole_tar(chance: random.Random) -> bytes:
    members = [
        member("./usr/", type=tarfile.DIRTYPE, mode=0o755),
        member("./usr/a", b"a" * chance.choice([0, 10, 512, 700])),
        member("./usr/l", type=tarfile.SYMTYPE, linkname="a"),
        member("./usr/h", type=tarfile.LNKTYPE, linkname="./usr/a"),
        member("./usr/" + "long/" * 30 + "n", b"n"),
        member("./usr/naïve", b"u"),
    ]
    target = io.BytesIO()
    form = chance.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=target, mode="w:", format=form) as archive:
        for info, data in members:
            if chance.randrange(3) == 0:
                info.pax_headers = {
                    chance.choice(["GNU.sparse.map", "size", "comment", "path"]): chance.choice(["1", "0,1", "x"])
                }
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def mutated_deb(chance: random.Random) -> bytes:
    """A package that was whole, with bytes changed in its tar, in what that was compressed to, or in the whole."""
    data = _whole_tar(chance)
    compression = chance.choice(list(COMPRESSIONS))
    match chance.randrange(4):
        case 0:
            return make_deb(CONTROL, _true_checksums(data, chance), compression)
        case 1:
            return make_deb(CONTROL, _mutate(data, chance), compression)
        case 2:
            return make_deb(CONTROL, data, compression, lambda packed: _mutate(packed, chance))
        case _:
            return _mutate(make_deb(CONTROL, data, compression), chance)


def mutated_scripts(chance: random.Random) -> bytes:
    """A package of two maintainer scripts that were whole, with bytes changed in a script, its tar, or the whole."""
    lines = "\n".join(["#!/bin/sh", *(chance.choice(LINES) for _ in range(chance.choice([2, 8, 30]))), ""]).encode()
    compression = chance.choice(list(COMPRESSIONS))
    removal = _plain_member("./postrm", b"#!/bin/sh\n")
    match chance.randrange(3):
        case 0:
            more = _plain_member("./postinst", _mutate(lines, chance)) + removal
        case 1:
            more = _true_checksums(_plain_member("./postinst", lines) + removal, chance)
        case _:
            more = _plain_member("./postinst", lines) + removal
            return _mutate(make_deb(CONTROL, bytes(1024), compression, more=more), chance)
    return make_deb(CONTROL, bytes(1024), compression, more=more)


def mutated_wheel(chance: random.Random) -> bytes:
    """A wheel that was whole, with bytes changed anywhere or a field of its tables."""
    files = {
        "evil/__init__.py": b"x = 1\n", "evil/zeros": bytes(3000), "evil-1.0.data/scripts/tool": b"#!python\n",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nrun = evil:main\n", f"{INFO}/METADATA": METADATA,
        f"{INFO}/WHEEL": ABOUT,
    }  # fmt: skip
    record = "".join(record_row(name, data) for name, data in files.items()) + f"{INFO}/RECORD,,\n"
    if chance.randrange(4) == 0:
        record = _mutate(record.encode(), chance).decode(errors="replace")
    if chance.randrange(4) == 0:
        name = chance.choice(list(files))
        files[name] = _mutate(files[name], chance)
        record = "".join(record_row(name, data) for name, data in files.items()) + f"{INFO}/RECORD,,\n"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, data in (files | {f"{INFO}/RECORD": record.encode()}).items():
            archive.writestr(name, data)
    data = bytearray(target.getvalue())
    match chance.randrange(3):
        case 0:
            return _mutate(bytes(data), chance)
        case 1:
            for _ in range(chance.choice([1, 2])):
                _lie_in_table(data, chance)
    return bytes(data)


# ---- the run


class Hang(BaseException):
    """A case took longer than anybody would wait."""


def _alarm(*_: object) -> None:
    raise Hang(f"a case took more than {PATIENCE_SECONDS} s")


def limited(plan: Callable[[bytes, Path], bool], data: bytes) -> bool:
    """`plan`, in a folder of its own and with a limit on time."""
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return plan(data, Path(folder))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def structured(
    plan: Callable[[bytes, Path], bool], strategy: st.SearchStrategy[bytes], number: int, cases: int
) -> list[bool]:
    """What became of each of some archives made by Hypothesis."""
    taken: list[bool] = []

    @seed(number)
    @settings(
        max_examples=cases, database=None, deadline=None, print_blob=False, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def run(data: bytes) -> None:
        taken.append(limited(plan, data))

    run()
    return taken


def changed(
    plan: Callable[[bytes, Path], bool], make: Callable[[random.Random], bytes], number: int, cases: int
) -> list[bool]:
    """What became of each of some archives whose bytes were changed."""
    chance = random.Random(number)
    taken = []
    for case in range(cases):
        data = make(chance)
        try:
            taken.append(limited(plan, data))
        except BaseException as error:
            error.add_note(f"case {case} of {make.__name__}, seed {number}: {base64.b64encode(data).decode()}")
            raise
    return taken


def main(arguments: list[str] | None = None) -> None:
    """Rounds until the time is over, or one round of `--cases` each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long")
    parser.add_argument("--cases", type=int, default=500, help="archives of each kind in a round")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each next round's is one more")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # zipfile's, of names that are there twice
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, _alarm)
    end = time.monotonic() + 60 * options.minutes
    number, counts = options.seed, {}
    kinds: dict[str, Callable[[int], list[bool]]] = {
        "packages, by structure": lambda number: structured(plan_deb, debs(), number, options.cases),
        "scripts, by structure": lambda number: structured(plan_scripts, scripted_debs(), number, options.cases),
        "wheels, by structure": lambda number: structured(plan_wheel, wheels(), number, options.cases),
        "packages, by bytes": lambda number: changed(plan_deb, mutated_deb, number, options.cases),
        "scripts, by bytes": lambda number: changed(plan_scripts, mutated_scripts, number, options.cases),
        "wheels, by bytes": lambda number: changed(plan_wheel, mutated_wheel, number, options.cases),
    }
    while True:
        for kind, run in kinds.items():
            taken = run(number)
            good, bad = counts.get(kind, (0, 0))
            counts[kind] = (good + sum(taken), bad + len(taken) - sum(taken))
        number += 1
        if time.monotonic() >= end:
            break
    for kind, (good, bad) in counts.items():
        sys.stdout.write(f"{kind}: {good} taken, {bad} refused\n")
        if not good or not bad:
            sys.exit(f"{kind}: a run that only ever sees one answer tests nothing")


if __name__ == "__main__":
    main()
