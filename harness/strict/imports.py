"""Call a function on a module once it has been imported, whoever imports it. Standard library only."""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Callback = Callable[[ModuleType], None]


def when_imported(name: str, callback: Callback) -> None:
    """Call `callback` on the module `name`: now where it is imported already, else right after its import.

    Callbacks for one module run in the order in which they were given. What a callback raises, the import raises.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        callback(module)
        return
    _FINDER.pending.setdefault(name, []).append(callback)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _Finder:
    """Finds nothing itself: it wraps the loader that the other finders found for a module that is waited for."""

    def __init__(self) -> None:
        self.pending: dict[str, list[Callback]] = {}
        self._looking: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # A script that imports this package has a finder beside the hook's: each of the two asks the other.
        if name not in self.pending or name in self._looking:
            return None
        self._looking.add(name)
        try:
            return self._find(name, path, target)
        finally:
            self._looking.discard(name)

    def _find(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if finder is not self and find is not None else None
            if spec is not None:
                if spec.loader is not None:
                    self._wrap(name, spec.loader)
                return spec  # type: ignore[no-any-return]
        return None

    def _wrap(self, name: str, loader: object) -> None:
        """Make one loader, which serves one module, call back after it has run the module."""
        original = loader.exec_module  # type: ignore[attr-defined]

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            original(module)
            for callback in self.pending.pop(name, []):
                callback(module)

        loader.exec_module = exec_module  # type: ignore[attr-defined]


_FINDER = _Finder()
