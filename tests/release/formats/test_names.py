import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.release.formats.names import LONGEST, goldens, identity, label
from harness.release.report import DriftReport, GoldenName, Purpose

TARGETS, FAMILIES = ("up", "down"), ("lightgbm", "xgboost", "mlp")


def name(experiment: str, target: str, family: str, symbol: str = "all") -> GoldenName:
    path = f"{experiment}/{target}/VIEW/{symbol}/{family}"
    return GoldenName(experiment=experiment, target=target, family=family, path=path)


KNOWN = tuple(name("test", target, family) for target in TARGETS for family in FAMILIES)


def paths(**wanted: str) -> list[str]:
    return [each.path for each in KNOWN if all(getattr(each, key) == value for key, value in wanted.items())]


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (paths(), "all 6 cells of test"),
        (paths(target="up"), "all 3 cells of test/up"),
        (paths(family="mlp"), "all 2 cells of mlp in test"),
        (paths(target="up", family="mlp"), "test/up/VIEW/all/mlp"),
        ([*paths(target="up"), *paths(target="down", family="mlp")], "all 3 cells of test/up, test/down/VIEW/all/mlp"),
        ([], ""),
        (["unknown/cell"], "unknown/cell"),
    ],
)
def test_goldens_are_named_in_few_words(ended: list[str], said: str) -> None:
    assert goldens(ended, KNOWN) == said


@given(st.sets(st.sampled_from(paths())))
def test_no_two_sets_of_goldens_are_said_alike(ended: set[str]) -> None:
    others = [set(), set(paths()), set(paths(target="up")), set(paths(family="mlp"))]
    for other in others:
        assert (goldens(sorted(ended), KNOWN, 99) == goldens(sorted(other), KNOWN, 99)) is (ended == other)


def test_more_goldens_than_fit_are_counted() -> None:
    assert goldens(["a", "b", "c", "d"], (), 2) == "a, b and 2 more"


def test_a_candidate_is_named_where_it_is_another(green: DriftReport) -> None:
    drift = green.environments[0]
    other = msgspec.structs.replace(drift, candidate="cpu-prev")
    assert label(drift, Purpose.DRIFT) == label(drift, Purpose.REHEARSAL) == "cpu"
    assert label(other, Purpose.DRIFT) == "cpu (candidate cpu-prev)"
    assert label(other, Purpose.REHEARSAL) == "cpu-prev"


def test_an_identity_is_never_long_and_still_its_own(green: DriftReport) -> None:
    drift = green.environments[0]

    def of(*candidates: str) -> str:
        drifts = tuple(msgspec.structs.replace(drift, candidate=each) for each in candidates)
        return identity(msgspec.structs.replace(green, environments=drifts))

    assert of() == "none"
    assert of("x" * 500).startswith("sha256-")
    found = [of("x" * 500), of("x" * 501), of("a", "b"), of("a,cpu:b"), of("a:b"), of("a")]
    assert len(set(found)) == len(found)
    assert all(len(each) <= LONGEST for each in found)
    assert of("b", "a") == of("a", "b")
