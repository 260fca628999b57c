"""Puts the kernels of `x86-64-v3` into torch as it is imported, and says afterwards whether they are still there.

`native` has none: torch's own are its fastest.
"""

import sys
from typing import Any

from harness.strict.kernels.attention import replace_attention
from harness.strict.kernels.convolutions import replace_convolutions
from harness.strict.kernels.decompositions import replace_cholesky
from harness.strict.kernels.functions import FUNCTIONS, replace_functions
from harness.strict.kernels.library import Registered
from harness.strict.kernels.products import replace_products
from harness.strict.kernels.recurrent import replace_layers
from harness.strict.kernels.refused import Table, read_table, refuse_operators

# Left on the torch module, which lives as long as the kernels do: capture and the last check look there.
_MARK, _SELECTED = "_harness_kernels", "_harness_kernels_selected"


def install(torch: Any) -> None:
    """Register all of them with torch, once in a process."""
    if hasattr(torch, _MARK):
        return
    registered = Registered(torch)
    table = read_table()
    replace_products(registered)
    replace_functions(registered)
    replace_cholesky(registered)
    replace_convolutions(registered)
    replace_layers(registered)
    replace_attention(registered)
    refused = refuse_operators(registered, table.operators)
    selected = {
        "products": "onednn, openblas", **dict.fromkeys(FUNCTIONS, "numpy"), "cholesky": "openblas", "lstm": "steps",
        "attention": "products", "low_precision": "float32", "refused": str(len(refused)),
        "operators": table.swept.get("torch", "not swept"),
    }  # fmt: skip
    if other := _not_swept(torch, table):
        sys.stderr.write(other)
    setattr(torch, _MARK, registered)
    setattr(torch, _SELECTED, selected)


def _not_swept(torch: Any, table: Table) -> str:
    """A line where torch, or NumPy whose functions some of the kernels are, is not of the version that was swept."""
    import numpy as np

    here = {"torch": str(torch.__version__), "numpy": str(np.__version__)}
    if all(here[name] == version for name, version in table.swept.items()):
        return ""
    words = [
        " with ".join(f"{name} {version}" for name, version in versions.items()) for versions in (here, table.swept)
    ]
    return (
        f"harness: this is {words[0]}; which operators have the same bits on every processor was found out for "
        f"{words[1]}\n"
    )


def selected(torch: Any) -> dict[str, str]:
    """What was installed, by name; empty in a process without such kernels."""
    return dict(vars(torch).get(_SELECTED, {}))


def replaced_since(torch: Any) -> list[str]:
    """The operators whose kernels are no longer those that were installed."""
    registered: Registered | None = vars(torch).get(_MARK)
    return [] if registered is None else registered.changed()
