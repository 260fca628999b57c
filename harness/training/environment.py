"""What a run finds out about its environment and its families before the first fit, in a process of its own."""

from typing import Any

import msgspec

from harness.errors import HarnessError
from harness.spec.columns import TargetKind
from harness.strict import survey
from harness.strict.capture import capture
from harness.strict.estimators import create_estimator
from harness.training.families import Family
from harness.training.fits import make_plugins_importable


class FamiliesTask(msgspec.Struct, frozen=True, kw_only=True):
    """Every family, for every kind of target."""

    families: tuple[Family, ...]
    kinds: tuple[TargetKind, ...]
    threads: int | None
    strict: bool
    gpu_trees: bool
    checkpoint_every: int | None = None


class Findings(msgspec.Struct, frozen=True):
    """What the libraries' kernels gave, by library and kernel, and `environment.json`'s content."""

    probes: dict[str, dict[str, str]]
    captured: dict[str, Any]


def check_families(task: FamiliesTask) -> dict[str, tuple[str, ...]]:
    """Make every family's estimator once; what determinism overrode of its hyperparameters, by family.

    Raises:
        UsageError: a family's hyperparameters are unknown or refused; the message names the family.
    """
    make_plugins_importable()
    return {family.name: _overrides(family, task) for family in task.families}


def examine(libraries: tuple[str, ...]) -> Findings:
    """Check that the settings took effect in the libraries, and probe them.

    Raises:
        IntegrityError: a setting did not take effect.
        ToolError: a library cannot be imported.
    """
    make_plugins_importable()
    probes = survey.examine(libraries)
    return Findings(probes, capture(probes))


def _overrides(family: Family, task: FamiliesTask) -> tuple[str, ...]:
    said: dict[str, None] = {}
    for kind in task.kinds:
        try:
            estimator = create_estimator(
                family.library,
                family.hyperparameters,
                1,
                kind,
                threads=task.threads,
                strict=task.strict,
                gpu_trees=task.gpu_trees,
                checkpoint_every=task.checkpoint_every,
            )
        except HarnessError as error:
            raise type(error)(f"families.{family.name}: {error.message}", hint=error.hint) from error
        said.update(dict.fromkeys(getattr(estimator, "overrides", ())))
    return tuple(said)
