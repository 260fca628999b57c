"""`snapshot.json`: signatures, environment and fingerprints of one cohort, and the comparison groups of its cells."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from harness.errors import IntegrityError
from harness.record.environment import Captured, Cpu, Gpu, Library, environment_signature
from harness.record.fingerprints import (
    cell_fingerprint,
    cohort_fingerprint,
    hyperparameters_signature,
    script_cohort_id,
)
from harness.spec.digest import Digest
from harness.spec.experiment import View
from harness.spec.run import ImageReference, Mode, Profile
from harness.spec.task import CohortResult

SCHEMA = "harness.snapshot/1"
SCRIPT_VIEW = "SCRIPT"
"""The view of what `harness exec` ran: one cohort of one cell, whose family is `script`."""
SCRIPT_FAMILY = "script"

FROM_TRAINING = frozenset(
    f"{aspect}_signature" for aspect in ("dataset", "task", "routing", "split", "feature", "universe")
)
"""What a trainer must sign of a cohort; the rest of the comparison group is known outside."""
_SETTLED_OUTSIDE = {"environment_signature", "train_seed", "mode", "profile"}
REQUIRED: Mapping[str, frozenset[str]] = {
    View.CROSS_SECTIONAL: FROM_TRAINING | _SETTLED_OUTSIDE | {"hyperparameters_signature"},
    View.SYMBOL_SPECIFIC: FROM_TRAINING | _SETTLED_OUTSIDE | {"hyperparameters_signature"},
    SCRIPT_VIEW: frozenset({"dataset_signature", "task_signature"} | _SETTLED_OUTSIDE),
}
"""The comparison group's fields by view: these and no others, each present, in every snapshot."""

Group = dict[str, str | int]


class ImageRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The image that a run took place in. `locks` are the digests of what it was made from, by name."""

    name: str
    manifest: Digest
    config: Digest
    locks: dict[str, Digest]


class EnvironmentRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The environment by layer, as captured inside, and the image (null: a plain process of the machine)."""

    image: ImageRecord | None
    python: dict[str, str]
    libraries: dict[str, Library]
    native: dict[str, str]
    cpu: Cpu
    gpu: Gpu | None
    settings: dict[str, str]
    probe: dict[str, dict[str, Digest]]


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code that ran: `digest` is over its files; commit and dirty flag are null outside a git checkout.

    `diff` is the digest of `uncommitted.patch` beside the manifest: what makes the files out of the commit. It is null
    where the tree was clean, and where no such patch could be made.
    """

    commit: str | None
    dirty: bool | None
    digest: Digest
    diff: Digest | None = None


class FamilyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell. `threads_per_fit` is null where the family gives the same bits on any number of threads."""

    hyperparameters_signature: Digest | None
    probe_signature: Digest
    threads_per_fit: int | None
    outputs: dict[str, Digest]
    fingerprint: Digest


class RunFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a run outside. `created_at` is UTC as `timestamp` writes it; `host` is never compared."""

    run_id: str
    attempt_id: str
    created_at: str
    experiment: str | None
    train_seed: int
    mode: Mode
    profile: Profile
    code: Code
    host: dict[str, str | int | None]


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cohort of one run. `experiment` is null for a script.

    Raises:
        ValueError: the comparison group lacks a field, has one too many, or one is not of its type.
    """

    schema: str = SCHEMA
    run_id: str
    attempt_id: str
    created_at: str
    experiment: str | None
    target: str
    view: str
    symbol: str | None
    cohort_id: str
    comparison_group: Group
    families: dict[str, FamilyRecord]
    environment: EnvironmentRecord
    host: dict[str, str | int | None]
    code: Code
    fingerprint: Digest

    def __post_init__(self) -> None:
        if not self.run_id or _MOMENT.fullmatch(self.created_at) is None:
            raise ValueError(f"run_id {self.run_id!r} or created_at {self.created_at!r} is not one")
        _check_group(self.view, self.comparison_group)
        for family, record in self.families.items():
            if (record.hyperparameters_signature is None) is not (self.view == SCRIPT_VIEW):
                raise ValueError(f"family {family} has hyperparameters_signature {record.hyperparameters_signature}")


class _Cohort(msgspec.Struct, frozen=True):
    target: str
    view: str
    symbol: str | None
    cohort_id: str
    group: Group
    families: dict[str, FamilyRecord]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all cohorts of a run share. `locks` are the digests of the image's inputs by name (`image.lock`'s)."""

    facts: RunFacts
    captured: Captured
    image: ImageReference | None
    locks: Mapping[str, Digest] = {}


def build_snapshot(cohort: CohortResult, surroundings: Surroundings) -> Snapshot:
    """The snapshot of a trained cohort.

    Raises:
        IntegrityError: the trainer left a signature out or gave one too many, or a fingerprint is not its outputs'.
    """
    families = {
        name: FamilyRecord(
            hyperparameters_signature=result.hyperparameters_signature,
            probe_signature=result.probe_signature,
            threads_per_fit=result.threads_per_fit,
            outputs=msgspec.to_builtins(result.outputs),
            fingerprint=result.fingerprint,
        )
        for name, result in sorted(cohort.families.items())
    }
    own = {name: result.hyperparameters_signature for name, result in cohort.families.items()}
    group: Group = {**cohort.signatures, "hyperparameters_signature": hyperparameters_signature(own)}
    return _snapshot(
        _Cohort(cohort.target, cohort.view, cohort.symbol, cohort.cohort_id, group, families), surroundings
    )


def build_script_snapshot(
    argv: Sequence[str],
    outputs: Mapping[str, Digest],
    surroundings: Surroundings,
    *,
    dataset_signature: Digest,
    task_signature: Digest,
    probe_signature: Digest,
    threads: int | None,
) -> Snapshot:
    """The snapshot of a script that `harness exec` ran; `outputs` are what it left, by name.

    `threads` are those of one reduction, null where the libraries chose themselves: what a script computes may depend
    on them, so runs with other threads are not compared.

    Raises:
        IntegrityError: what is given cannot be a snapshot.
    """
    record = FamilyRecord(
        hyperparameters_signature=None,
        probe_signature=probe_signature,
        threads_per_fit=threads,
        outputs=dict(sorted(outputs.items())),
        fingerprint=cell_fingerprint(outputs),
    )
    group: Group = {"dataset_signature": dataset_signature, "task_signature": task_signature}
    families = {SCRIPT_FAMILY: record}
    return _snapshot(_Cohort(SCRIPT_FAMILY, SCRIPT_VIEW, None, script_cohort_id(argv), group, families), surroundings)


def _snapshot(cohort: _Cohort, surroundings: Surroundings) -> Snapshot:
    facts, captured, image = surroundings.facts, surroundings.captured, surroundings.image
    layers = {name: getattr(captured, name) for name in EnvironmentRecord.__struct_fields__ if name != "image"}
    settled: Group = {
        "environment_signature": environment_signature(captured, image, facts.profile),
        "train_seed": facts.train_seed,
        "mode": facts.mode.value,
        "profile": facts.profile.value,
    }
    if settled.keys() & cohort.group.keys():
        raise IntegrityError(f"The trainer signed what is not its own in cohort {cohort.cohort_id}")
    try:
        snapshot = Snapshot(
            run_id=facts.run_id,
            attempt_id=facts.attempt_id,
            created_at=facts.created_at,
            experiment=facts.experiment,
            target=cohort.target,
            view=cohort.view,
            symbol=cohort.symbol,
            cohort_id=cohort.cohort_id,
            comparison_group=cohort.group | settled,
            families=cohort.families,
            environment=EnvironmentRecord(image=_image_record(image, surroundings.locks), **layers),
            host={**captured.host, **facts.host},
            code=facts.code,
            fingerprint=cohort_fingerprint({name: cell.fingerprint for name, cell in cohort.families.items()}),
        )
    except ValueError as error:
        raise IntegrityError(f"Cohort {cohort.cohort_id} of {cohort.target} has no valid snapshot: {error}") from error
    check_snapshot(snapshot)
    return snapshot


def _image_record(image: ImageReference | None, locks: Mapping[str, Digest]) -> ImageRecord | None:
    return None if image is None else ImageRecord(image.name, image.manifest, image.config, dict(locks))


def check_snapshot(snapshot: Snapshot) -> None:
    """Recompute every digest that a snapshot's own content determines.

    Raises:
        IntegrityError: a fingerprint or the hyperparameters signature does not match, or there is no family.
    """
    where = f"The snapshot of {snapshot.target}, {snapshot.view}, {snapshot.symbol or 'all symbols'}"
    if not snapshot.families:
        raise IntegrityError(f"{where} has no family", hint="Run again: there is nothing that could be compared.")
    for name, family in snapshot.families.items():
        if family.fingerprint != cell_fingerprint(family.outputs):
            raise IntegrityError(f"{where} has a fingerprint for family {name} that is not that of its outputs")
    if snapshot.fingerprint != cohort_fingerprint({name: cell.fingerprint for name, cell in snapshot.families.items()}):
        raise IntegrityError(f"{where} has a fingerprint that is not that of its families")
    own = {name: cell.hyperparameters_signature for name, cell in snapshot.families.items()}
    signed = {name: value for name, value in own.items() if value is not None}
    if signed and snapshot.comparison_group["hyperparameters_signature"] != hyperparameters_signature(signed):
        raise IntegrityError(f"{where} has a hyperparameters_signature that is not that of its families")


def cell_group(snapshot: Snapshot, family: str) -> Group:
    """A cell's comparison group: the cohort's with the family's own hyperparameters, its probe, and its threads if any.

    Raises:
        KeyError: the snapshot has no such family.
    """
    record = snapshot.families[family]
    group: Group = {**snapshot.comparison_group, "probe_signature": record.probe_signature}
    if record.hyperparameters_signature is not None:
        group["hyperparameters_signature"] = record.hyperparameters_signature
    if record.threads_per_fit is not None:
        group["threads_per_fit"] = record.threads_per_fit
    return group


def fingerprint_lines(snapshots: Iterable[Snapshot]) -> list[str]:
    """One line a cell, sorted, with nothing in it that two equal runs could differ in; `-` stands for no symbol."""
    return sorted(
        f"fingerprint target={snapshot.target} view={snapshot.view} symbol={snapshot.symbol or '-'}"
        f" family={family} {record.fingerprint}"
        for snapshot in snapshots
        for family, record in snapshot.families.items()
    )


def timestamp(moment: datetime) -> str:
    """A moment as `created_at` holds it: UTC to the microsecond, so that the order of the texts is that in time.

    Raises:
        ValueError: `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def _check_group(view: str, group: Group) -> None:
    required = REQUIRED.get(view)
    if required is None:
        raise ValueError(f"there is no view {view!r}")
    if missing := sorted(required - group.keys()):
        raise ValueError(f"the comparison group lacks {', '.join(missing)}")
    if unknown := sorted(group.keys() - required):
        raise ValueError(f"the comparison group has the unknown field {', '.join(unknown)}")
    for name, value in group.items():
        if name.endswith("_signature") and (not isinstance(value, str) or _DIGEST.fullmatch(value) is None):
            raise ValueError(f"{name} is not a digest")
    if type(group["train_seed"]) is not int:
        raise ValueError("train_seed is not an integer")
    Mode(str(group["mode"]))
    Profile(str(group["profile"]))
