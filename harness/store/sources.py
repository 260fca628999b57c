"""Where artifacts may be: local folders, what pip and uv are configured with, mirrors of Debian's archive.

No host of a registry is named here: pip and uv know their default, apt has its sources.
"""

import configparser
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec

# Debian's own archive of everything it ever published: the one place that still has a file when no mirror does.
SNAPSHOT_ARCHIVE = "https://snapshot.debian.org/archive/debian"

_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+[^\s#]+)*)")
_NO = {"no", "false", "off", "without", "disable"}


class PipConfiguration(msgspec.Struct, frozen=True):
    """What pip is configured with: addresses of indexes, folders or pages of links, a bundle of certificates."""

    index: str | None = None
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    certificates: str | None = None


def pip_configuration(environment: Mapping[str, str] = os.environ) -> PipConfiguration:
    """What pip is set to, from its files and then its variables (https://pip.pypa.io/en/stable/topics/configuration/)."""
    values: dict[str, str] = {}
    for path in _pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                values.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key in ("index-url", "extra-index-url", "find-links", "cert"):
        if value := environment.get("PIP_" + key.upper().replace("-", "_")):
            values[key] = value
    return PipConfiguration(
        index=values.get("index-url", "").strip() or None,
        extra=tuple(values.get("extra-index-url", "").split()),
        links=tuple(values.get("find-links", "").split()),
        certificates=values.get("cert", "").strip() or None,
    )


class UvConfiguration(msgspec.Struct, frozen=True):
    """What uv's own files say: indexes (`NAME=ADDRESS` for those with a name), and folders or pages of links."""

    indexes: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


def uv_configuration(environment: Mapping[str, str] = os.environ) -> UvConfiguration:
    """What uv is set to by `UV_CONFIG_FILE`, or else by the user's `uv.toml` and then the system's; none of a project.

    https://docs.astral.sh/uv/concepts/configuration-files/
    """
    indexes: list[str] = []
    links: list[str] = []
    for path in _uv_files(environment):
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue  # uv says what is wrong with it
        for table in (settings, settings.get("pip", {})):
            for index in table.get("index", ()):
                name = index.get("name")
                indexes.append(f"{name}={index.get('url', '')}" if name else str(index.get("url", "")))
            indexes += [table["index-url"]] if "index-url" in table else []
            indexes += table.get("extra-index-url", ())
            links += table.get("find-links", ())
    return UvConfiguration(tuple(indexes), tuple(links))


def _uv_files(environment: Mapping[str, str]) -> Sequence[Path]:
    if chosen := environment.get("UV_CONFIG_FILE"):
        return [Path(chosen)]
    if environment.get("UV_NO_CONFIG", "").lower() in ("1", "true", "yes", "on"):
        return []
    config = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "/nonexistent") / ".config")
    system = [Path(word) for word in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if word]
    return [folder / "uv" / "uv.toml" for folder in (config, *system, Path("/etc"))]


def uv_environment(environment: Mapping[str, str] = os.environ, *, extra: bool = True) -> dict[str, str]:
    """The variables for a uv that looks where pip would: uv reads its own settings and none of pip's.

    `extra=False` leaves pip's extra indexes out.
    """
    pip, result = pip_configuration(environment), dict(environment)
    own = uv_configuration(environment).indexes
    if not any(environment.get(name) for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX")) and pip.index and not own:
        result["UV_DEFAULT_INDEX"] = pip.index
    if (
        not any(environment.get(name) for name in ("UV_EXTRA_INDEX_URL", "UV_INDEX"))
        and pip.extra
        and extra
        and not own
    ):
        result["UV_EXTRA_INDEX_URL"] = " ".join(pip.extra)
        # pip treats all its indexes alike; uv would stop at the first that knows a name.
        result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if not environment.get("UV_FIND_LINKS") and pip.links:
        result["UV_FIND_LINKS"] = ",".join(pip.links)
    if not environment.get("UV_KEYRING_PROVIDER") and environment.get("PIP_KEYRING_PROVIDER") == "subprocess":
        result["UV_KEYRING_PROVIDER"] = "subprocess"  # pip's other answers are none of uv's
    if not environment.get("SSL_CERT_FILE") and pip.certificates:
        result["SSL_CERT_FILE"] = pip.certificates
    return result


def link_folders(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """The local folders among uv's and pip's find-links, in that order, as far as they exist."""
    entries = [*environment.get("UV_FIND_LINKS", "").split(","), *pip_configuration(environment).links]
    folders = []
    for entry in filter(None, map(str.strip, entries)):
        if entry.startswith("file:"):
            path = Path(url2pathname(urlsplit(entry).path))
        elif "://" in entry:
            continue
        else:
            path = Path(entry).expanduser()
        if path.is_dir() and path not in folders:
            folders.append(path)
    return tuple(folders)


def index_addresses(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The addresses of indexes and pages of links that uv and pip are set to; `NAME=ADDRESS` for those with a name."""
    pip, uv = pip_configuration(environment), uv_configuration(environment)
    names = ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX")
    words = [word for name in names for word in environment.get(name, "").split()]
    words += [*uv.indexes, *uv.links, pip.index or "", *pip.extra, *pip.links]
    words += [word.strip() for word in environment.get("UV_FIND_LINKS", "").split(",")]
    return tuple(word for word in dict.fromkeys(words) if "://" in word)


def debian_mirrors(
    suite: str, environment: Mapping[str, str] = os.environ, *, apt: Path = Path("/etc/apt")
) -> tuple[str, ...]:
    """The bases of Debian mirrors: those in `HARNESS_DEBIAN_MIRROR`, then apt's sources, those of `suite` first."""
    own = [_as_address(word) for word in environment.get("HARNESS_DEBIAN_MIRROR", "").split()]
    found = _apt_sources(apt)
    same = [uri for uri, suites in found if suite in suites]
    others = [uri for uri, _ in found]
    return tuple(dict.fromkeys(base.rstrip("/") for base in (*own, *same, *others)))


def _as_address(word: str) -> str:
    return word if "://" in word else Path(word).expanduser().absolute().as_uri()


@lru_cache
def _apt_sources(apt: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Address and suites of each of apt's sources, in the order in which apt reads its files."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found: list[tuple[str, tuple[str, ...]]] = []
    for path in files:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.suffix == ".list":
            found += _one_line(text)
        elif path.suffix == ".sources":
            found += _deb822(text)
    usable = ("http://", "https://", "file:/")
    return tuple((uri, suites) for uri, suites in found if uri.startswith(usable))


def _one_line(text: str) -> list[tuple[str, tuple[str, ...]]]:
    matches = (_ONE_LINE.match(line.strip()) for line in text.splitlines())
    return [(match["uri"], (match["suite"],)) for match in matches if match]


def _deb822(text: str) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    # Imported where it is needed: most commands fetch nothing, and it takes as long as all they do.
    from debian.deb822 import Deb822

    for stanza in Deb822.iter_paragraphs(text):
        if "deb" in stanza.get("Types", "").split() and stanza.get("Enabled", "yes").strip().lower() not in _NO:
            found += [(uri, tuple(stanza.get("Suites", "").split())) for uri in stanza.get("URIs", "").split()]
    return found


def _pip_files(environment: Mapping[str, str]) -> Sequence[Path]:
    """The configuration files of pip, the later ones stronger."""
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return ()
    home = Path(environment.get("HOME") or "/nonexistent")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    system = [
        Path(word) / "pip" / "pip.conf" for word in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if word
    ]
    files = [*system, Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    return [*files, Path(chosen)] if chosen else files
