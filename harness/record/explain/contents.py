"""Two versions of one output: which format they are read as, by content and not by name."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from harness.record.explain.archives import GZIP, ZIP, compare_gzips, compare_zips
from harness.record.explain.array import MAGIC, compare_arrays
from harness.record.explain.binary import compare_bytes
from harness.record.explain.cause import Finding, Kind, Pair
from harness.record.explain.pickled import compare_pickles
from harness.record.explain.text import compare_text
from harness.record.explain.tree import compare_json

LIMIT = 64 << 20
"""How large a file may be, in bytes, to be looked into."""
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_DEEPEST = 3


def compare_files(before: Path, after: Path, facts: Pair) -> Iterator[Finding]:
    """The differences between two files; of one that is too large, only that it differs."""
    sizes = [path.stat().st_size for path in (before, after)]
    if max(sizes) > LIMIT:
        yield Finding("as a whole", Kind.BYTES, detail=f"not looked into: {max(sizes):,} bytes")
        return
    yield from compare_contents(after.name, before.read_bytes(), after.read_bytes(), facts)


def compare_contents(name: str, before: bytes, after: bytes, facts: Pair, *, depth: int = 0) -> Iterator[Finding]:
    """The differences between two contents; archives within archives are looked into three deep."""

    def inner(member: str, one: bytes, other: bytes) -> Iterator[Finding]:
        return compare_contents(member or name, one, other, facts, depth=depth + 1)

    found: Iterator[Finding] | None = None
    both = (before, after)
    if all(data.startswith(MAGIC) for data in both):
        found = compare_arrays(before, after, facts, label=PurePosixPath(name).stem)
    elif depth < _DEEPEST and all(data.startswith(ZIP) for data in both):
        found = compare_zips(before, after, facts, inner)
    elif depth < _DEEPEST and all(data.startswith(GZIP) for data in both):
        found = compare_gzips(before, after, inner)
    elif all(data[:1] == b"\x80" for data in both):
        found = compare_pickles(before, after, facts)
    elif (texts := _texts(before, after)) is not None:
        is_json = all(text.lstrip()[:1] in ("{", "[") for text in texts)
        found = compare_json(*texts, facts) if is_json else None
        if found is None:
            found = compare_text(*texts, facts, separator=_SEPARATORS.get(PurePosixPath(name).suffix.lower()))
    return compare_bytes(before, after, facts) if found is None else found


def _texts(before: bytes, after: bytes) -> tuple[str, str] | None:
    if b"\0" in before or b"\0" in after:
        return None
    try:
        return before.decode(), after.decode()
    except UnicodeDecodeError:
        return None
