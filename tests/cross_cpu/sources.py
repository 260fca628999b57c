"""What records were made with: the edition of the kernels and the libraries; and a digest of the kernels' modules.

The digest is committed beside the table, so that nobody changes kernels without noticing: who changes them commits the
new digest where no bit can move, and raises `version.SWEPT`, by which records are keyed, where one can.
"""

import ast
import hashlib
from importlib.metadata import version as installed
from pathlib import Path

from harness.strict.kernels import version

FOLDER = Path(version.__file__).parent
DECIDE_NOTHING = frozenset({"__init__.py", "refused.py", "version.py"})
"""Modules that decide no bit: what is refused is not computed."""
BESIDE = (FOLDER.parent / "least_squares.py",)
"""Modules that decide bits and are none of the kernels': they are in effect in every profile."""
LIBRARIES = {"torch": "torch", "numpy": "numpy", "lightgbm": "lightgbm", "xgboost": "xgboost-cpu"}
"""By name the distributions whose versions are part of what was shown: some kernels are NumPy's, fits the others'.

The first sweeps noted torch's alone. Their records, made with NumPy 2.4.6, LightGBM 4.7.0 and XGBoost 3.2.0, the only
ones that the host environment's lock had named by then, were given these three once.
"""


def kernels() -> dict[str, str]:
    """The edition that was swept and the digest of the kernels of this checkout, as a worker notes them."""
    return {"version": version.SWEPT, "kernels": digest_sources()}


def libraries() -> dict[str, str]:
    """The versions of `LIBRARIES` that are installed."""
    return {name: installed(distribution) for name, distribution in LIBRARIES.items()}


def key() -> dict[str, str]:
    """What records must have been made with to count here."""
    return {"version": version.SWEPT, **libraries()}


def digest_sources(folder: Path = FOLDER) -> str:
    """SHA-256 over the kernels' modules as Python reads them, in hexadecimal: comments and docstrings do not count."""
    hasher = hashlib.sha256()
    for path in (*sorted(folder.glob("*.py")), *BESIDE):
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
