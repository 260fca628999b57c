"""What the processes of a run noted that they touched, as one document; the program may have written there too.

The notes lie in the run's output folder, which is the program's to write. So nothing is believed of their form: sizes
are bounded, lines that are none are counted and said, and links and pipes in the place of files are not followed.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.record.hashing import digest_of_file
from harness.record.touched import KINDS, Touch, Touched, plain
from harness.spec.digest import Digest

MARKER = "audit"
"""The file whose presence in the output folder tells a run's processes that they are audited."""

_LOG = "touched.log"
_TRACE = "strace.log"
_DOCUMENT = "touched.json"
_LARGEST_LOG = 32 << 20
_LARGEST_TRACE = 256 << 20
_LARGEST_FILE = 1 << 30
_MOST = 20_000
_LONGEST_LINE = 64 << 10
_DECLARED = "declared"
_NOTE = "note"
_BY_TRACE = "seen by strace"
_CHANGED = "changed while the run lasted"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What a container sees of the machine under it: all else in it is the image's, and so declared.
_OF_THE_MACHINE = ("/proc/", "/sys/", "/dev/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_RANDOM = ("/dev/random", "/dev/urandom")
_CONTAINER = "/harness/output"
_RESULT = re.compile(rb"= \d+<(?=/)")
_WRITING = re.compile(rb"O_WRONLY|O_RDWR|O_CREAT")
_PROGRAM = re.compile(rb'execve\("((?:[^"\\]|\\.)*)"')
_CALL = re.compile(rb"(connect|bind)\(")
_FAMILY = re.compile(rb"sa_family=(AF_\w+)(?:, sin6?_port=htons\((\d+)\))?")
_HOST = re.compile(rb'(?:inet_addr\("|inet_pton\(AF_INET6, "|sun_path=@?")([^"]*)"')

_Key = tuple[str, str, str]


class _Found:
    """What is known of one thing at one place."""

    def __init__(self) -> None:
        self.count = 0
        self.digests: set[str] = set()
        self.notes: set[str] = set()


def collect_touched(output: Path, *, audited: bool, container: bool, project: str) -> Touched:
    """The document of a run whose output folder is `output`; `project` is the working folder's name in it.

    `container` is whether the run was in one, where only what is not the image's counts as undeclared.
    """
    found: dict[_Key, _Found] = {}
    notes: list[str] = []
    declared = {str(output), str(output.resolve()), _CONTAINER}
    prefixes = tuple(f"{folder}/{project}/" for folder in (output.absolute(), output.resolve(), _CONTAINER))
    _read_log(output / _LOG, found, declared, notes, prefixes)
    if (output / _DOCUMENT).exists() or (output / _DOCUMENT).is_symlink():
        notes.append(f"the program wrote a {_DOCUMENT} of its own in its output folder, which is not used")
    if audited and not container:
        _read_trace(output / _TRACE, found, declared, notes)
    touched = [
        _touch(*key, value)
        for key, value in sorted(found.items())
        if not (container and key[0] == "file" and not key[1].startswith(_OF_THE_MACHINE))
    ]
    return Touched(audited=audited, notes=tuple(dict.fromkeys(notes)), touched=tuple(touched))


def _touch(kind: str, what: str, where: str, found: _Found) -> Touch:
    if len(found.digests) > 1:
        found.notes.add(_CHANGED)
    digest = Digest(next(iter(found.digests))) if len(found.digests) == 1 else None
    note = "; ".join(sorted(found.notes)) or None
    return Touch(kind=kind, what=what, where=where or None, count=max(found.count, 1), digest=digest, note=note)


def _read_log(
    path: Path, found: dict[_Key, _Found], declared: set[str], notes: list[str], prefixes: Sequence[str]
) -> None:
    broken = 0
    late: list[tuple[str, str, str]] = []
    for line in _lines(path, _LARGEST_LOG, notes):
        fields = _fields(line)
        if fields is None:
            broken += 1
            continue
        kind, what, where, note, digest, count = fields
        if kind == _DECLARED:
            declared.add(what)
        elif kind == _NOTE:
            notes.append(what)
        elif count == 0:
            late.append((kind, what, note))
        else:
            key = (kind, what, _relative(where, prefixes))
            if key not in found and len(found) >= _MOST:
                notes.append(f"more than {_MOST} different things")
                continue
            one = found.setdefault(key, _Found())
            one.count += count
            one.digests.update([digest] if digest else [])
            one.notes.update([note] if note else [])
    places: dict[tuple[str, str], list[_Found]] = {}
    for (kind, what, _), one in found.items():
        places.setdefault((kind, what), []).append(one)
    for kind, what, note in dict.fromkeys(late):
        for one in places.get((kind, what), []):
            one.notes.add(note)
    if broken:
        notes.append(f"{broken} lines of {_LOG} are not as the harness writes them: something else wrote there")


def _fields(line: bytes) -> tuple[str, str, str, str, str, int] | None:
    """A line of the log as kind, what, where, note, digest and count; null where it is none."""
    parts = line.split(b"\t")
    if len(parts) != 6 or not line.isascii() or not parts[5].isdigit() or len(parts[5]) > 12:
        return None
    try:
        kind, what, where, note, digest = (plain(part.decode("unicode_escape")) for part in parts[:5])
    except UnicodeDecodeError:
        return None
    if kind not in (*KINDS, _DECLARED, _NOTE) or (digest and _DIGEST.fullmatch(digest) is None):
        return None
    return kind, what, where, note, digest, int(parts[5])


def _relative(where: str, prefixes: Sequence[str]) -> str:
    return next((where.removeprefix(prefix) for prefix in prefixes if where.startswith(prefix)), where)


def _read_trace(path: Path, found: dict[_Key, _Found], declared: set[str], notes: list[str]) -> None:
    """Add what strace saw and Python's own hooks did not: what native code and other programs touched."""
    if not path.exists():
        return
    inside = tuple(f"{folder}/" for folder in declared)
    known: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for kind, what, _ in found:
        known[kind].add(what)
    words = " ".join([*known["socket"], *known["subprocess"]])
    programs = 0
    for line in _lines(path, _LARGEST_TRACE, notes):
        kind, what, note = "", "", _BY_TRACE
        if (opened := _opened(line)) is not None:
            kind, what = "file", re.sub(r"^/proc/\d+/", "/proc/self/", _unescaped(opened))
            note = f"{_BY_TRACE}; written" if _WRITING.search(line) else _BY_TRACE
            if what in _RANDOM:
                kind, note = "entropy", _BY_TRACE
            if f"{what}/".startswith(inside) or what in known[kind]:
                continue
        elif line.endswith(b" = 0") and (match := _PROGRAM.search(line)):
            programs += 1
            kind, what = "subprocess", f"execve {_unescaped(match.group(1))}"
            if programs == 1 or Path(what).name in words:
                continue
        elif (call := _CALL.search(line)) and (match := _FAMILY.search(line, call.end())):
            host = _HOST.search(line)
            address = _unescaped(host.group(1)) if host else match.group(1).decode()
            parts = [call.group(1).decode(), address, (match.group(2) or b"").decode()]
            kind, what = "socket", " ".join(parts).strip()
            if address in words:
                continue
        elif b"getrandom(" in line:
            kind, what, note = "entropy", "getrandom", f"{_BY_TRACE}, which sees the interpreter's own start too"
        if not kind:
            continue
        if (kind, what, "") not in found and len(found) >= _MOST:
            notes.append(f"more than {_MOST} different things")
            continue
        one = found.setdefault((kind, what, ""), _Found())
        one.count += 1
        one.notes.add(note)
    for (kind, what, _), one in found.items():
        if kind == "file" and one.notes == {_BY_TRACE}:
            _add_digest(Path(what), one)


def _add_digest(path: Path, found: _Found) -> None:
    """The digest of a file as it is after the run; why not, where it has none."""
    if str(path).startswith(("/proc/", "/sys/", "/dev/")):
        found.notes.add("the system's own, no file on a disk")
        return
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            found.notes.add("no plain file")
        elif state.st_size > _LARGEST_FILE:
            found.notes.add("larger than 1 GiB")
        else:
            found.digests.add(digest_of_file(path))
    except OSError as error:
        found.notes.add(f"cannot be read: {error.strerror}")


def _opened(line: bytes) -> bytes | None:
    """The file that a call's result is a descriptor of, as strace prints it at a line's end."""
    line = line.removesuffix(b" (deleted)")
    match = _RESULT.search(line) if line.endswith(b">") else None
    return None if match is None else line[match.end() : -1]


def _unescaped(text: bytes) -> str:
    """A name as strace prints it, whose escapes are those of C, as text for people."""
    raw = re.sub(rb"\\([0-7]{1,3})", lambda match: bytes([int(match.group(1), 8) & 255]), text)
    return plain(raw.decode("utf-8", "backslashreplace"))


def _lines(path: Path, largest: int, notes: list[str]) -> Iterator[bytes]:
    """The lines of a plain file, up to a size; nothing of links, pipes and what cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror}")
        return
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        notes.append(f"{path.name} is no plain file: something put it there")
        return
    with os.fdopen(descriptor, "rb") as file:
        read = 0
        while line := file.readline(_LONGEST_LINE):
            read += len(line)
            if read > largest:
                notes.append(f"{path.name} is larger than {largest >> 20} MiB: the rest was left out")
                return
            yield line.rstrip(b"\n")
