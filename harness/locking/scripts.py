"""What Debian's maintainer scripts would do when a package is installed: read and classified, never run.

A script passes where each command that it may reach is known: to change nothing, to do what an image has no use for, or
to do what the harness lays down itself (`harness.locking.debian.Action`). Everything else is listed as unknown.
Which script runs when: Debian Policy 6.5, https://www.debian.org/doc/debian-policy/ch-maintainerscripts.html
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from harness.errors import IntegrityError
from harness.locking.arguments import account_options, compiles_python, only_reads
from harness.locking.debfile import open_deb
from harness.locking.debian import (
    SCRIPTS,
    Action,
    Alternative,
    Folder,
    Link,
    MaintainerScript,
    SystemGroup,
    SystemUser,
)
from harness.locking.shell import Command, walk
from harness.locking.truth import Truth, Word
from harness.record.hashing import digest_of

T = TypeVar("T")
_LIMIT = 4 << 20
_SHELLS = re.compile(rb"#! ?/(usr/)?bin/(env )?(ba|da)?sh( -[eux]+)*\s*$")
_SPACES = re.compile(r"[^\S \t\n]|[\0-\x08\x0e-\x1f\x7f]")
_PROGRAMS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
_TEXT = 100

# Nothing in the file system is changed by these, whatever their arguments; a redirection is looked at by itself.
_HARMLESS = frozenset((
    ":", "[", "basename", "break", "cat", "cd", "cmp", "continue", "cut", "diff", "dirname",
    "dpkg-query", "dpkg-vendor", "echo", "egrep", "exit", "expr", "false", "fgrep", "grep", "groups", "head",
    "id", "ischroot", "logname", "ls", "md5sum", "paste", "pwd", "read", "readlink",
    "realpath", "return", "seq", "set", "sha1sum", "sha256sum", "shift", "sleep", "stat", "tail", "test", "tr",
    "true", "tty", "type", "uname", "wc", "which", "whoami"
))  # fmt: skip
# What an image has no use for, and why; the words stand in the lock.
_UNNEEDED = {
    "ldconfig": ("ldconfig",),  # the build takes care of what the dynamic linker needs
    "byte-compilation": ("py3compile", "py3clean", "pycompile", "pyclean"),  # bytecode is an input of a run
    "services": (  # an image runs one program
        "deb-systemd-helper", "deb-systemd-invoke", "systemctl", "invoke-rc.d", "update-rc.d", "service",
    ),
    "upgrade": ("dpkg-maintscript-helper",),  # acts where an older version was installed
    "debconf": (  # questions, for which there is nobody
        "db_version", "db_capb", "db_title", "db_settitle", "db_beginblock", "db_endblock", "db_input", "db_go",
        "db_get", "db_set", "db_reset", "db_subst", "db_fset", "db_fget", "db_metaget", "db_register",
        "db_unregister", "db_purge", "db_stop", "db_x_loadtemplatefile", "db_info", "db_progress",
    ),
    "caches": (  # of desktops and manuals
        "update-menus", "mandb", "install-info", "update-info-dir", "update-desktop-database", "update-icon-caches",
        "gtk-update-icon-cache", "update-mime-database", "update-mime", "fc-cache",
    ),
    "logins": ("update-shells", "add-shell", "remove-shell"),  # nobody logs in
}  # fmt: skip
_KINDS = {name: kind for kind, names in _UNNEEDED.items() for name in names}
_ROOT = ("root", "root:root", "root.root", ":root", "0", "0:0")
_DEBCONF = "/usr/share/debconf/confmodule"
_COMPARED_WITH_NOTHING = {
    "lt": True, "le": True, "eq": False, "ne": True, "ge": False, "gt": False,
    "lt-nl": False, "le-nl": False, "ge-nl": True, "gt-nl": True,
}  # fmt: skip
_PLACE = re.compile(r"(/[A-Za-z0-9._+@-]+)+\Z")
_PRIORITY = re.compile(r"-?[0-9]{1,9}\Z")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")


def read_scripts(path: Path, package: str, architecture: str) -> tuple[MaintainerScript, ...]:
    """The maintainer scripts of the package in the file `path`, in the order of `SCRIPTS`.

    Raises:
        IntegrityError: the file is no Debian package, is damaged, or a script is larger than any.
    """
    with open_deb(path, package) as deb:
        controls: dict[str, bytes] = {name: data for name, data in deb.control().items() if name in SCRIPTS}
    if large := [name for name, data in controls.items() if len(data) > _LIMIT]:
        raise IntegrityError(f"The {large[0]} of {package} is larger than {_LIMIT} bytes")
    return classify(controls, package, architecture)


def classify(controls: Mapping[str, bytes], package: str, architecture: str) -> tuple[MaintainerScript, ...]:
    """What the maintainer scripts of one package, by name, would do when it is installed on a fresh system."""
    variables: dict[str, Word] = {
        "DPKG_ROOT": "",
        "PATH": ":".join(_PROGRAMS),
        "DPKG_MAINTSCRIPT_PACKAGE": package,
        "DPKG_MAINTSCRIPT_ARCH": architecture,
    }
    outputs = {"uname": "Linux", "uname -s": "Linux", "dpkg --print-architecture": architecture}
    triggered = any(line.startswith("interest") for line in _lines(controls.get("triggers", b"")))
    found = []
    for name in (name for name in SCRIPTS if name in controls):
        data = controls[name]
        reading = _Reading()
        if name in ("prerm", "postrm"):
            reading.does.add("removal")
        elif name == "triggers":
            reading.triggers(_lines(data))
        else:
            calls: list[Sequence[Word]] = [("install", "")] if name == "preinst" else [("configure", "")]
            calls += [("triggered", None)] if name == "postinst" and triggered else []
            for arguments in calls:
                reading.script(data, arguments, {**variables, "DPKG_MAINTSCRIPT_NAME": name}, outputs)
        found.append(
            MaintainerScript(
                name=name,
                digest=digest_of(data),
                does=tuple(sorted(reading.does)),
                alternatives=reading.made(Alternative),
                links=reading.made(Link),
                users=reading.made(SystemUser),
                groups=reading.made(SystemGroup),
                folders=reading.made(Folder),
                unknown=tuple(f"{line}: {text}" for line, text in sorted(reading.unknown)),
            )
        )
    return tuple(found)


def _lines(data: bytes) -> list[str]:
    return data.decode(errors="replace").splitlines()


class _Reading:
    """What was found so far in one script."""

    def __init__(self) -> None:
        self.does: set[str] = set()
        self.actions: list[Action] = []
        self.unknown: set[tuple[int, str]] = set()
        self._bash = False

    def made(self, kind: type[T]) -> tuple[T, ...]:
        """The actions of one kind, in the script's order."""
        return tuple(action for action in self.actions if isinstance(action, kind))

    def triggers(self, lines: Sequence[str]) -> None:
        """Read a `triggers` file: what it is interested in makes its own postinst run once more."""
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if words and (len(words) != 2 or words[0].removesuffix("-noawait").removesuffix("-await") not in _TRIGGERS):
                self.unknown.add((number, _shown(line)))
            elif words and words[1] == "ldconfig":
                self.does.add("ldconfig")

    def script(
        self, data: bytes, arguments: Sequence[Word], variables: Mapping[str, Word], outputs: Mapping[str, str]
    ) -> None:
        """Read a script as it is called with `arguments`."""
        first = data.partition(b"\n")[0]
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = ""
        if not _SHELLS.match(first) or not text:
            self.unknown.add((1, _shown(first.decode(errors="replace"))))
            return
        if odd := _SPACES.search(text):  # a space to some programs, a part of a word to others
            self.unknown.add((text.count("\n", 0, odd.start()) + 1, f"a character that is no plain text: {odd[0]!a}"))
            return
        self._bash = b"bash" in first
        walk(text, self._command, arguments=arguments, variables=variables, outputs=outputs)

    def _command(self, command: Command) -> Truth:
        words, name = command.words, command.name
        if not words:
            return Truth.MAYBE
        if name is None or ((folder := str(words[0]).rpartition("/")[0]) and folder not in _PROGRAMS):
            return self._not_known(command)
        if kind := _KINDS.get(name):
            self.does.add(kind)
            return Truth.MAYBE
        if name == "exit" and command.certain and len(words) > 1 and words[1] != "0":
            return self._not_known(command)
        if name in _HARMLESS:
            return {"true": Truth.YES, ":": Truth.YES, "echo": Truth.YES, "false": Truth.NO}.get(name, Truth.MAYBE)
        if special := getattr(self, f"_{_SPECIAL.get(name, 'none')}", None):
            truth: Truth | None = special(command)
            return truth if truth is not None else self._not_known(command)
        if re.fullmatch(r"python3(\.[0-9]+)?", name) and compiles_python(words[1:]):
            self.does.add("byte-compilation")
            return Truth.MAYBE
        return self._not_known(command)

    def _not_known(self, command: Command) -> Truth:
        self.unknown.add((command.line, _shown(command.text)))
        return Truth.MAYBE

    # Commands that must be looked at: each answers with null where it does not know these arguments.

    def _redirection(self, command: Command) -> Truth | None:
        target = command.words[1]
        return Truth.YES if re.fullmatch(r"/dev/(null|stderr|stdout|tty)|&[0-9-]", target or "") else None

    def _path(self, command: Command) -> Truth | None:
        return Truth.YES if set((command.words[1] or "?").split(":")) <= set(_PROGRAMS) else None

    def _double_brackets(self, _: Command) -> Truth | None:
        return Truth.MAYBE if self._bash else None  # another shell looks for a program of that name

    def _printed(self, command: Command) -> Truth | None:
        return None if (command.words[1:2] or ("",))[0] == "-v" else Truth.MAYBE  # into a variable

    def _source(self, command: Command) -> Truth | None:
        if command.words[1:] != (_DEBCONF,):
            return None
        self.does.add("debconf")
        return Truth.YES

    def _lookup(self, command: Command) -> Truth | None:
        # `command -v`, and `command` with what the walk could not take apart.
        return Truth.MAYBE if len(command.words) > 1 and command.words[1] in ("-v", "-V") else None

    def _dpkg(self, command: Command) -> Truth | None:
        words = command.words[1:]
        match words:
            case ("--compare-versions", "", str(relation), _) if relation in _COMPARED_WITH_NOTHING:
                return Truth.YES if _COMPARED_WITH_NOTHING[relation] else Truth.NO
            case ("--compare-versions" | "-L" | "--listfiles" | "-s" | "--status" | "-l" | "--list" | "-S", *_):
                return Truth.MAYBE
            case ("--print-architecture" | "--validate-version" | "--assert-multi-arch", *_):
                return Truth.MAYBE
        return None

    def _filter(self, command: Command) -> Truth | None:
        return Truth.MAYBE if only_reads(str(command.name), command.words[1:]) else None

    def _masks(self, command: Command) -> Truth | None:
        """Folders are taken to be made under the usual mask."""
        return Truth.YES if command.words[1:] in ((), ("-S",), ("022",), ("0022",)) else None

    def _query(self, command: Command) -> Truth | None:
        queries = ("--list", "--truename", "--listpackage", "--display", "--query", "--get-selections")
        return Truth.PRESUMABLY_NOT if len(command.words) > 1 and command.words[1] in queries else None

    def _database(self, _: Command) -> Truth | None:
        return Truth.PRESUMABLY_NOT

    def _link(self, command: Command) -> Truth | None:
        options = [word for word in command.words[1:] if word is not None and word.startswith("-")]
        words = [word for word in command.words[1:] if word is None or not word.startswith("-")]
        symbolic = any(re.fullmatch(r"-[sfnT]*s[sfnT]*|--symbolic", option) for option in options)
        known = all(re.fullmatch(r"-[sfnT]+|--symbolic|--force|--no-dereference", option) for option in options)
        match words:
            case [str(target), str(place)] if symbolic and known and command.certain:
                if not _is_place(place) or not _PLACE.match("/" + target.removeprefix("/").removesuffix("/")):
                    return None
                if place.removeprefix("/usr").count("/") < 2:
                    return None  # a folder of every system, such as /etc or /usr/lib: the link would lie inside it
                self.does.add("links")
                self._act(Link(place, target))
                return Truth.YES
        return None

    def _certificates(self, _: Command) -> Truth | None:
        self.does.add("certificates")
        return None

    def _ownership(self, command: Command) -> Truth | None:
        """Every file of an image is root's: giving it to root changes nothing."""
        options = [word for word in command.words[1:] if word is not None and word.startswith("-")]
        words = [word for word in command.words[1:] if word is None or not word.startswith("-")]
        owner = (words[0] or "?") if words else "?"
        if owner not in _ROOT or any("reference" in option for option in options):
            return None
        self.does.add("ownership")
        return Truth.YES

    def _mode(self, command: Command) -> Truth | None:
        """The mode of folders that the script made itself."""
        mode, *places = command.words[1:] or ("",)
        if mode is not None and re.fullmatch(r"0?[23][0-7]{3}", mode):
            mode = mode.removeprefix("0")
            mode = f"{int(mode[0]) - 2}{mode[1:]}"  # left out as from the packages' own folders (images.deb)
        made = {action.place: number for number, action in enumerate(self.actions) if isinstance(action, Folder)}
        paths = [place.rstrip("/") for place in places if place is not None]
        if not command.certain or not _is_mode(mode) or len(paths) != len(places) or not paths:
            return None
        if any(path not in made for path in paths):
            return None
        for path in paths:
            self.actions[made[path]] = Folder(path, _octal(mode))
        return Truth.YES

    def _mkdir(self, command: Command) -> Truth | None:
        mode: Word = "755"
        places: list[str] = []
        words = list(command.words[1:])
        while words:
            word = words.pop(0)
            if word in ("-m", "--mode") and words:
                mode = words.pop(0)
            elif word is not None and word.startswith(("--mode=", "-m")):
                mode = word.removeprefix("--mode=").removeprefix("-m")
            elif word in ("-p", "--parents", "-v", "--verbose", "-pv", "--"):
                continue
            elif word is not None and _is_place(word.removesuffix("/")):
                places.append(word.removesuffix("/"))
            else:
                return None
        if not command.certain or not _is_mode(mode) or not places:
            return None
        self.does.add("folders")
        for place in places:
            self._act(Folder(place, _octal(mode)))
        return Truth.YES

    def _alternatives(self, command: Command) -> Truth | None:
        words = [word for word in command.words[1:] if word not in ("--quiet", "--force", "--verbose")]
        if len(words) > 1 and words[0] in ("--remove", "--query", "--display", "--list", "--get-selections"):
            return Truth.MAYBE
        match words:
            case ["--install", str(place), _, str(target), str(priority), *more] if _PRIORITY.match(priority):
                links = [(place, target)]
                while more:
                    match more:
                        case ["--slave", str(place), _, str(target), *more]:
                            links.append((place, target))
                        case _:
                            return None
                if not command.certain or not all(_is_place(path) for link in links for path in link):
                    return None
                self.does.add("alternatives")
                for place, target in links:
                    self._act(Alternative(place, target, int(priority)))
                return Truth.YES
        return None

    def _accounts(self, command: Command) -> Truth | None:
        name = str(command.name)
        options, accounts = account_options(command.words[1:])
        if options is None or not command.certain or not 1 <= len(accounts) <= 2:
            return None
        if not all(_ACCOUNT.match(account) for account in accounts):
            return None
        system = any(option in options for option in ("--system", "-r"))
        if not system or "--uid" in options or "-u" in options or len(accounts) != 1:
            return None
        self.does.add("users")
        if name in ("addgroup", "groupadd"):
            self._act(SystemGroup(accounts[0]))
            return Truth.YES
        own = name == "useradd" or any(option in options for option in ("--group", "-U", "--user-group"))
        other = options.get("--ingroup") or options.get("--gid") or options.get("-g")
        home = options.get("--home") or options.get("--home-dir") or options.get("-d") or "/nonexistent"
        if not _is_place(home) or (other is not None and not _ACCOUNT.match(other)):
            return None
        self._act(SystemUser(accounts[0], other or (accounts[0] if own else "nogroup"), home))
        return Truth.YES

    def _act(self, action: Action) -> None:
        if action not in self.actions:
            self.actions.append(action)


_TRIGGERS = ("interest", "activate")
_SPECIAL = {
    ">": "redirection",
    "PATH=": "path",
    "[[": "double_brackets",
    "printf": "printed",
    ".": "source",
    "source": "source",
    "command": "lookup",
    "dpkg": "dpkg",
    "umask": "masks",
    "date": "filter",
    "dpkg-architecture": "filter",
    "hostname": "filter",
    "sort": "filter",
    "uniq": "filter",
    "sed": "filter",
    "awk": "filter",
    "mawk": "filter",
    "gawk": "filter",
    "find": "filter",
    "getent": "database",
    "ln": "link",
    "dpkg-divert": "query",
    "dpkg-statoverride": "query",
    "update-ca-certificates": "certificates",
    "chown": "ownership",
    "chmod": "mode",
    "mkdir": "mkdir",
    "update-alternatives": "alternatives",
    "adduser": "accounts",
    "addgroup": "accounts",
    "useradd": "accounts",
    "groupadd": "accounts",
}


def _is_place(path: str) -> bool:
    """Whether a lock can hold it: a plain path from the root."""
    return _PLACE.match(path) is not None and not {".", ".."} & set(path.split("/"))


def _is_mode(mode: Word) -> bool:
    return mode is not None and re.fullmatch(r"0?[01]?[0-7]{3}", mode) is not None


def _octal(mode: Word) -> str:
    return f"{int(mode or '755', 8) & 0o1777:04o}"


def _shown(text: str) -> str:
    """A line as the lock holds it: printable, and not longer than a person reads."""
    text = re.sub(r"\w+://\S*", "(an address)", text)  # locks name no host
    plain = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return plain if len(plain) <= _TEXT else f"{plain[: _TEXT - 1]}…"
