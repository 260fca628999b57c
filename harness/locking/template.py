"""A new spec for somebody's project, made from the one of the CPU image, comments and reasons included.

`template.yaml` is a link to `docker/cpu.yaml`: what that image learns, new specs have.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from harness.errors import UsageError
from harness.locking.imagespec import ImageSpec
from harness.spec.documents import parse_document

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._*\[\]=<>!~,+/-]*")
_TOP = re.compile(r"^([a-z_]+):", re.MULTILINE)


@cache
def template() -> ImageSpec:
    """The spec that new ones are made from."""
    return parse_document(_text(), ImageSpec, "template.yaml")


def render_spec(
    *,
    name: str,
    title: str,
    variant: str,
    requirements: Sequence[str],
    apt: Sequence[str] = (),
    waive: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    base: str | None = None,
) -> str:
    """The text of a spec.

    `title` is a comment at its top. What `apt`, `waive` and `files` hold comes on top of the template's.
    """
    blocks = _blocks()
    python = template().python
    present = set(template().debian.packages)
    head = [f"# {title}", f"name: {name}", f"variant: {variant}"]
    if base is not None:
        head.append(f"base: {_scalar(base)} # its layers go under these")
    packages = [f"    - {package} # asked for by this project" for package in apt if package not in present]
    blocks["debian"] = _after_list(blocks["debian"], "packages", packages)
    excluded = [pattern for pattern in python.exclude if not pattern.startswith("*")]
    blocks["python"] = "\n".join(
        [
            "python:",
            f'  version: "{python.version}"',
            f"  platform: {python.platform}",
            "  requirements:",
            *(f"    - {_scalar(requirement)}" for requirement in requirements),
            "  exclude: # what no run imports, below dist-packages",
            *(f"    - {_scalar(pattern)}" for pattern in excluded),
        ]
    )
    for path, text in (files or {}).items():
        blocks["files"] += f"\n  {_scalar(path)}: |\n" + "\n".join(f"    {line}" for line in text.splitlines())
    for package, reason in (waive or {}).items():
        blocks["postinst"] += f"\n  {package}: {_scalar(reason, text=True)}"
    order = [key for key in blocks if key != "name"]
    return "\n\n".join(["\n".join(head), *(blocks[key] for key in order)]) + "\n"


def _text() -> str:
    return resources.files("harness").joinpath("locking", "template.yaml").read_text(encoding="utf-8")


def _blocks() -> dict[str, str]:
    """The template's paragraphs by their first key, in its order."""
    blocks: dict[str, str] = {}
    for paragraph in re.split(r"\n{2,}", _text().strip()):
        found = _TOP.search(paragraph)
        if found is None:
            raise UsageError("docker/cpu.yaml has a paragraph that begins with no key, so it can be no template")
        blocks[found[1]] = paragraph
    return blocks


def _after_list(block: str, key: str, lines: Sequence[str]) -> str:
    """A block with `lines` put at the end of its list `key`."""
    before, _, rest = block.partition(f"  {key}:\n")
    items = re.match(r"(?:    - .*\n?)+", rest)
    end = items.end() if items else 0
    listed = rest[:end].rstrip("\n")
    return "\n".join(filter(None, [f"{before}  {key}:", listed, *lines, rest[end:]]))


def _scalar(value: str, *, text: bool = False) -> str:
    """A text in YAML: as it is where that can mean nothing else, else in double quotes (JSON is YAML)."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9 ,;./()-]*", value) if text else _PLAIN.fullmatch(value)
    if plain or value.startswith("/"):
        return value
    return json.dumps(value, ensure_ascii=False)
