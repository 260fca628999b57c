"""Two zip archives (`.npz`, what `torch.save` writes) member by member, and two gzip files by what is in them."""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO

from harness.record.explain.binary import first_difference
from harness.record.explain.cause import Finding, Kind, Pair, shown
from harness.record.explain.tokens import compare_line

ZIP = b"PK\x03\x04"
GZIP = b"\x1f\x8b\x08"
LIMIT = 256 << 20
"""How many bytes all members that are looked into may have, unpacked: an archive may be a bomb."""

Content = Callable[[str, bytes, bytes], Iterator[Finding]]
_MOST_MEMBERS = 10_000
_SERIAL = ".data/serialization_id"


def compare_zips(before: bytes, after: bytes, facts: Pair, content: Content) -> Iterator[Finding] | None:
    """The differences between two zip archives; `content` compares two members. Nothing where either is none."""
    try:
        old, new = zipfile.ZipFile(BytesIO(before)), zipfile.ZipFile(BytesIO(after))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeError):
        return None
    return _zips(old, new, facts, content)


def _zips(old: zipfile.ZipFile, new: zipfile.ZipFile, facts: Pair, content: Content) -> Iterator[Finding]:
    sides = [side.infolist() for side in (old, new)]
    if max(map(len, sides)) > _MOST_MEMBERS:
        yield Finding("as a whole", Kind.BYTES, detail=f"more than {_MOST_MEMBERS:,} members")
        return
    roots = [_root([info.filename for info in side]) for side in sides]
    if roots[0] != roots[1]:
        yield from compare_line(roots[0], roots[1], "the folder that the members are in", facts)
    olds, news = ({info.filename[len(root) :]: info for info in side} for side, root in zip(sides, roots, strict=True))
    if olds.keys() != news.keys():
        names = [shown(", ".join(sorted(one.keys() - other.keys()))) for one, other in ((olds, news), (news, olds))]
        yield Finding("the members", Kind.TEXT, *names)
        return
    budget, found = LIMIT, False
    for name in olds:
        if name == _SERIAL:  # torch's digest of the other members and their folder's name
            continue
        if budget < (size := olds[name].file_size + news[name].file_size):
            yield Finding(f"member {shown(name)}", Kind.BYTES, detail=f"not looked into: {size:,} bytes")
            return
        try:
            one, other = _member(old, olds[name], budget), _member(new, news[name], budget)
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, RuntimeError, EOFError):
            yield Finding(f"member {shown(name)}", Kind.BYTES, detail="it cannot be read")
            continue
        budget -= len(one) + len(other)
        if one != other:
            found = True
            for finding in content(name, one, other):
                yield finding._replace(where=f"member {shown(name)}, {finding.where}")
    if not found and roots[0] == roots[1]:
        yield _packing(list(olds.values()), list(news.values()))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    with archive.open(info) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError("the member is larger than it says")
    return data


def _root(names: Sequence[str]) -> str:
    """The one folder that all members are in, with its slash: torch calls it after the file."""
    roots = {name.partition("/")[0] + "/" for name in names if "/" in name}
    return roots.pop() if len(roots) == 1 and all("/" in name for name in names) else ""


def _packing(old: Sequence[zipfile.ZipInfo], new: Sequence[zipfile.ZipInfo]) -> Finding:
    """What differs where every member is the same."""
    if [info.filename for info in old] != [info.filename for info in new]:
        return Finding("the members", Kind.ORDER, detail="the same members")
    for one, other in zip(old, new, strict=True):
        if one.date_time != other.date_time:
            texts = ("{}-{:02}-{:02} {:02}:{:02}:{:02}".format(*info.date_time) for info in (one, other))
            return Finding(f"member {shown(one.filename)}, its time stamp", Kind.TIME, *texts)
    return Finding("the packing", Kind.BYTES, detail="the same members, packed in another way")


def compare_gzips(before: bytes, after: bytes, content: Content) -> Iterator[Finding] | None:
    """The differences between two gzip files: their contents', else their headers'. Nothing where either is none."""
    old, new = _unpacked(before), _unpacked(after)
    if old is None or new is None:
        return None
    return _gzips(before, after, old, new, content)


def _gzips(before: bytes, after: bytes, old: bytes, new: bytes, content: Content) -> Iterator[Finding]:
    if old != new:
        for finding in content("", old, new):
            yield finding._replace(where=f"unpacked, {finding.where}")
        return
    times = [int.from_bytes(data[4:8], "little") for data in (before, after)]
    if times[0] != times[1] and before[:4] + before[8:] == after[:4] + after[8:]:
        stamps = (datetime.fromtimestamp(time, UTC).isoformat(sep=" ")[:19] for time in times)
        yield Finding("the header's time stamp", Kind.TIME, *stamps)
    else:
        yield first_difference(before, after)._replace(detail="the same content, packed in another way")


def _unpacked(data: bytes) -> bytes | None:
    engine = zlib.decompressobj(wbits=31)
    try:
        content = engine.decompress(data, LIMIT // 2)
    except zlib.error:
        return None
    return content if engine.eof and not engine.unused_data else None
