"""Looking at a git repository without changing a byte of it, and without running a program that it names."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.errors import HarnessError, ToolError
from harness.store.process import run

# Hooks hand down where "their" repository and index are; which folder is looked at is ours to say. What else is kept
# says whom the user trusts and where discovery ends.
_KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES",
         "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_CONFIG_COUNT")  # fmt: skip
_SET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    # A partial clone would fetch what it lacks, with whatever transport its configuration names.
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",
}
# Programs that a configuration can name, and settings under which changes go unseen.
_OPTIONS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.safecrlf=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "core.trustctime=true",
    "core.checkStat=default",
    "core.ignoreStat=false",
)
_SUBMODULE = "160000"


class Submodule(msgspec.Struct, frozen=True):
    """A submodule that is checked out: its path below the repository's top, and the folder."""

    path: str
    folder: Path


class Repository:
    """A repository as seen from a folder of its working tree; made by `open_repository`.

    `top` is the working tree's top folder, `paths` limits commands to the folder that was asked about, less what the
    harness keeps there itself. All commands work on a copy of the index, and write objects beside the repository's own.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._environment = _environment()
        self._options = [part for option in _OPTIONS for part in ("-c", option)]
        self._folder = folder
        self.top, index, objects = self._places()
        self._folder = self.top
        self._asked = folder
        self.paths: tuple[str, ...] = (_literal(_relative(folder, self.top)),)
        self._options += self._without_filters()
        (scratch / "objects").mkdir()
        if (folder / index).exists():
            # The time of the copy is that of the original: git takes entries as young as their index for unsettled.
            shutil.copy2(folder / index, scratch / "index")
        self._environment |= {
            "GIT_INDEX_FILE": str(scratch / "index"),
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted((folder / objects).absolute()),
        }
        self.submodules = self._read_index()

    def leave_out(self, folders: Sequence[Path]) -> None:
        """Look at nothing at or below these paths, unless the folder that was asked about lies there itself."""
        for path in folders:
            if (resolved := path.resolve()).is_relative_to(self.top) and not self._asked.is_relative_to(resolved):
                self.paths += (f":(exclude,literal){resolved.relative_to(self.top)}",)

    def git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What a git command prints.

        Raises:
            ToolError: it failed.
            PrerequisiteError: git is not installed.
        """
        command = ["git", "-C", str(self._folder), "--no-pager", *self._options, *arguments]
        return run(command, environment=self._environment, stdin=stdin).stdout

    def names(self, *arguments: str) -> list[str]:
        """What a git command that separates by NUL prints; names that are not UTF-8 come as Python's file names do."""
        return [os.fsdecode(item) for item in self.git(*arguments).split(b"\0") if item]

    def head(self) -> str | None:
        """The commit that is checked out; null before the first one."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()
        except ToolError:
            return None

    def _places(self) -> tuple[Path, ...]:
        """The working tree's top; the index and the folder of objects, as seen from the folder that was asked about."""
        questions = (("--show-toplevel",), ("--git-path", "index"), ("--git-path", "objects"))
        answer = self._text(*(word for question in questions for word in question))
        lines = answer.split("\n")
        if len(lines) != len(questions):  # a path of more than one line
            lines = [self._text(*question) for question in questions]
        return tuple(Path(line) for line in lines)

    def _text(self, *arguments: str) -> str:
        return os.fsdecode(self.git("rev-parse", *arguments)).removesuffix("\n")

    def _without_filters(self) -> list[str]:
        """Options under which no clean or smudge program runs: files are taken as they lie there."""
        try:
            keys = self.names("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
        except ToolError:
            return []
        options = []
        for key in keys:
            if "=" in key:
                raise ToolError(f"git's setting {key!a} cannot be switched off, and so the repository is not looked at")
            options += ["-c", f"{key}={'false' if key.endswith('.required') else ''}"]
        return options

    def _read_index(self) -> tuple[Submodule, ...]:
        """The submodules; and marks that make git overlook changes are taken off in the copy of the index."""
        submodules, trusted, skipped = [], [], []
        for entry in self.names("ls-files", "-v", "--stage", "-z"):
            facts, _, name = entry.partition("\t")
            tag, mode = facts.split(" ")[:2]
            path = self.top / name
            if tag.islower():
                trusted.append(name)
            if tag in "Ss" and os.path.lexists(path):
                skipped.append(name)
            if mode == _SUBMODULE and path.is_relative_to(self._asked) and os.path.lexists(path / ".git"):
                submodules.append(Submodule(name, path))
        for option, names in (("--no-assume-unchanged", trusted), ("--no-skip-worktree", skipped)):
            if names:
                self.git("update-index", option, "-z", "--stdin", stdin=joined(names))
        return tuple(submodules)


@contextmanager
def open_repository(folder: Path) -> Iterator[Repository | None]:
    """The repository that a folder is in, for the time of a `with` block; nothing outside one, or without git."""
    with tempfile.TemporaryDirectory(prefix="harness-git-") as scratch:
        try:
            repository = Repository(folder.resolve(), Path(scratch))
        except (HarnessError, OSError, ValueError):  # the last: a working tree that does not hold the folder
            repository = None
        yield repository


def joined(names: Sequence[str]) -> bytes:
    """Names as git reads them from stdin under `-z`."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)


def _environment() -> dict[str, str]:
    pairs = ("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in _KEPT or name.startswith(pairs)
    }
    return kept | _SET


def _relative(folder: Path, top: Path) -> str:
    return "" if folder == top else str(folder.relative_to(top))


def _literal(path: str) -> str:
    return f":(top,literal){path}" if path else ":(top)"


def _quoted(path: Path) -> str:
    """A path in a list that colons separate: git reads C's quoting there."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
