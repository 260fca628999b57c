"""Put a function in the place of another, by whose name `pickle` finds it still. Standard library only."""

import gc
from types import ModuleType
from typing import Any


def replace(holder: ModuleType | type, name: str, call: Any) -> None:
    """Make `call` the function `name` of a module or a class, and say so in its own names.

    `multiprocessing` sends a function by module and name, and refuses one that it does not find there again.
    """
    call.__name__ = name
    if isinstance(holder, type):
        call.__module__, call.__qualname__ = holder.__module__, f"{holder.__qualname__}.{name}"
    else:
        call.__module__, call.__qualname__ = holder.__name__, name
    if call.__doc__ is None:
        call.__doc__ = getattr(getattr(holder, name, None), "__doc__", None)
    setattr(holder, name, call)


def replace_method(kind: type, name: str, call: Any) -> None:
    """Make `call` the method `name` of a closed type, one of native code's, which lets nobody assign to it."""
    import ctypes  # what has closed types has imported it

    call.__module__, call.__name__, call.__qualname__ = kind.__module__, name, f"{kind.__qualname__}.{name}"
    call.__doc__ = getattr(kind, name).__doc__
    (members,) = gc.get_referents(vars(kind))
    members[name] = call
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))
