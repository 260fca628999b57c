"""Fingerprints and the names of cohorts: digests that stand for everything a cell or a cohort produced."""

from collections.abc import Mapping, Sequence

from harness.record.hashing import signature
from harness.spec.digest import Digest, hexadecimal
from harness.spec.experiment import View
from harness.spec.task import FamilyOutputs

_PREFIX = {View.CROSS_SECTIONAL: "cs", View.SYMBOL_SPECIFIC: "sy"}


def cell_fingerprint(outputs: FamilyOutputs | Mapping[str, Digest]) -> Digest:
    """The digest over everything that one cell produced: the digests of its outputs, by name."""
    return signature(outputs if isinstance(outputs, FamilyOutputs) else dict(outputs))


def cohort_fingerprint(families: Mapping[str, Digest]) -> Digest:
    """The digest over the fingerprints of a cohort's cells, by family."""
    return signature(dict(families))


def hyperparameters_signature(families: Mapping[str, Digest]) -> Digest:
    """A cohort's: the digest over its families' own hyperparameters signatures, by family."""
    return signature(dict(families))


def universe_signature(symbols: Sequence[str]) -> Digest:
    """The digest of a set of symbols; their order does not count."""
    return signature(sorted(set(symbols)))


def cohort_id(experiment: str, target: str, view: View, symbols: Sequence[str]) -> str:
    """`cs_` or `sy_` and 12 hex digits over (experiment, target, view, universe or symbol): never data or seed."""
    members = hexadecimal(universe_signature(symbols))
    return f"{_PREFIX[view]}_{hexadecimal(signature([experiment, target, view, members]))[:12]}"


def script_cohort_id(argv: Sequence[str]) -> str:
    """`ex_` and 12 hex digits over a script's command line: what `harness exec` compares with what."""
    return f"ex_{hexadecimal(signature(list(argv)))[:12]}"
