"""JSON schemas of what other programs read, made from the types: `python -m harness.release.schemas docs/schemas`."""

import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import ExitCode
from harness.record.files import write_atomically
from harness.record.jsonfile import pretty_json
from harness.record.touched import SCHEMA as TOUCHED_SCHEMA
from harness.record.touched import Touched
from harness.release.baseline import SCHEMA as BASELINE_SCHEMA
from harness.release.baseline import Baseline
from harness.release.matrix import SCHEMA as MATRIX_SCHEMA
from harness.release.matrix import Matrix
from harness.release.report import SCHEMA as DRIFT_SCHEMA
from harness.release.report import DriftReport

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_DOCUMENTS: dict[str, tuple[type[msgspec.Struct], str, str]] = {
    "baseline.json": (Baseline, BASELINE_SCHEMA, "A baseline: what an environment was at a release"),
    "drift.json": (DriftReport, DRIFT_SCHEMA, "What a drift check says"),
    "touched.json": (Touched, TOUCHED_SCHEMA, "What a script asked the system for"),
    "matrix.json": (Matrix, MATRIX_SCHEMA, "One experiment in every environment: what each and each pair answered"),
}


def schemas() -> dict[str, bytes]:
    """The schema files by name. In each, the document's own `schema` must be the version that it describes."""
    return {name: pretty_json(_schema(*described)) for name, described in _DOCUMENTS.items()}


def _schema(document: type[msgspec.Struct], version: str, title: str) -> dict[str, object]:
    (described,), components = msgspec.json.schema_components([document], ref_template="#/$defs/{name}")
    top = components[document.__name__]
    top["properties"]["schema"] = {"const": version}
    top["required"] = sorted({*top["required"], "schema"})
    identifier = f"urn:{re.sub(r'[./]', ':', version)}"
    return {"$schema": DIALECT, "$id": identifier, "title": title, "$defs": _portable(components), **described}


def _portable(node: Any) -> Any:
    r"""The schema with patterns as ECMA 262 writes them: `$` ends a text there, and `\Z` is a letter."""
    if isinstance(node, dict):
        return {
            key: re.sub(r"\\Z$", "$", value) if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in node.items()
        }
    return [_portable(item) for item in node] if isinstance(node, list | tuple) else node


def main(arguments: list[str]) -> int:
    """Write the schema files into the folder that is named; 2 where that is not possible."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write(
            "Name the folder that the schemas go to, as in python -m harness.release.schemas docs/schemas\n"
        )
        return ExitCode.USAGE
    for name, data in schemas().items():
        write_atomically(Path(arguments[0]) / name, data)
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
