"""Which requirement asks for a Python package: uv's annotations, for a change that a person is to understand."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.errors import ToolError
from harness.store.index import pip_compile

_PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==")
_VIA = re.compile(r"    #(?: via |   )(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*$")


def requirers(
    arguments: Sequence[str], requirements: Sequence[str], versions: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """By package: the requirements that name it, as they are written, and the packages that need it.

    `versions` is what the requirements were resolved to. Where uv has no answer to that, nothing is known.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "versions.txt"
        pins.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
        text = "".join(f"{requirement}\n" for requirement in requirements)
        try:
            said = pip_compile(
                [*arguments, "--constraint", str(pins)], text, environment, cwd=Path(folder), annotate=True
            ).decode()
        except ToolError:
            said = ""
    found = {name: [text] for text in requirements if (name := _name(text)) is not None}
    for name, others in _via(said).items():
        found[name] = [*found.get(name, []), *others]
    return {name: tuple(others) for name, others in found.items()}


def _via(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if package := _PACKAGE.match(line):
            name = canonicalize_name(package["name"])
        elif (via := _VIA.match(line)) and name:
            found.setdefault(name, []).append(canonicalize_name(via["name"]))
    return found


def _name(requirement: str) -> str | None:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return None
