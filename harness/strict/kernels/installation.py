"""Puts the kernels of a profile into torch as it is imported, and says afterwards whether they are still there."""

import sys
from typing import Any

from harness.strict.kernels.attention import replace_attention
from harness.strict.kernels.convolutions import replace_convolutions
from harness.strict.kernels.decompositions import replace_cholesky
from harness.strict.kernels.functions import FUNCTIONS, replace_functions
from harness.strict.kernels.library import Registered
from harness.strict.kernels.products import replace_products
from harness.strict.kernels.recurrent import replace_layers
from harness.strict.kernels.refused import read_table, refuse_operators

PORTABLE = "x86-64-v3"
LEAST = 2**24
"""Multiplications from which a product is routed under `native`: below, the call costs what it gains."""

# Left on the torch module, which lives as long as the kernels do: capture and the last check look there.
_MARK, _SELECTED = "_harness_kernels", "_harness_kernels_selected"


def install(torch: Any, profile: str, *, vendor: str, threads: int = 1) -> None:
    """Register the kernels of `profile` with torch; `vendor` is the processor's (`GenuineIntel`, …).

    Under `native` only large products of two matrices move, where MKL is the slower: on one thread, on other processors
    than Intel's.
    """
    if hasattr(torch, _MARK):
        return
    registered = Registered(torch)
    selected: dict[str, str] = {}
    if profile == PORTABLE:
        swept, operators = read_table()
        replace_products(registered)
        replace_functions(registered)
        replace_cholesky(registered)
        replace_convolutions(registered)
        replace_layers(registered)
        replace_attention(registered)
        refused = refuse_operators(registered, operators)
        selected = {
            "products": "openblas", **dict.fromkeys(FUNCTIONS, "numpy"), "cholesky": "openblas", "lstm": "steps",
            "attention": "products", "low_precision": "float32", "refused": str(len(refused)),
            "operators": swept or "not swept",
        }  # fmt: skip
        if swept and swept != str(torch.__version__):
            sys.stderr.write(
                f"harness: this is torch {torch.__version__}; which operators have the same bits on every processor "
                f"was found out for torch {swept}\n"
            )
    elif threads == 1 and vendor != "GenuineIntel":
        replace_products(registered, least=LEAST, low_precision=False, batches=False)
        selected = {"products": f"openblas from {LEAST} multiplications"}
    else:
        selected = {"products": "mkl"}
    setattr(torch, _MARK, registered)
    setattr(torch, _SELECTED, selected)


def selected(torch: Any) -> dict[str, str]:
    """What was installed, by name; empty in a process without such kernels."""
    return dict(vars(torch).get(_SELECTED, {}))


def replaced_since(torch: Any) -> list[str]:
    """The operators whose kernels are no longer those that were installed."""
    registered: Registered | None = vars(torch).get(_MARK)
    return [] if registered is None else registered.changed()
