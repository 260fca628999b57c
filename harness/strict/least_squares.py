"""`torch.linalg.lstsq` on the CPU without LAPACK's `gelsy`, torch's default there, which does not repeat.

`gelsy` moves columns, and is told by `JPVT` which ones to leave in front. torch gives it memory that nobody wrote, and
for every further matrix of a batch what the one before left there. So the bits of an answer, and for a matrix without
full rank its rank too, depend on what lay there; were it filled, no column would ever move, and a first column of zeros
would make the rank 0. `gelsd` has no such input, and finds the rank by singular values.
https://github.com/pytorch/pytorch/issues/71222

Standard library only; torch is handed in.
"""

import re
from typing import Any

_OPERATOR = "aten::linalg_lstsq.out"  # what the overload without `out` calls too
# Between autograd, which stays torch's own, and the kernels of the devices, to which it hands on.
_KEY = "BackendSelect"
# Left on the torch module, which lives as long as the kernel does: torch takes it back with the library it is of.
_MARK = "_harness_least_squares"


class NotRepeatableError(RuntimeError):
    """A driver of `torch.linalg.lstsq` that a strict run refuses: what it gives depends on memory that nobody wrote."""

    def __init__(self, driver: str) -> None:
        super().__init__(
            f"torch.linalg.lstsq with driver={driver!r} is refused in a strict run: on the CPU torch lets it read "
            "memory that nobody wrote, so that neither bits nor ranks repeat.\n"
            "  Leave the driver out or ask for 'gelsd'; 'gels', where every matrix has full rank, is faster."
        )


def install(torch: Any) -> None:
    """Solve by `gelsd` where a program names no driver, and refuse `gelsy` by name; once in a process.

    Other drivers and other devices are torch's own. What torch's default leaves empty (residuals and singular values)
    stays empty.
    """
    if hasattr(torch, _MARK):
        return
    lstsq = torch.ops.aten.linalg_lstsq.out
    below = torch._C._dispatch_keyset_full_after(getattr(torch._C.DispatchKey, _KEY))

    def solve(self: Any, b: Any, rcond: float | None = None, *, driver: str | None = None, **out: Any) -> Any:
        chosen = _choose(driver) if self.is_cpu else driver
        result = lstsq.redispatch(torch._C._dispatch_keys(self) & below, self, b, rcond, driver=chosen, **out)
        if chosen != driver:
            out["residuals"].resize_(0)
            out["singular_values"].resize_(0)
        return result

    library = torch._C._dispatch_library("IMPL", "aten", _KEY, __name__, 0)
    library.impl(_OPERATOR.removeprefix("aten::"), _KEY, solve)
    setattr(torch, _MARK, library)


def _choose(driver: str | None) -> str:
    if driver is not None and driver.lower() == "gelsy":
        raise NotRepeatableError(driver)
    return driver or "gelsd"


def replaced_since(torch: Any) -> list[str]:
    """The operator, where another kernel has taken the place of the one that was installed."""
    if not hasattr(torch, _MARK):
        return []
    ours = rf"^{_KEY}: registered at {re.escape(__name__)}:0 "
    return [] if re.search(ours, torch._C._dispatch_dump(_OPERATOR), re.MULTILINE) else [_OPERATOR]
