"""Kernels registered in place of torch's own, which stay at hand for whatever the new ones do not take.

Below the dispatch key `CPU` there is no autograd any more: torch records its own derivatives of an operator, whose
kernel is then ours, so gradients of every order stay intact. Standard library only; torch is handed in.
https://docs.pytorch.org/docs/stable/library.html
"""

import re
import warnings
from collections.abc import Callable
from typing import Any

Kernel = Callable[..., Any]


class Registered:
    """What has been registered in one process, by operator and dispatch key."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self._libraries: dict[str, Any] = {}
        self._replaced: set[tuple[str, str]] = set()

    def replace(self, operator: str, kernel: Kernel, key: str = "CPU") -> None:
        """Make `kernel` what runs for `operator` (`aten::mm.out`) on `key`."""
        if key not in self._libraries:
            # What torch.library.Library is made of; that one would take its kernels back before a process has ended.
            self._libraries[key] = self.torch._C._dispatch_library("IMPL", "aten", key, __name__, 0)
        with warnings.catch_warnings():
            # torch warns, once in a process, that a kernel of its own is replaced: here that is what is meant.
            warnings.simplefilter("ignore")
            self._libraries[key].impl(operator.removeprefix("aten::"), key, kernel, False)
        self._replaced.add((operator, key))

    def original(self, operator: str, key: str = "CPU") -> Kernel:
        """The kernel that torch itself has of `operator` on `key`; asked before it is replaced."""
        kernel = self.torch.library.get_kernel(operator, key)
        keys = self.torch._C.DispatchKeySet(getattr(self.torch._C.DispatchKey, key))

        def call(*arguments: Any, **keywords: Any) -> Any:
            return kernel.call_boxed(keys, *arguments, **keywords)

        return call

    def has(self, operator: str, key: str = "CPU") -> bool:
        """Whether this torch knows `operator` and can run it on `key`."""
        try:
            return bool(self.torch._C._dispatch_has_computed_kernel_for_dispatch_key(operator, key))
        except RuntimeError:
            return False

    def withdraw(self) -> None:
        """Give torch its own kernels back."""
        for library in self._libraries.values():
            library.reset()
        self._libraries.clear()
        self._replaced.clear()

    def changed(self) -> list[str]:
        """The operators whose kernel is no longer the one registered here, sorted."""
        return sorted({operator for operator, key in self._replaced if not self._is_ours(operator, key)})

    def _is_ours(self, operator: str, key: str) -> bool:
        """Whether the kernel in effect was registered here: torch's own list says where each one was."""
        match = re.search(rf"^{key}: registered at (\S+):0 ", self.torch._C._dispatch_dump(operator), re.MULTILINE)
        return match is not None and match.group(1) == __name__
