"""What a project tells uv, Poetry and PDM of where packages are and which are taken.

A spec holds none of it, so it is taken over, or uv's variables must say the same, or it is refused: what would be
passed over without a word may be what makes a package another one.

uv: https://docs.astral.sh/uv/reference/settings/, Poetry: https://python-poetry.org/docs/pyproject/, PDM:
https://pdm-project.org/en/latest/reference/configuration/.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from packaging.requirements import Requirement

from harness.errors import UsageError
from harness.locking.requirementsfile import Index, check_requirement
from harness.store.http import redact_text
from harness.store.sources import uv_configuration, uv_environment

T = TypeVar("T")

PYPROJECT, UV_FILE = "pyproject.toml", "uv.toml"
_ELSEWHERE = ("git", "url", "path", "workspace")
_DEFAULT_INDEX, _INDEX, _LINKS = "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"

# uv's settings that choose among versions: what changes nothing here, and the variable that says the same.
_CHOICES: dict[str, tuple[tuple[str, ...], str]] = {
    "resolution": (("highest",), "UV_RESOLUTION"),
    "prerelease": (("if-necessary-or-explicit",), "UV_PRERELEASE"),
    "exclude-newer": ((), "UV_EXCLUDE_NEWER"),
    "index-strategy": (("first-index",), "UV_INDEX_STRATEGY"),
    "torch-backend": (("cpu", "auto"), "UV_TORCH_BACKEND"),  # --variant says which of the two builds is taken
}
_VERSIONS = "Ask for the versions themselves in the dependencies, and take the setting out."
_REFUSED = {
    "override-dependencies": "What a package asks for is not overridden: ask for versions that go together.",
    "exclude-dependencies": "Take it out; python.without in the spec leaves packages out, each with its reason.",
    "dependency-metadata": "A wheel's own metadata counts: take it out.",
    "exclude-newer-package": _VERSIONS,
    "no-deps": "An image holds what its packages ask for: take it out.",
    "no-index": "Set UV_FIND_LINKS to the folder of wheels, which is looked into before any index, and take it out.",
    "no-binary": "An image takes wheels alone, and nothing is built while one is made: take it out.",
    "no-binary-package": "An image takes wheels alone, and nothing is built while one is made: take it out.",
}
_PDM_REFUSED = {"overrides": _REFUSED["override-dependencies"], "excludes": _REFUSED["exclude-dependencies"]}
_PDM_REFUSED |= {"allow-prereleases": _VERSIONS}


class _Place(msgspec.Struct):
    """An index of uv, or a source of Poetry or PDM, which may name their default alone."""

    url: str | None = None
    default: bool = False
    priority: str = "primary"
    type: str = "index"


class _Uv(msgspec.Struct, rename="kebab"):
    index: tuple[_Place, ...] = ()
    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    constraint_dependencies: tuple[str, ...] = ()


class _Sources(msgspec.Struct):
    source: tuple[_Place, ...] = ()


def read_toml(path: Path) -> dict[str, Any]:
    """The document in the file `path`.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid: {error}") from error


def check_indexes(folder: Path, document: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Nothing, if uv is set to every index that `document`, the `pyproject.toml` in `folder`, names for any tool.

    Raises:
        UsageError: it is not, or a setting is mistyped.
    """
    for index in _indexes(folder, document):
        check_configured(index, environment)


def read_constraints(
    folder: Path, document: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[Requirement, ...]:
    """The constraints that a project sets for uv, where it sets nothing else that chooses among versions.

    Raises:
        UsageError: it does, and uv's variables do not say the same; or a setting is mistyped.
    """
    found: list[Requirement] = []
    for where, table in _uv_tables(folder, document):
        _refuse(table, _REFUSED, where)
        for key, (harmless, variable) in _CHOICES.items():
            value = str(table.get(key, ""))
            if value and value not in (*harmless, environment.get(variable)):
                raise UsageError(
                    f"{where}: {key} decides which versions are taken, and a spec has no such setting",
                    hint=f"Set {variable}={value} when you lock, and run this again; or take it out.",
                )
        found += [check_requirement(text, where) for text in _converted(table, _Uv, where).constraint_dependencies]
    return tuple(found)


def check_sources(folder: Path, document: Mapping[str, Any]) -> None:
    """Nothing, if no tool takes one of the `[project]`'s dependencies from elsewhere or otherwise than it is asked for.

    Raises:
        UsageError: one does.
    """
    where = folder / PYPROJECT
    for name, sources in _table(document, "tool", "uv", "sources").items():
        for source in sources if isinstance(sources, list) else [sources]:
            if kind := next((key for key in _ELSEWHERE if isinstance(source, dict) and source.get(key)), None):
                raise UsageError(
                    f"{where}: [tool.uv.sources] takes {name} from elsewhere ({kind})",
                    hint="Put its wheel in a folder, name that in UV_FIND_LINKS, and take the entry out.",
                )
    for name, asked in _table(document, "tool", "poetry", "dependencies").items():
        # A source is an index, which is held against the variables.
        if name != "python" and not (isinstance(asked, dict) and asked.keys() <= {"source", "optional"}):
            raise UsageError(
                f"{where}: [tool.poetry.dependencies] asks for {name} beside [project]",
                hint="Poetry puts the two together, other tools read [project] alone: write it all there.",
            )
    _refuse(_table(document, "tool", "pdm", "resolution"), _PDM_REFUSED, f"{where}, [tool.pdm.resolution]")


def check_configured(index: Index, environment: Mapping[str, str]) -> None:
    """Nothing, if uv is set to an index: a spec names no hosts, and another index may have other packages.

    Raises:
        UsageError: it is not.
    """
    variables, own = uv_environment(environment), uv_configuration(environment)
    names = (_DEFAULT_INDEX, "UV_INDEX_URL", _INDEX, "UV_EXTRA_INDEX_URL", _LINKS)
    words = [word for name in names for word in variables.get(name, "").replace(",", " ").split()]
    words += [*own.indexes, *own.links]
    if _bare(index.address) not in {_bare(word.partition("=")[2] if _is_named(word) else word) for word in words}:
        raise UsageError(
            f"{index.where}: packages are to come from {redact_text(index.address)}, and a spec names no index",
            hint=f"Set {index.variable} to it when you lock and build (README, mirrors), and run this again.",
        )


def _indexes(folder: Path, document: Mapping[str, Any]) -> Iterator[Index]:
    for where, table in _uv_tables(folder, document):
        uv = _converted(table, _Uv, where)
        for index in uv.index:
            yield Index(_DEFAULT_INDEX if index.default else _INDEX, index.url or "", f"{where}, index")
        if uv.index_url:
            yield Index(_DEFAULT_INDEX, uv.index_url, f"{where}, index-url")
        for address in uv.extra_index_url:
            yield Index(_INDEX, address, f"{where}, extra-index-url")
        for place in uv.find_links:
            address = place if "://" in place else str((folder / place).resolve())
            yield Index(_LINKS, address, f"{where}, find-links")
    for tool in ("poetry", "pdm"):
        where = f"{folder / PYPROJECT}, [tool.{tool}.source]"
        for source in _converted(_table(document, "tool", tool), _Sources, where).source:
            if source.url:
                variable = _DEFAULT_INDEX if source.priority in ("primary", "default") else _INDEX
                yield Index(_LINKS if source.type == "find_links" else variable, source.url, where)


def _uv_tables(folder: Path, document: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What a project sets for uv, in each place where uv may look for it, and how errors name that."""
    tables = [(f"{folder / PYPROJECT}, [tool.uv]", _table(document, "tool", "uv"))]
    if (folder / UV_FILE).is_file():
        tables.append((str(folder / UV_FILE), read_toml(folder / UV_FILE)))
    return [*tables, *((f"{where}, pip", _table(table, "pip")) for where, table in tables)]


def _refuse(table: Mapping[str, Any], refused: Mapping[str, str], where: str) -> None:
    for key, hint in refused.items():
        if table.get(key):
            raise UsageError(f"{where}: {key} cannot be taken over", hint=hint)


def _table(document: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The table at the end of some keys; nothing where there is none."""
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _converted(table: Mapping[str, Any], kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}") from error


def _is_named(word: str) -> bool:
    """Whether it is uv's `name=address`."""
    name, equals, _ = word.partition("=")
    return bool(equals) and "/" not in name and ":" not in name


def _bare(address: str) -> str:
    """An address without credentials and the slash at its end."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
