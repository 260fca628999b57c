"""Estimators from a user's own module: `plugin: "module:factory"`.

`factory(base_config, seed, problem_kind)` gives an object with `Estimator`'s methods (`overrides` may be left out).
"""

import importlib
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import HarnessError, UsageError
from harness.strict.models.interface import Estimator, Settings

KEY = "plugin"
LIBRARIES_KEY = "libraries"
_METHODS = ("fit", "predict", "feature_importances", "canonical", "save")


class PluginLibrary:
    """Makes estimators by a user's factory; nothing is known of them but what they do."""

    imports: tuple[str, ...] = ("numpy",)
    thread_invariant = False
    segmented = False
    unsigned: frozenset[str] = frozenset()

    def __call__(self, config: Mapping[str, Any], settings: Settings) -> Estimator:
        """The user's estimator for `config`, which loses the keys that only say where it comes from."""
        factory = find_factory(config)
        own = {name: value for name, value in config.items() if name not in (KEY, LIBRARIES_KEY)}
        try:
            made = factory(own, settings.seed, settings.kind.value)
        except HarnessError:
            raise
        except Exception as error:
            traceback.print_exc()
            raise UsageError(
                f"{KEY}: {config[KEY]} cannot make an estimator: {error}",
                hint="Its traceback is in the run's log; it is called as factory(base_config, seed, problem_kind).",
            ) from error
        return checked(made, str(config[KEY]))


def find_factory(config: Mapping[str, Any]) -> Callable[..., Any]:
    """The factory that `config["plugin"]` names.

    Raises:
        UsageError: it names none that can be imported.
    """
    return find_callable(config.get(KEY), KEY, "factory(base_config, seed, problem_kind)")


def find_callable(place: Any, key: str, call: str) -> Callable[..., Any]:
    """What `place`, "module:name", names in a user's module; `key` and `call` say in messages what it is for.

    Raises:
        UsageError: it names nothing that can be imported and called.
    """
    module_name, colon, name = place.partition(":") if isinstance(place, str) else ("", "", "")
    if not (module_name and colon and name):
        raise UsageError(f"{key} is {place!r}", hint=f'Write it as "module:{call.partition("(")[0]}".')
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{key}: {place} cannot be imported: {error}", hint="The module must be on PYTHONPATH in the run."
        ) from error
    if not callable(factory):
        raise UsageError(f"{key}: {place} cannot be called", hint=call)
    found: Callable[..., Any] = factory
    return found


def checked(made: Any, place: str) -> Estimator:
    """What a factory made, if it has an estimator's methods.

    Raises:
        UsageError: a method is missing.
    """
    missing = [name for name in _METHODS if not callable(getattr(made, name, None))]
    if missing:
        raise UsageError(f"{KEY}: what {place} made has no {', '.join(missing)}", hint="See the Estimator protocol.")
    estimator: Estimator = made
    return estimator
