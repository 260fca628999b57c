"""What the arguments of a program in a maintainer script tell it to do; null stands for a word that is not known."""

import re
from collections.abc import Sequence

from harness.locking.truth import Word

_READS = {
    "date": r"\+.*|-[uR]+|--utc",
    "hostname": r"-[sfdiIaA]",
    "sort": r"-[bcCdfgiMhnRrVsuz]+|-k[0-9.,bdfgiMhnRrV]*|-t.*|--(unique|reverse|numeric-sort|version-sort)",
}
"""The words with which these programs only read."""
_FIND_ACTS = ("-exec", "-execdir", "-ok", "-okdir", "-delete", "-fprint", "-fprint0", "-fprintf", "-fls")

_SED_ADDRESS = r"([0-9]+|\$|/([^/\\\n\[]|\\.|\[[^]\n]*\])*/I?)"
_SED_REPLACES = (
    r"s(?P<{0}>[|/,:#@!%])((?!(?P={0}))[^\\\n\[]|\\.|\[[^]\n]*\])*(?P={0})((?!(?P={0}))[^\\\n]|\\.)*(?P={0})[gpIi0-9]*"
)
_SED_COMMAND = (
    rf"\s*({_SED_ADDRESS}(,{_SED_ADDRESS})?\s*!?)?\s*([pdDPgGhHxnN=q]|{_SED_REPLACES.format('delimiter')})\s*"
)

_WITH_ARGUMENT = (
    "--home", "--shell", "--gecos", "--comment", "--ingroup", "--gid", "--uid", "--home-dir", "--firstuid", "--lastuid",
    "-d", "-s", "-g", "-u", "-c",
)  # fmt: skip
_WITHOUT_ARGUMENT = (
    "--system", "--group", "--quiet", "--no-create-home", "--disabled-password", "--disabled-login", "--force-badname",
    "--allow-bad-names", "--user-group", "--force", "-r", "-U", "-M", "-f",
)  # fmt: skip


def only_reads(program: str, words: Sequence[Word]) -> bool:
    """Whether a program that could be told to write, remove, set or start something is told to read alone."""
    known = [word for word in words if word is not None]
    options = [word for word in known if word.startswith("-")]
    match program:
        case "date" | "hostname":
            return all(re.fullmatch(_READS[program], word or "-") for word in words)
        case "uniq":
            return list(words) == options
        case "sort":
            return all(re.fullmatch(_READS[program], option) for option in options)
        case "sed":
            return _is_reading_sed(words)
        case "find":
            return None not in words and not any(word in _FIND_ACTS for word in known)
        case "dpkg-architecture":
            return all(re.fullmatch(r"-q\w+", word or "") for word in words)
        case "awk" | "mawk" | "gawk":
            return _is_reading_awk(words)
    return False


def compiles_python(words: Sequence[Word]) -> bool:
    """Whether Python is called to compile: by one of its two modules for that, or by the file of one."""
    match [word for word in words if word is None or not re.fullmatch(r"-[EOSIBs]+", word)]:
        case ["-m", "compileall" | "py_compile", *_]:
            return True
        case [str(program), *_]:
            return re.fullmatch(r"/usr/lib/python3(\.[0-9]+)?/(compileall|py_compile)\.py", program) is not None
    return False


def account_options(words: Sequence[Word]) -> tuple[dict[str, str] | None, list[str]]:
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
