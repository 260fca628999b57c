"""A baseline: everything a later check needs of a release, in one canonical file under `lockfiles/baselines/`."""

import msgspec

from harness.record.cells import Metrics
from harness.record.snapshot import Group
from harness.release.state import EnvironmentState
from harness.spec.digest import Digest

SCHEMA = "harness.baseline/1"


class GoldenResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell of a golden run: its comparison group in full, its outputs' digests, its metrics."""

    target: str
    view: str
    symbol: str | None
    family: str
    group: Group
    outputs: dict[str, Digest]
    fingerprint: Digest
    metrics: Metrics


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A golden run: `experiment` as `harness run` takes it (a path is relative to the checkout), in one environment."""

    environment: str
    experiment: str
    quick: bool
    cells: tuple[GoldenResult, ...]


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One release. Nothing in it says when it was made: the same release made again gives the same bytes.

    `architecture` is the machine's (`x86_64`), `commit` and `dirty` are the checkout's (null outside git), `code` is
    the digest of the rooms that run inside, `digest` is over everything else.
    """

    schema: str = SCHEMA
    release: str
    project: str
    architecture: str
    commit: str | None
    dirty: bool | None
    code: Digest
    environments: dict[str, EnvironmentState]
    golden: tuple[Golden, ...]
    digest: Digest
