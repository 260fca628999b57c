"""What a run finds out about its environment and its families before the first fit, in a process of its own."""

from typing import Any

import msgspec

from harness.errors import HarnessError
from harness.spec.columns import TargetKind
from harness.strict.capture import capture
from harness.strict.estimators import create_estimator
from harness.strict.probe import probe
from harness.strict.seeds import seed_all
from harness.strict.verify import verify_settings
from harness.training.families import Family
from harness.training.fits import make_plugins_importable


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What to look at: the libraries to probe, and every family for every kind of target."""

    libraries: tuple[str, ...]
    families: tuple[Family, ...]
    kinds: tuple[TargetKind, ...]
    threads: int | None
    strict: bool
    gpu_trees: bool


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """`captured` is `environment.json`'s content, `overrides` what determinism overrode of each family's."""

    probes: dict[str, dict[str, str]]
    captured: dict[str, Any]
    overrides: dict[str, tuple[str, ...]]


def examine(task: Examination) -> Findings:
    """Check that the settings took effect, probe the libraries, and try that every family can be made.

    Raises:
        IntegrityError: a strict run's settings did not take effect.
        UsageError: a family's hyperparameters are unknown or refused; the message names the family.
    """
    make_plugins_importable()
    seed_all(1)
    overrides = {family.name: _overrides(family, task) for family in task.families}
    if task.strict:
        verify_settings(list(task.libraries))
    probes = probe(list(task.libraries))
    return Findings(probes=probes, captured=capture(probes), overrides=overrides)


def _overrides(family: Family, task: Examination) -> tuple[str, ...]:
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
            )
        except HarnessError as error:
            raise type(error)(f"families.{family.name}: {error.message}", hint=error.hint) from error
        said.update(dict.fromkeys(getattr(estimator, "overrides", ())))
    return tuple(said)
