"""Model families: what a family's name and hyperparameters mean, and the signatures of its cells."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from harness.errors import IntegrityError, UsageError
from harness.record.hashing import signature
from harness.record.jsonfile import pretty_json
from harness.spec.digest import Digest
from harness.spec.documents import suggestion
from harness.spec.experiment import BUILT_IN_FAMILIES, LIBRARY_KEY
from harness.spec.names import check_names
from harness.strict.estimators import find_library
from harness.strict.models.objective import has_objective
from harness.strict.models.plugin import KEY as PLUGIN
from harness.strict.models.plugin import LIBRARIES_KEY
from harness.strict.ordering import stable_sort

SCHEMA = "harness.hyperparameters/1"

# Features, targets and metrics are computed with it, whatever the family.
_ALWAYS_PROBED = "numpy"


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One model family of an experiment. `hyperparameters` are what `create_estimator` gets.

    `imports` are the modules its fits need, `probes` the libraries whose numerics can change its bits;
    `thread_invariant` says that in strict mode any number of threads was shown to give the same bits.
    """

    name: str
    library: str
    hyperparameters: dict[str, Any]
    imports: tuple[str, ...]
    probes: tuple[str, ...]
    thread_invariant: bool
    hyperparameters_signature: Digest

    def probe_signature(self, probes: Mapping[str, Mapping[str, str]]) -> Digest:
        """The digest over the probes of the libraries that this family uses; `probes` is by library and kernel.

        Raises:
            IntegrityError: a library was not probed.
        """
        if missing := [library for library in self.probes if library not in probes]:
            raise IntegrityError(
                f"Family {self.name} uses {', '.join(missing)}, which the run has not probed",
                hint="Both are the harness's own doing: start the run anew, and report it if it comes again.",
            )
        return signature({library: dict(probes[library]) for library in self.probes})

    def threads_in_group(self, threads: int, *, strict: bool) -> int | None:
        """What enters a cell's comparison group: the threads of a fit, unless they were shown to change no bit."""
        return None if strict and self.thread_invariant else threads


def resolve_families(
    families: Mapping[str, Mapping[str, Any]], checkpoint_every: int | None = None
) -> tuple[Family, ...]:
    """An experiment's families, by name; `checkpoint_every` is the length of the segments in which they are fitted.

    A name that is a family's own (`lightgbm`, `xgboost`, `torch_mlp`, `ridge`) needs nothing else; any other says what
    it is: `library: lightgbm`, or `plugin: "module:factory"` (then `libraries` lists what that module imports, so that
    they are probed, as with `custom_objective: "module:function"`).

    Raises:
        UsageError: a name is unknown or unsafe as a part of a path, or there is no family.
    """
    if not families:
        raise UsageError("The experiment has no families", hint="Name at least one, such as lightgbm.")
    check_names(families, "family")
    return tuple(_resolve(name, families[name] or {}, checkpoint_every) for name in stable_sort(families))


def libraries_of(families: Iterable[Family]) -> tuple[str, ...]:
    """The libraries whose numerics can change a bit of any of the families, sorted."""
    return tuple(sorted({library for family in families for library in family.probes}))


def _resolve(name: str, hyperparameters: Mapping[str, Any], checkpoint_every: int | None) -> Family:
    library = _library(name, hyperparameters)
    entry = find_library(library)
    own = {key: value for key, value in hyperparameters.items() if key != LIBRARY_KEY}
    try:
        pretty_json(own)
    except ValueError as error:
        raise UsageError(f"families.{name} holds NaN or infinity", hint="Leave the key out for no limit.") from error
    imports = (*entry.imports, *_imported_by_users_code(name, own))
    if library == PLUGIN:
        imports = tuple(_imported_by_users_code(name, own))
    signed: list[Any] = [SCHEMA, library, {key: value for key, value in own.items() if key not in entry.unsigned}]
    if entry.segmented and checkpoint_every is not None:
        signed.append({"checkpoint_every": checkpoint_every})
    return Family(
        name=name,
        library=library,
        hyperparameters=own,
        imports=imports,
        probes=tuple(sorted({_ALWAYS_PROBED, *imports})),
        # What a user's own objective does with more threads, nobody has shown.
        thread_invariant=entry.thread_invariant and not has_objective(own),
        hyperparameters_signature=signature(signed),
    )


def _library(name: str, hyperparameters: Mapping[str, Any]) -> str:
    if PLUGIN in hyperparameters:
        if LIBRARY_KEY in hyperparameters:
            raise UsageError(f"families.{name} has both {PLUGIN} and {LIBRARY_KEY}", hint="Keep one.")
        return PLUGIN
    library = hyperparameters.get(LIBRARY_KEY, BUILT_IN_FAMILIES.get(name))
    if library is None:
        raise UsageError(
            f"families.{name} is not a known family",
            hint=f"{suggestion(name, BUILT_IN_FAMILIES)} Another name needs `library: …` or `{PLUGIN}: …`.",
        )
    if not isinstance(library, str) or library == PLUGIN:
        raise UsageError(f"families.{name}.{LIBRARY_KEY} is {library!r}", hint="Name a library, such as lightgbm.")
    return library


def _imported_by_users_code(name: str, hyperparameters: Mapping[str, Any]) -> list[str]:
    libraries = hyperparameters.get(LIBRARIES_KEY, [])
    if not isinstance(libraries, list) or not all(isinstance(library, str) for library in libraries):
        raise UsageError(f"families.{name}.{LIBRARIES_KEY} is {libraries!r}", hint="It must be a list of names.")
    return libraries
