"""A user's project: what its `pyproject.toml` or requirements file asks for, and what it says of an image."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidName, canonicalize_name

from harness.errors import UsageError
from harness.locking.imagespec import PackageName
from harness.locking.requirementsfile import check_no_address, read_requirements_file
from harness.locking.toolsettings import (
    PYPROJECT,
    check_configured,
    check_indexes,
    check_sources,
    read_constraints,
    read_toml,
)
from harness.spec.digest import Digest
from harness.spec.documents import load_document
from harness.store.http import redact_text

REQUIREMENTS, SETTINGS = "requirements.txt", "harness.yaml"
_OTHERS = ("setup.py", "setup.cfg", "environment.yml", "environment.yaml", "Pipfile", "poetry.lock", "uv.lock")
_EXPORT = "Export it (`uv export`, `poetry export`, `pip freeze`) to a file, and name that: --requirements FILE."
_MICRO = 40
"""No release series of Python has had as many versions."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a project says of its image, in `[tool.harness]` or `harness.yaml`; options of the command come on top.

    `apt` are Debian packages, `extras` and `groups` optional requirements, `waive` reasons by
    package why its maintainer scripts need not run.
    """

    apt: tuple[PackageName, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    waive: dict[str, str] = {}
    base: str | None = None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What a project asks for. `file` is where from, `name` what it calls itself.

    `roots` are the folders, relative to it, from which its own code is imported; empty if it is no package.
    """

    folder: Path
    file: str
    name: str
    requirements: tuple[str, ...]
    constraints: tuple[Requirement, ...] = ()
    hashes: dict[str, frozenset[Digest]] = {}
    requires_python: str = ""
    roots: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_settings(folder: Path) -> Settings:
    """What the project in `folder` says of its image.

    Raises:
        UsageError: a key is unknown or mistyped, or both files say something.
    """
    own = folder / SETTINGS
    table = _pyproject(folder).get("tool", {}).get("harness")
    if own.is_file():
        if table is not None:
            raise UsageError(f"{folder / PYPROJECT} and {own} both say how the image is made", hint="Keep one of them.")
        return load_document(own, Settings)
    try:
        return msgspec.convert(table or {}, Settings)
    except msgspec.ValidationError as error:
        raise UsageError(f"{folder / PYPROJECT}, [tool.harness]: {error}") from error


def read_project(
    folder: Path,
    *,
    file: Path | None = None,
    extras: Sequence[str] = (),
    groups: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Project:
    """What the project in `folder` asks for: `file`, or its `pyproject.toml`, or its `requirements.txt`.

    Raises:
        UsageError: it has none of these, or one that is not understood or cannot be taken over.
    """
    document = _pyproject(folder)
    check_indexes(folder, document, environment)
    if file is not None and file.suffix != ".toml":
        return _from_requirements(folder, file, extras, groups, environment)
    if file is not None and file.resolve() != (folder / PYPROJECT).resolve():
        raise UsageError(f"{file} is not the project's {PYPROJECT}", hint="Name a requirements file, or nothing.")
    constraints = read_constraints(folder, document, environment)
    requirements = folder / REQUIREMENTS
    project = document.get("project")
    says_nothing = project is None or not ("dependencies" in project or "dependencies" in project.get("dynamic", ()))
    if file is None and says_nothing and requirements.is_file() and not extras and not groups:
        found = _from_requirements(folder, requirements, extras, groups, environment)
    elif project is None:
        raise UsageError(_nothing_found(folder, document), hint=_EXPORT)
    else:
        found = _from_pyproject(folder, document, extras, groups, environment)
    return msgspec.structs.replace(found, constraints=(*found.constraints, *constraints))


def check_python(project: Project, version: str) -> None:
    """Nothing, if a project allows the interpreter's `version` (`3.11`).

    Raises:
        UsageError: its `requires-python` leaves it out.
    """
    allowed = _allowed(project)
    if not any(allowed.contains(f"{version}.{micro}") for micro in range(_MICRO)):
        raise UsageError(
            f"{project.file} asks for Python {project.requires_python}, and Debian's release here has {version}",
            hint=_WIDEN,
        )


def check_interpreter(project: Project, package: str, version: str) -> None:
    """Nothing, if a project allows the interpreter in a Debian `package` of some `version` (`3.11.2-6+deb12u8`).

    Raises:
        UsageError: its `requires-python` leaves it out.
    """
    upstream = version.partition("-")[0].replace("~", "")  # what Debian writes 3.13.0~rc1, Python calls 3.13.0rc1
    if not _allowed(project).contains(upstream, prereleases=True):
        raise UsageError(
            f"{project.file} asks for Python {project.requires_python}, and Debian's {package} {version} is {upstream}",
            hint=_WIDEN,
        )


_WIDEN = "The interpreter is Debian's: widen requires-python, or write a spec for another suite."


def _allowed(project: Project) -> SpecifierSet:
    try:
        return SpecifierSet(project.requires_python)
    except InvalidSpecifier as error:
        raise UsageError(f"{project.file}: requires-python is {project.requires_python!r}") from error


def _name(project: dict[str, Any], folder: Path) -> str:
    """What a project calls itself, or its folder is called."""
    if "name" not in project:
        return folder.resolve().name
    try:
        canonicalize_name(str(project["name"]), validate=True)
    except InvalidName as error:
        raise UsageError(
            f"{folder / PYPROJECT}: {str(project['name'])[:60]!r} is no name of a project",
            hint="It is of ASCII letters, digits, '-', '_' and '.', and begins and ends with a letter or digit.",
        ) from error
    return str(project["name"])


def _from_pyproject(
    folder: Path, document: dict[str, Any], extras: Sequence[str], groups: Sequence[str], environment: Mapping[str, str]
) -> Project:
    check_sources(folder, document)
    found, notes = _declared(folder, document, extras, groups, environment)
    project = document["project"]
    return Project(
        folder=folder,
        file=PYPROJECT,
        name=_name(project, folder),
        requirements=tuple(dict.fromkeys(str(requirement) for requirement in found.requirements)),
        constraints=found.constraints,
        hashes=found.hashes,
        requires_python=str(project.get("requires-python", "")),
        roots=_roots(folder),
        notes=tuple(notes),
    )


class _Declared(msgspec.Struct):
    requirements: list[Requirement]
    constraints: tuple[Requirement, ...] = ()
    hashes: dict[str, frozenset[Digest]] = {}


def _declared(
    folder: Path, document: dict[str, Any], extras: Sequence[str], groups: Sequence[str], environment: Mapping[str, str]
) -> tuple[_Declared, list[str]]:
    """The dependencies of a `pyproject.toml`, with those of some extras and groups."""
    where, project, notes = str(folder / PYPROJECT), document.get("project", {}), list[str]()
    found = _Declared([_requirement(text, where) for text in _list(project, "dependencies", where)])
    if "dependencies" in project.get("dynamic", ()):
        for name in _dynamic(document, where):
            other = _from_requirements(folder, folder / name, (), (), environment)
            found.requirements += [Requirement(text) for text in other.requirements]
            found.constraints += other.constraints
            found.hashes |= other.hashes
            notes += other.notes
    optional = _table(project, "optional-dependencies", where)
    for extra in extras:
        found.requirements += _extra(optional, extra, project, where, ())
    for group in groups:
        found.requirements += _group(_table(document, "dependency-groups", where), group, where, ())
    return found, notes


def _from_requirements(
    folder: Path, file: Path, extras: Sequence[str], groups: Sequence[str], environment: Mapping[str, str]
) -> Project:
    if extras or groups:
        raise UsageError(f"{file} has no extras and groups", hint="They are those of a pyproject.toml's [project].")
    read = read_requirements_file(file, folder)
    for index in read.indexes:
        check_configured(index, environment)
    requirements, constraints, hashes, notes = list(read.requirements), read.constraints, read.hashes, list(read.notes)
    for place, named in read.folders:
        own = place == folder.resolve()
        if not place.is_relative_to(folder.resolve()):
            raise UsageError(f"{file} installs {place}, which is not in the project", hint=_OUTSIDE)
        document = _pyproject(place)
        if not document.get("project"):
            notes.append(f"{place.name} is not installed and no setup.py is run: what it needs must be in {file.name}")
        else:
            found, more = _declared(place, document, named, (), environment)
            requirements += found.requirements
            notes += more
        if not own:
            notes.append(
                f"{place.relative_to(folder.resolve())} is in the project, and not installed: import it from there"
            )
    return Project(
        folder=folder,
        file=file.name,
        name=folder.resolve().name,
        requirements=tuple(dict.fromkeys(str(requirement) for requirement in requirements)),
        constraints=constraints,
        hashes=hashes,
        roots=_roots(folder),
        notes=tuple(notes),
    )


_OUTSIDE = "Build its wheel into a folder, name that in UV_FIND_LINKS, and ask for it by name."


def _extra(
    optional: dict[str, Any], name: str, project: dict[str, Any], where: str, above: tuple[str, ...]
) -> list[Requirement]:
    known = {canonicalize_name(key): value for key, value in optional.items()}
    key = canonicalize_name(name)
    if key not in known:
        raise UsageError(f"{where} has no extra {name!r}", hint=f"It has {', '.join(sorted(optional)) or 'none'}.")
    if key in above:
        raise UsageError(f"{where}: the extra {name} asks for itself")
    found = []
    for text in known[key]:
        requirement = _requirement(text, where)
        if canonicalize_name(requirement.name) == canonicalize_name(str(project.get("name", ""))):
            for other in sorted(requirement.extras):
                found += _extra(optional, other, project, where, (*above, key))
        else:
            found.append(requirement)
    return found


def _group(groups: dict[str, Any], name: str, where: str, above: tuple[str, ...]) -> list[Requirement]:
    """The requirements of a dependency group (https://peps.python.org/pep-0735/)."""
    known = {canonicalize_name(key): value for key, value in groups.items()}
    key = canonicalize_name(name)
    if key not in known:
        raise UsageError(f"{where} has no group {name!r}", hint=f"It has {', '.join(sorted(groups)) or 'none'}.")
    if key in above:
        raise UsageError(f"{where}: the group {name} includes itself")
    found = []
    for item in known[key]:
        if isinstance(item, str):
            found.append(_requirement(item, where))
        elif isinstance(item, dict) and set(item) == {"include-group"}:
            found += _group(groups, str(item["include-group"]), where, (*above, key))
        else:
            said = redact_text(str(item))[:100]
            raise UsageError(f"{where}: the group {name} holds {said!r}, which is neither a requirement nor a group")
    return found


def _dynamic(document: dict[str, Any], where: str) -> list[str]:
    """The files from which setuptools reads the dependencies."""
    files = document.get("tool", {}).get("setuptools", {}).get("dynamic", {}).get("dependencies", {}).get("file")
    if not files:
        raise UsageError(f"{where}: its dependencies are made up when it is built (dynamic)", hint=_EXPORT)
    return [files] if isinstance(files, str) else list(files)


def _roots(folder: Path) -> tuple[str, ...]:
    """From where a project's own packages are imported, as if it were installed in place."""
    if not any((folder / name).is_file() for name in (PYPROJECT, "setup.py", "setup.cfg")):
        return ()
    return (".", "src") if (folder / "src").is_dir() else (".",)


def _pyproject(folder: Path) -> dict[str, Any]:
    """The project's `pyproject.toml`; nothing where there is none."""
    return read_toml(folder / PYPROJECT) if (folder / PYPROJECT).is_file() else {}


def _nothing_found(folder: Path, document: dict[str, Any]) -> str:
    if document.get("tool", {}).get("poetry"):
        return f"{folder / PYPROJECT} has its dependencies in [tool.poetry] alone, not in [project]"
    others = [name for name in _OTHERS if (folder / name).is_file()]
    found = f", only {', '.join(others)}" if others else ""
    return f"{folder.resolve()} has neither a {PYPROJECT} with [project] nor a {REQUIREMENTS}{found}"


def _requirement(text: object, where: str) -> Requirement:
    try:
        requirement = Requirement(str(text))
    except InvalidRequirement as error:
        raise UsageError(f"{where}: {redact_text(str(text))[:100]!r} is not a requirement") from error
    check_no_address(requirement, where)
    return requirement


def _list(table: dict[str, Any], key: str, where: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise UsageError(f"{where}: {key} is not a list")
    return value


def _table(table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{where}: {key} is not a table")
    return value
