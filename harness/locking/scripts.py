"""What Debian's maintainer scripts would do when a package is installed: read and classified, never run.

A script passes where each command that it may reach is known: to change nothing, to do what an image has no use for, or
to do what the harness lays down itself (`harness.locking.debian.Action`). Everything else is listed as unknown.
Which script runs when: Debian Policy 6.5, https://www.debian.org/doc/debian-policy/ch-maintainerscripts.html
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from debian.debfile import DebError, DebFile

from harness.errors import IntegrityError
from harness.locking.debian import Action, Alternative, Folder, Link, MaintainerScript, SystemGroup, SystemUser
from harness.locking.shell import Command, Truth, Word, walk
from harness.record.hashing import digest_of

T = TypeVar("T")
NAMES = ("config", "preinst", "postinst", "prerm", "postrm", "triggers")
_LIMIT = 4 << 20
_SHELLS = re.compile(rb"#! ?/(usr/)?bin/(env )?(ba|da)?sh( -[eux]+)*\s*$")
_TEXT = 100

# Nothing in the file system is changed by these, whatever their arguments; a redirection is looked at by itself.
_HARMLESS = frozenset((
    ":", "[", "basename", "break", "cat", "cd", "cmp", "continue", "cut", "diff", "dirname",
    "dpkg-query", "dpkg-vendor", "echo", "egrep", "exit", "expr", "false", "fgrep", "grep", "groups", "head",
    "id", "ischroot", "local", "logname", "ls", "md5sum", "paste", "printf", "pwd", "read", "readlink",
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
_PLACE = re.compile(r"/[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*/?\Z")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")


def read_scripts(path: Path, package: str, architecture: str) -> tuple[MaintainerScript, ...]:
    """The maintainer scripts of the package in the file `path`, in the order of `NAMES`.

    Raises:
        IntegrityError: the file is no Debian package, or a script is larger than any.
    """
    controls = {}
    try:
        with DebFile(str(path)) as archive:
            for name in NAMES:
                if archive.control.has_file(name):
                    controls[name] = archive.control.get_file(name).read(_LIMIT + 1)
    except (DebError, OSError, EOFError, ValueError) as error:
        raise IntegrityError(f"The file of {package} is not a Debian package: {error}") from error
    if large := [name for name, data in controls.items() if len(data) > _LIMIT]:
        raise IntegrityError(f"The {large[0]} of {package} is larger than {_LIMIT} bytes")
    return classify(controls, package, architecture)


def classify(controls: Mapping[str, bytes], package: str, architecture: str) -> tuple[MaintainerScript, ...]:
    """What the maintainer scripts of one package, by name, would do when it is installed on a fresh system."""
    variables: dict[str, Word] = {
        "DPKG_ROOT": "",
        "DPKG_MAINTSCRIPT_PACKAGE": package,
        "DPKG_MAINTSCRIPT_ARCH": architecture,
    }
    outputs = {"uname": "Linux", "uname -s": "Linux", "dpkg --print-architecture": architecture}
    triggered = any(line.startswith("interest") for line in _lines(controls.get("triggers", b"")))
    found = []
    for name in (name for name in NAMES if name in controls):
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
                name=name,  # type: ignore[arg-type]  # one of SCRIPTS
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
        if not _SHELLS.match(first) or not text or "\0" in text:
            self.unknown.add((1, _shown(first.decode(errors="replace"))))
            return
        walk(text, self._command, arguments=arguments, variables=variables, outputs=outputs)

    def _command(self, command: Command) -> Truth:
        words, name = command.words, command.name
        if not words:
            return Truth.YES
        if name is None or None in words[:1]:
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
        if re.fullmatch(r"python3(\.[0-9]+)?", name) and _compiles(words[1:]):
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
        """Programs that read, but could be told to write, remove, set or start something."""
        words = command.words[1:]
        known = [word for word in words if word is not None]
        options = [word for word in known if word.startswith("-")]
        match command.name:
            case "date" | "hostname":
                return Truth.MAYBE if all(re.fullmatch(_READS[command.name], word or "-") for word in words) else None
            case "uniq":
                return Truth.MAYBE if list(words) == options else None
            case "sort":
                return Truth.MAYBE if all(re.fullmatch(_READS["sort"], option) for option in options) else None
            case "sed":
                return Truth.MAYBE if _is_reading_sed(words) else None
            case "find":
                acts = ("-exec", "-execdir", "-ok", "-okdir", "-delete", "-fprint", "-fprint0", "-fprintf", "-fls")
                return None if None in words or any(word in acts for word in known) else Truth.MAYBE
            case "dpkg-architecture":
                return Truth.MAYBE if all(re.fullmatch(r"-q\w+", word or "") for word in words) else None
        return Truth.MAYBE if _is_reading_awk(words) else None

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
                if not _PLACE.match(place) or not _PLACE.match("/" + target.removeprefix("/")) or place.endswith("/"):
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
            elif word is not None and _PLACE.match(word) and ".." not in word.split("/"):
                places.append(word.rstrip("/"))
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
            case ["--install", str(place), _, str(target), str(priority), *more] if priority.lstrip("-").isdecimal():
                links = [(place, target)]
                while more:
                    match more:
                        case ["--slave", str(place), _, str(target), *more]:
                            links.append((place, target))
                        case _:
                            return None
                if not command.certain or not all(_PLACE.match(path) for link in links for path in link):
                    return None
                self.does.add("alternatives")
                for place, target in links:
                    self._act(Alternative(place, target, int(priority)))
                return Truth.YES
        return None

    def _accounts(self, command: Command) -> Truth | None:
        name = str(command.name)
        options, accounts = _options(command.words[1:])
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
        if not _PLACE.match(home) or home.endswith("/") or (other is not None and not _ACCOUNT.match(other)):
            return None
        self._act(SystemUser(accounts[0], other or (accounts[0] if own else "nogroup"), home))
        return Truth.YES

    def _act(self, action: Action) -> None:
        if action not in self.actions:
            self.actions.append(action)


_TRIGGERS = ("interest", "activate")
_SPECIAL = {
    ">": "redirection",
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
_WITH_ARGUMENT = (
    "--home", "--shell", "--gecos", "--comment", "--ingroup", "--gid", "--uid", "--home-dir", "--firstuid", "--lastuid",
    "-d", "-s", "-g", "-u", "-c",
)  # fmt: skip
_WITHOUT_ARGUMENT = (
    "--system", "--group", "--quiet", "--no-create-home", "--disabled-password", "--disabled-login", "--force-badname",
    "--allow-bad-names", "--user-group", "--force", "-r", "-U", "-M", "-f",
)  # fmt: skip


def _options(words: Sequence[Word]) -> tuple[dict[str, str] | None, list[str]]:
    """The options of a command that makes accounts (none where one is not known), and its other words."""
    options: dict[str, str] = {}
    others: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word is None:
            return None, []
        key, equals, value = word.partition("=")
        if key in _WITH_ARGUMENT and word.startswith("-"):
            given = value if equals else (rest.pop(0) if rest else None)
            if given is None and key not in ("--gecos", "--comment", "-c"):
                return None, []
            options[key] = given or ""
        elif word in _WITHOUT_ARGUMENT:
            options[word] = ""
        elif word.startswith("-"):
            return None, []
        else:
            others.append(word)
    return options, others


_READS = {
    "date": r"\+.*|-[uR]+|--utc",
    "hostname": r"-[sfdiIaA]",
    "sort": r"-[bcCdfgiMhnRrVsuz]+|-k[0-9.,bdfgiMhnRrV]*|-t.*|--(unique|reverse|numeric-sort|version-sort)",
}
"""The words with which these programs only read."""

_SED_ADDRESS = r"([0-9]+|\$|/([^/\\\n\[]|\\.|\[[^]\n]*\])*/I?)"
_SED_REPLACES = (
    r"s(?P<{0}>[|/,:#@!%])((?!(?P={0}))[^\\\n\[]|\\.|\[[^]\n]*\])*(?P={0})((?!(?P={0}))[^\\\n]|\\.)*(?P={0})[gpIi0-9]*"
)
_SED_COMMAND = (
    rf"\s*({_SED_ADDRESS}(,{_SED_ADDRESS})?\s*!?)?\s*([pdDPgGhHxnN=q]|{_SED_REPLACES.format('delimiter')})\s*"
)


def _is_reading_sed(words: Sequence[Word]) -> bool:
    """Whether sed is told, in commands that are known here, to read and print, and nothing else."""
    scripts: list[Word] = []
    others: list[Word] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word is None or not word.startswith("-") or word == "-":
            others.append(word)
        elif re.fullmatch(r"-[nrEsuz]*e", word) and rest:
            scripts.append(rest.pop(0))
        elif not re.fullmatch(r"-[nrEsuz]+|--quiet|--silent|--regexp-extended", word):
            return False
    # Paths such as /etc/x too: rather one line too many that is not known than locks that come out otherwise.
    if any(re.search(r"(^|[;{}\d$/])\s*[wWe]\b|/[gpIiMm0-9]*[ewW]", word) for word in words if word is not None):
        return False
    scripts = scripts or others[:1]
    return bool(scripts) and all(script is not None and _is_reading_script(script) for script in scripts)


def _is_reading_script(script: str) -> bool:
    """Command after command, because each may have a delimiter of its own."""
    place = 0
    while place < len(script):
        found = re.compile(_SED_COMMAND).match(script, place)
        if found is None or (found.end() < len(script) and script[found.end()] not in ";\n"):
            return False
        place = found.end() + 1
    return True


def _is_reading_awk(words: Sequence[Word]) -> bool:
    """Whether awk has its program on the line, which starts and writes nothing, and no option but `-F` and `-v`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-F", "-v") and rest:
            rest.pop(0)
        elif word is None or (word.startswith("-") and not re.fullmatch(r"-F.+|-v\w+=.*", word)):
            return False
        elif not word.startswith("-"):
            return re.search(r"system|[|>@]|-f|getline", word) is None
    return False


def _compiles(words: Sequence[Word]) -> bool:
    """Whether Python is called to compile: by one of its two modules for that, or by the file of one."""
    match [word for word in words if word is None or not re.fullmatch(r"-[EOSIBs]+", word)]:
        case ["-m", "compileall" | "py_compile", *_]:
            return True
        case [str(program), *_]:
            return re.fullmatch(r"/usr/lib/python3(\.[0-9]+)?/(compileall|py_compile)\.py", program) is not None
    return False


def _is_mode(mode: Word) -> bool:
    return mode is not None and re.fullmatch(r"0?[01]?[0-7]{3}", mode) is not None


def _octal(mode: Word) -> str:
    return f"{int(mode or '755', 8) & 0o1777:04o}"


def _shown(text: str) -> str:
    """A line as the lock holds it: printable, and not longer than a person reads."""
    text = re.sub(r"\w+://\S*", "(an address)", text)  # locks name no host
    plain = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return plain if len(plain) <= _TEXT else f"{plain[: _TEXT - 1]}…"
