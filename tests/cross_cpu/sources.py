"""A digest of the kernels' modules, committed beside the table: nobody changes kernels without noticing.

Who changes them commits the new digest where no bit can move, and raises `VERSION`, by which records are keyed, where
one can.
"""

import ast
import hashlib
from pathlib import Path

from harness.strict.kernels import version

FOLDER = Path(version.__file__).parent
DECIDE_NOTHING = frozenset({"__init__.py", "refused.py", "version.py"})
"""Modules that decide no bit: what is refused is not computed."""


def kernels() -> dict[str, str]:
    """The version and the digest of the kernels of this checkout, as a worker notes them."""
    return {"version": version.VERSION, "kernels": digest_sources()}


def digest_sources(folder: Path = FOLDER) -> str:
    """SHA-256 over the kernels' modules as Python reads them, in hexadecimal: comments and docstrings do not count."""
    hasher = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        if path.name not in DECIDE_NOTHING:
            hasher.update(f"{path.name}\n{normalise(path.read_text(encoding='utf-8'))}\n".encode())
    return hasher.hexdigest()


def normalise(source: str) -> str:
    """A module's syntax tree as text, without docstrings, places, comments and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
