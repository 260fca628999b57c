"""Numbers next to zero stay what they are: a library may not switch a thread to "flush to zero" behind its back.

A shared object that was linked with `-ffast-math` changes the arithmetic of whichever thread loads it, all of it, from
then on (`crtfastmath.o` sets FTZ and DAZ; https://gcc.gnu.org/bugzilla/show_bug.cgi?id=55522). So results would depend
on what was imported before. The switch is put back where the library was loaded through Python, and its name is said;
a thread in which it is found on later, when settings are verified, stops the run. Standard library only.
"""

import sys
from importlib.machinery import ExtensionFileLoader
from types import ModuleType
from typing import Any

from harness.errors import IntegrityError
from harness.strict.imports import when_imported
from harness.strict.replacing import replace

_SMALLEST_NORMAL = sys.float_info.min
_state = {"last_loaded": "none", "undoing": ""}


def flushed() -> bool:
    """Whether this thread takes numbers below 2.2e-308 for zero, in arithmetic or in comparisons."""
    return _SMALLEST_NORMAL * 0.5 == 0.0


def watch() -> None:
    """From now on put the switch back after each library that Python loads, and keep torch's own switch off."""
    original = ExtensionFileLoader.create_module

    def create_module(self: Any, spec: Any) -> ModuleType:
        before = flushed()
        module = original(self, spec)
        _check(str(spec.origin), before=before)
        return module

    replace(ExtensionFileLoader, "create_module", create_module)
    when_imported("ctypes", _watch_ctypes)
    when_imported("torch", _keep_torchs_switch)


def verify() -> None:
    """Check that this thread's arithmetic is the standard's (IEEE 754).

    Raises:
        IntegrityError: something switched it in a way that could not be seen.
    """
    if flushed():
        raise IntegrityError(
            f"numbers next to zero are flushed to zero (FTZ/DAZ): something switched this thread's arithmetic; the "
            f"last library that Python loaded is {_state['last_loaded']}",
            hint="Find what sets MXCSR or was linked with -ffast-math, and leave it out or build it without.",
        )


def _check(library: str, *, before: bool) -> None:
    """Put the switch back if `library` turned it; what was on `before` it was loaded stays for `verify` to find."""
    if _state["undoing"] or before:  # the C library, which is loaded to undo it
        return
    _state["last_loaded"] = library
    if flushed() and _switch_back(library):
        sys.stderr.write(f"harness: strict: {library} switched this thread to flush numbers next to zero: undone\n")


def _switch_back(library: str) -> bool:
    """Set the C library's default arithmetic; False where that is not possible, which `verify` will find."""
    _state["undoing"] = library
    try:
        import ctypes

        ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV, <fenv.h>
    except (ImportError, OSError, AttributeError):
        return False
    finally:
        _state["undoing"] = ""
    return not flushed()


def _watch_ctypes(module: Any) -> None:
    original = module._dlopen

    def dlopen(name: Any, *arguments: Any) -> Any:
        before = flushed()
        handle = original(name, *arguments)
        _check(str(name), before=before)
        return handle

    replace(module, "_dlopen", dlopen)


def _keep_torchs_switch(torch: Any) -> None:
    original = torch.set_flush_denormal

    def set_flush_denormal(mode: bool) -> bool:
        if mode:
            sys.stderr.write("harness: strict: torch.set_flush_denormal stays False, not True\n")
        done: bool = original(False)
        return done

    replace(torch, "set_flush_denormal", set_flush_denormal)
