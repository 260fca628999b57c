"""From an experiment's name and what the caller overrides to an experiment with nothing left to resolve."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.spec.columns import parse_features, parse_targets
from harness.spec.documents import KeyPath, Origin, convert_document, key_path, load_document, suggestion
from harness.spec.experiment import BUILT_IN_FAMILIES, LIBRARY_KEY, PLUGIN_KEY, Data, Experiment, Reproducibility, View
from harness.spec.names import check_name, check_names
from harness.spec.reproducibility import resolve
from harness.spec.run import Mode

SUFFIXES = (".yaml", ".yml")

_PLUGIN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_EPOCH = date(1970, 1, 1).toordinal()


def find_experiment(name: str, working_folder: Path) -> Path:
    """The file of an experiment: `name` as a path, else looked up in `experiments/` there, else in the package.

    Raises:
        UsageError: there is none; the error lists those that there are.
    """
    if "\0" in name:
        raise UsageError(f"There is no experiment {name[:60]!a}")
    try:
        if (working_folder / name).is_file():
            return working_folder / name
    except OSError as error:
        raise UsageError(f"There is no experiment {name[:60]!a}: {error.strerror}") from error
    folders = (working_folder / "experiments", Path(str(files("harness"))) / "configs" / "experiments")
    known = {path.stem: path for folder in reversed(folders) for path in _documents(folder)}
    if name in known:
        return known[name]
    what = "experiment file" if "/" in name or name.endswith(SUFFIXES) else "experiment"
    raise UsageError(f"There is no {what} {name[:60]!a}", hint=suggestion(name, sorted(known)))


def load_experiment(path: Path) -> Experiment:
    """The experiment in the file `path`, its keys checked; `resolve_experiment` checks what they mean together.

    Raises:
        UsageError: the file cannot be read, or a key is unknown, missing or mistyped.
    """
    return load_document(path, Experiment)


def resolve_experiment(
    experiment: Experiment,
    *,
    quick: bool = False,
    environ: Mapping[str, str] | None = None,
    data: str | None = None,
    symbols: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    families: Sequence[str] | None = None,
    mode: Mode | None = None,
    seed: int | None = None,
) -> Experiment:
    """The experiment with `quick`, the variables in `environ`, and then the caller's overrides applied.

    Null overrides leave what it says. `data` is the path of a panel to use instead of the experiment's. `families`
    picks among the experiment's. With `symbols`, only those of them that `symbol_specific` names are trained alone; if
    it names none, all are.

    Raises:
        UsageError: something in it makes no sense: the error names the key. The keys in `quick` are checked even where
            it isn't applied.
    """
    shortened = _quickened(experiment)
    resolved = msgspec.structs.replace(shortened if quick else experiment, quick={})
    if data is not None:
        resolved = _replace(resolved, data=msgspec.structs.replace(resolved.data, dataset=None, path=data))
    if symbols is not None:
        resolved = _with_symbols(resolved, symbols)
    if targets is not None:
        resolved = _replace(resolved, targets=tuple(targets))
    if features is not None:
        resolved = _replace(resolved, features=tuple(features))
    if families is not None:
        resolved = _replace(resolved, families=_picked(resolved.families, families))
    settings = resolved.reproducibility if environ is None else resolve(resolved.reproducibility, environ)
    if mode is not None:
        settings = msgspec.structs.replace(settings, mode=mode)
    if seed is not None:
        if seed < 0:
            raise UsageError(f"The seed is {seed}", hint="A seed is 0 or above.")
        settings = msgspec.structs.replace(settings, seed=seed)
    resolved = _replace(resolved, reproducibility=settings)
    _check(resolved, f"{experiment.name} with quick" if quick else experiment.name)
    return resolved


def day_number(text: str, key: str) -> int:
    """A date as days since 1970-01-01.

    Raises:
        UsageError: `text` is not a date in the form `YYYY-MM-DD`; `key` is what the error calls it.
    """
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError(text)
        return date.fromisoformat(text).toordinal() - _EPOCH
    except ValueError as error:
        raise UsageError(f"{key} {text[:40]!a} is not a date", hint="Write it as YYYY-MM-DD.") from error


def _documents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES) if folder.is_dir() else []


def _replace(experiment: Experiment, **fields: Any) -> Experiment:
    return msgspec.structs.replace(experiment, **fields)


def _quickened(experiment: Experiment) -> Experiment:
    """The experiment with its `quick` merged in, key by key; lists are replaced."""
    origin = Origin(f"experiment {experiment.name}")
    for key in ("name", "quick"):
        if key in experiment.quick:
            raise origin.error(("quick", key), "cannot be overridden", "Leave it out.")
    families = experiment.quick.get("families")
    for family in families if isinstance(families, dict) else ():
        if family not in experiment.families:
            hint = suggestion(str(family), experiment.families)
            raise origin.error(("quick", "families", str(family)), "is not one of the experiment's families", hint)
    _check_finite(experiment.quick, ("quick",))
    merged = _merged(msgspec.to_builtins(experiment), experiment.quick)
    return convert_document({**merged, "quick": {}}, Origin(f"experiment {experiment.name} with quick"), Experiment)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _with_symbols(experiment: Experiment, symbols: Sequence[str]) -> Experiment:
    chosen = tuple(symbols)
    alone = tuple(symbol for symbol in experiment.symbol_specific if symbol in chosen)
    if View.SYMBOL_SPECIFIC in experiment.views and not alone:
        alone = chosen
    return _replace(experiment, data=msgspec.structs.replace(experiment.data, symbols=chosen), symbol_specific=alone)


def _picked(families: Mapping[str, dict[str, Any]], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    _distinct("families", names)
    for name in names:
        if name not in families:
            raise UsageError(f"The experiment has no family {name!a}", hint=suggestion(name, families))
    return {name: hyperparameters for name, hyperparameters in families.items() if name in names}


def _check(experiment: Experiment, what: str) -> None:
    """Refuse what makes no sense; `what` is what errors call the experiment."""
    try:
        check_name(experiment.name, "experiment")
        _check_data(experiment.data)
        for key in ("targets", "features", "families", "views"):
            if not getattr(experiment, key):
                raise UsageError(f"{key} is empty", hint=f"Name at least one of the {key}.")
            _distinct(key, getattr(experiment, key))
        parse_features(experiment.features)
        _check_purge(experiment)
        _check_views(experiment)
        _check_strict(experiment.reproducibility)
        for family, hyperparameters in experiment.families.items():
            _check_family(family, hyperparameters)
        check_names(experiment.families, "family")
    except UsageError as error:
        raise UsageError(f"In the experiment {what}: {error.message}", hint=error.hint) from error


def _distinct(key: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{key} has {value!a} twice", hint="Keep one of the two.")
        seen.add(value)


def _check_data(data: Data) -> None:
    if (data.dataset is None) == (data.path is None):
        both = "both a dataset and a path" if data.path is not None else "neither a dataset nor a path"
        raise UsageError(f"data has {both}", hint="Give one: data.dataset (from datasets.lock) or data.path.")
    if data.dataset is not None:
        check_name(data.dataset, "dataset")
    if data.path == "":
        raise UsageError("data.path is empty", hint="Give a panel file, or a folder with one.")
    if data.symbols is not None:
        if not data.symbols:
            raise UsageError("data.symbols is empty", hint="Name symbols, or leave it out to take all.")
        check_names(data.symbols, "symbol")
    columns = {"date_column": data.date_column, "symbol_column": data.symbol_column, "price_column": data.price_column}
    _distinct("data's column names", columns.values())
    start = day_number(data.start, "data.start") if data.start is not None else None
    end = day_number(data.end, "data.end") if data.end is not None else None
    if start is not None and end is not None and start > end:
        raise UsageError(f"data.start {data.start} is after data.end {data.end}")


def _check_purge(experiment: Experiment) -> None:
    purge = experiment.folds.purge
    for target in parse_targets(experiment.targets):
        if purge is not None and purge < target.horizon:
            raise UsageError(
                f"folds.purge is {purge}, shorter than the horizon of {target.name}: labels would leak into the test",
                hint="Leave folds.purge out, or make it at least the longest horizon.",
            )


def _check_views(experiment: Experiment) -> None:
    symbols, alone = experiment.data.symbols, experiment.symbol_specific
    check_names(alone, "symbol")
    if View.SYMBOL_SPECIFIC in experiment.views and not alone:
        raise UsageError("The view SYMBOL_SPECIFIC has no symbols", hint="Name them in symbol_specific.")
    if alone and View.SYMBOL_SPECIFIC not in experiment.views:
        raise UsageError(
            "symbol_specific names symbols, but views has no SYMBOL_SPECIFIC", hint="Add the view or drop the symbols."
        )
    for symbol in alone:
        if symbols is not None and symbol not in symbols:
            raise UsageError(f"symbol_specific has {symbol}, data.symbols has not", hint=suggestion(symbol, symbols))
    if View.CROSS_SECTIONAL in experiment.views and symbols is not None and len(symbols) < 2:
        raise UsageError(
            "The view CROSS_SECTIONAL needs at least two symbols", hint="Add symbols, or use SYMBOL_SPECIFIC alone."
        )


def _check_strict(settings: Reproducibility) -> None:
    """Refuse to switch off what a strict training run always does: a key that changes nothing would mislead."""
    always = {
        "require_env_vars": "requires its environment variables",
        "enforce_stable_ordering": "sorts targets, families and symbols",
    }
    for key, what in always.items():
        if settings.mode is Mode.STRICT and not getattr(settings.strict, key):
            raise UsageError(
                f"reproducibility.strict.{key} is false, and a strict run always {what}",
                hint="Remove the key, or use mode: best_effort.",
            )


def _check_family(family: str, hyperparameters: Mapping[str, Any]) -> None:
    """Refuse a family that is not known, and hyperparameters that would not reach the trainer as they are."""
    if PLUGIN_KEY in hyperparameters:
        _check_plugin(family, hyperparameters)
    elif LIBRARY_KEY in hyperparameters:
        _check_library(family, hyperparameters[LIBRARY_KEY])
    elif family not in BUILT_IN_FAMILIES:
        known = suggestion(family, BUILT_IN_FAMILIES)
        hint = f'{known} A family of your own says library: lightgbm (or another), or plugin: "module:factory".'
        raise UsageError(f"There is no family {family!a}", hint=hint)
    _check_finite(hyperparameters, ("families", family))


def _check_plugin(family: str, hyperparameters: Mapping[str, Any]) -> None:
    plugin = hyperparameters[PLUGIN_KEY]
    if family in BUILT_IN_FAMILIES:
        raise UsageError(f"families.{family} names a plug-in, but {family} is built in", hint="Call it something else.")
    if LIBRARY_KEY in hyperparameters:
        raise UsageError(f"families.{family} has both {PLUGIN_KEY} and {LIBRARY_KEY}", hint="Keep one of the two.")
    if not isinstance(plugin, str) or not _PLUGIN.fullmatch(plugin):
        raise UsageError(f"families.{family}.plugin is {str(plugin)[:60]!a}", hint='Write it as "module:factory".')


def _check_library(family: str, library: Any) -> None:
    known = sorted(set(BUILT_IN_FAMILIES.values()))
    if library not in known:
        text = str(library)[:60]
        raise UsageError(f"families.{family}.library is {text!a}, no known library", hint=suggestion(text, known))
    if BUILT_IN_FAMILIES.get(family, library) != library:
        raise UsageError(
            f"families.{family}.library is {library}, but {family} is built in", hint="Call it something else."
        )


def _check_finite(value: Any, place: KeyPath) -> None:
    """Refuse NaN and infinity at any depth: the task is JSON, which has neither and would say null for them.

    A trainer takes null for "the library's own default", so the run would train something else than was asked for.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_finite(item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_finite(item, (*place, index))
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{key_path(place)} is {value}", hint="Give a number, or leave the key out for the default.")
