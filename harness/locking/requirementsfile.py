"""A requirements file, line by line, as pip reads it.

Format: https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

import codecs
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.errors import UsageError
from harness.spec.digest import Digest, parse_digest

_LIMIT = 4 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_COMMENT = re.compile(r"(^|\s+)#.*$")
_OPTION = re.compile(r"\s--[a-z]")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|git\+|hg\+|svn\+|bzr\+", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")

REQUIREMENT, CONSTRAINT, EDITABLE = ("-r", "--requirement"), ("-c", "--constraint"), ("-e", "--editable")
# Where packages come from is for variables that pip and uv know: a lock names no host.
INDEXES = {
    "-i": "UV_DEFAULT_INDEX", "--index-url": "UV_DEFAULT_INDEX", "--pypi-url": "UV_DEFAULT_INDEX",
    "--extra-index-url": "UV_INDEX", "-f": "UV_FIND_LINKS", "--find-links": "UV_FIND_LINKS",
}  # fmt: skip
_IDLE = {
    "--prefer-binary": "only wheels are taken anyway",
    "--only-binary": "only wheels are taken anyway",
    "--require-hashes": "the lock has a hash for every wheel anyway",
    "--trusted-host": "certificates are always checked; SSL_CERT_FILE names those of one's own",
    "--use-feature": "it says how pip works",
}
_REFUSED = {
    "--no-binary": "an image takes wheels alone, and nothing is built while one is made",
    "--no-index": "set UV_FIND_LINKS to the folder of wheels, which is looked into before any index",
    "--pre": "name the version in the requirement itself (package>=2.0rc1), which lets uv take it",
    "--global-option": "nothing is built while an image is made",
    "--config-settings": "nothing is built while an image is made",
    "--config-setting": "nothing is built while an image is made",
}


class Index(msgspec.Struct, frozen=True):
    """An option that says where packages are: the variable that says the same, and its address."""

    variable: str
    address: str
    where: str


class RequirementsFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a file and those that it names ask for.

    `folders` are local projects that it would install, with their extras; `hashes` are those given, by package.
    """

    requirements: tuple[Requirement, ...]
    constraints: tuple[Requirement, ...]
    folders: tuple[tuple[Path, tuple[str, ...]], ...]
    hashes: dict[str, frozenset[Digest]]
    indexes: tuple[Index, ...]
    notes: tuple[str, ...]


class _Reader:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.requirements: list[Requirement] = []
        self.constraints: list[Requirement] = []
        self.folders: list[tuple[Path, tuple[str, ...]]] = []
        self.hashes: dict[str, frozenset[Digest]] = {}
        self.indexes: list[Index] = []
        self.notes: list[str] = []
        self._seen: set[tuple[Path, bool]] = set()

    def read(self, path: Path, above: tuple[Path, ...], *, constraint: bool) -> None:
        resolved = path.resolve()
        if resolved in above:
            chain = " → ".join(each.name for each in (*above, resolved))
            raise UsageError(f"{path} names itself ({chain})", hint="Take one of the -r or -c lines out.")
        if (resolved, constraint) in self._seen:
            return
        self._seen.add((resolved, constraint))
        for number, line in _lines(_text(path)):
            where = f"{path}, line {number}"
            if line.startswith("-"):
                self._option(line, path, (*above, resolved), where, constraint=constraint)
            else:
                self._requirement(line, where, constraint=constraint)

    def _option(self, line: str, path: Path, above: tuple[Path, ...], where: str, *, constraint: bool) -> None:
        name, value = _split_option(line)
        if name in (*REQUIREMENT, *CONSTRAINT) and value:
            if _ADDRESS.match(value):
                raise UsageError(
                    f"{where}: {redact_text(value)} is not a file here", hint="Download it, and name that."
                )
            self.read(path.parent / value, above, constraint=constraint or name in CONSTRAINT)
        elif name in EDITABLE and value and not constraint:
            self._place(value, where)
        elif name in INDEXES and value:
            # A folder of links is relative to the file, as with pip.
            local = name in ("-f", "--find-links") and not _ADDRESS.match(value)
            self.indexes.append(Index(INDEXES[name], str((path.parent / value).resolve()) if local else value, where))
        elif name in _IDLE:
            self.notes.append(f"{where}: {name} is not taken over: {_IDLE[name]}")
        elif name in _REFUSED:
            raise UsageError(f"{where}: {name} cannot be taken over", hint=f"{_REFUSED[name]}.".capitalize())
        else:
            raise UsageError(
                f"{where}: {redact_text(line)[:100]!r} is no option of a requirements file that is known here"
            )

    def _requirement(self, line: str, where: str, *, constraint: bool) -> None:
        text, hashes = _without_options(line, where)
        if _ADDRESS.match(text) or text.startswith((".", "/", "~")) or text.endswith((".whl", ".tar.gz", ".zip")):
            self._place(text, where)
            return
        requirement = check_requirement(text, where)
        (self.constraints if constraint else self.requirements).append(requirement)
        if hashes:
            name = canonicalize_name(requirement.name)
            self.hashes[name] = self.hashes.get(name, frozenset()) | hashes

    def _place(self, text: str, where: str) -> None:
        """A requirement that names a place: relative to the project, as pip takes it to be to where it is called."""
        bare, _, extras = text.partition("[")
        folder = self._root / Path(bare).expanduser()
        if not _ADDRESS.match(text) and folder.is_dir():
            named = tuple(extra.strip() for extra in extras.removesuffix("]").split(",") if extra.strip())
            self.folders.append((folder.resolve(), named))
            return
        raise UsageError(f"{where}: {redact_text(text)} is an address, and a lock holds none", hint=NO_ADDRESS)


def redact_text(text: str) -> str:
    """`text` without the passwords of the addresses in it."""
    from harness.store.http import redact_text as redacted  # late: every command reads specs, few speak HTTP

    return redacted(text)


def check_requirement(text: str, where: str) -> Requirement:
    """A requirement that asks for a package by name.

    Raises:
        UsageError: the text is none, or names an address too.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        said = redact_text(str(error).partition("\n")[0])
        raise UsageError(f"{where}: {redact_text(text)[:100]!r} is not a requirement: {said}") from error
    check_no_address(requirement, where)
    return requirement


NO_ADDRESS = "Put its wheel in a folder (`uv build --wheel`, `pip wheel`), name that in UV_FIND_LINKS, and ask by name."


def check_no_address(requirement: Requirement, where: str) -> None:
    """Nothing, if a requirement asks for a package by name.

    Raises:
        UsageError: it names an address too (`name @ https://…`).
    """
    if requirement.url:
        raise UsageError(f"{where}: {requirement.name} is to come from {redact_text(requirement.url)}", hint=NO_ADDRESS)


def read_requirements_file(path: Path, root: Path) -> RequirementsFile:
    """What a requirements file of the project `root` asks for, with the files that it names by `-r` and `-c`.

    Raises:
        UsageError: a file is not there, names itself, or has a line that is not understood or cannot be taken over.
    """
    reader = _Reader(root)
    reader.read(path, (), constraint=False)
    return RequirementsFile(
        requirements=tuple(reader.requirements),
        constraints=tuple(reader.constraints),
        folders=tuple(dict.fromkeys(reader.folders)),
        hashes=reader.hashes,
        indexes=tuple(reader.indexes),
        notes=tuple(reader.notes),
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{redact_text(str(path))} cannot be read: {error.strerror}") from error
    if len(data) > _LIMIT:
        raise UsageError(f"{path} is larger than any list of requirements ({_LIMIT} bytes)")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8, nor in UTF-16 with its mark") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines; those that end in a backslash are joined, comments and empty ones are gone."""
    first, joined = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        first = first or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += line.removesuffix("\\")
            continue
        whole = _COMMENT.sub("", joined + line).strip()
        if whole:
            yield first, whole
        first, joined = 0, ""


def _split_option(line: str) -> tuple[str, str]:
    if match := re.match(r"(--[a-z-]+)(?:[=\s]\s*(.*))?\Z", line):
        name, value = match[1], match[2] or ""
    else:
        name, value = line[:2], line[2:].strip().removeprefix("=").strip()
    try:
        return name, " ".join(shlex.split(value))
    except ValueError:
        return name, value


def _without_options(line: str, where: str) -> tuple[str, frozenset[Digest]]:
    """A requirement without the options behind it, and the hashes among those."""
    found = _OPTION.search(line)
    if found is None:
        return _expanded(line, where), frozenset()
    hashes, known = set(), False
    for word in line[found.start() :].split():
        name, _, value = word.partition("=")
        if name != "--hash":
            why = _REFUSED.get(name, "only --hash is")
            raise UsageError(f"{where}: {redact_text(word)[:60]!r} cannot be taken over", hint=f"{why}.".capitalize())
        known = True
        if value.startswith("sha256:"):
            hashes.add(parse_digest(value))
    if known and not hashes:
        raise UsageError(f"{where}: no hash is a sha256", hint="Write the file with `pip-compile --generate-hashes`.")
    return _expanded(line[: found.start()].strip(), where), frozenset(hashes)


def _expanded(text: str, where: str) -> str:
    if _VARIABLE.search(text):
        raise UsageError(f"{where}: {redact_text(text)[:100]!r} holds a variable", hint="Write what it stands for.")
    return text
