from collections.abc import Callable

import msgspec

from harness.release.formats.changes import fold
from harness.release.report import Change, DriftReport, Layer


def names(changes: tuple[Change, ...]) -> list[str]:
    return [change.name for change in changes]


def follows(change: Change, *causes: str) -> Change:
    return msgspec.structs.replace(change, follows_from=causes)


def test_a_consequence_of_one_root_stands_with_it_and_one_of_several_apart(sample: DriftReport) -> None:
    folded = fold(sample.environments[0].changes)
    wheel = next(item for item in folded.roots if item.root.name == "wheel numpy")
    assert names(wheel.consequences) == ["lock python.txt"]
    assert names(folded.shared) == ["image manifest"]


def test_every_change_is_shown_once(sample: DriftReport) -> None:
    changes = sample.environments[0].changes
    folded = fold(changes)
    shown = [*names(folded.shared), *(item.root.name for item in folded.roots)]
    shown += [change.name for item in folded.roots for change in item.consequences]
    assert sorted(shown) == sorted(names(changes))


def test_a_chain_of_consequences_ends_at_its_root(many: Callable[[int], DriftReport]) -> None:
    first, second, third = many(3).environments[0].changes
    folded = fold((first, follows(second, first.name), follows(third, second.name)))
    assert [item.root.name for item in folded.roots] == [first.name]
    assert names(folded.roots[0].consequences) == [second.name, third.name]


def test_a_consequence_whose_root_is_unknown_is_not_lost(many: Callable[[int], DriftReport]) -> None:
    (only,) = many(1).environments[0].changes
    assert [item.root.name for item in fold((follows(only, "wheel gone"),)).roots] == [only.name]


def test_a_circle_of_consequences_is_not_lost(many: Callable[[int], DriftReport]) -> None:
    first, second = many(2).environments[0].changes
    folded = fold((follows(first, second.name), follows(second, first.name)))
    assert [item.root.name for item in folded.roots] == [first.name, second.name]


def test_numbers_are_never_folded_away(sample: DriftReport) -> None:
    changes = tuple(
        follows(change, "wheel numpy") if change.layer is Layer.PROBE else change
        for change in sample.environments[0].changes
    )
    roots = [item.root.layer for item in fold(changes).roots]
    assert roots.count(Layer.PROBE) == 3
