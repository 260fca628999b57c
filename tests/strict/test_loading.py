"""DataLoaders in unmodified scripts: what they give does not depend on how many workers there are."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

SCRIPT = str(Path(__file__).with_name("loaders.py"))
ANY_NUMBER = (
    "plain", "persistent", "larger", "subset", "in batches", "no batches", "batches as items", "eager", "drawing",
    "batch sampler", "named", "collate", "worker_init_fn", "generator", "replacement", "weights", "prefetch",
    "out of order", "failing", "tensors", "two at once",
)  # fmt: skip


@pytest.fixture(scope="module")
def batches(start_loaders):
    """`batches(workers, context="", *cases, seed=42)`: what the loaders gave, and what was said; each asked once."""
    known = {}

    def ask(workers, context="", cases=(*ANY_NUMBER, "iterable"), **changes):
        key = (workers, context, cases, *changes.items())
        if key not in known:
            ended = start_loaders([SCRIPT, str(workers), context, *cases], **changes)
            assert ended.returncode == 0, ended.stderr
            known[key] = json.loads(ended.stdout), ended.stderr
        return known[key]

    return ask


@pytest.fixture(scope="module")
def start_loaders(variables, start, tmp_path_factory):
    def run(argv, **changes):
        return start(argv, variables(**changes), tmp_path_factory.mktemp("work"))

    return run


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("case", ANY_NUMBER)
def test_any_number_of_workers_gives_the_same_batches_and_leaves_the_programs_own_numbers_alone(batches, case, workers):
    assert batches(workers)[0][case] == batches(0)[0][case]


@pytest.mark.parametrize("case", [case for case in ANY_NUMBER if case not in ("failing", "two at once", "named")])
def test_epochs_differ(batches, case):
    *epochs, _ = batches(0)[0][case]
    assert len({json.dumps(epoch) for epoch in epochs}) == 2
    assert all(len(epoch) == len(epochs[0]) for epoch in epochs)


def test_an_order_is_drawn_once_an_epoch(batches):
    assert batches(4)[0]["eager"][-1][-1] == batches(0)[0]["eager"][-1][-1] == 2


def test_an_exception_in_a_worker_is_the_programs_own_and_the_next_epoch_begins_anew(batches):
    first, second, _ = batches(4)[0]["failing"]
    assert first[-1] == second[-1] == "item 9 is broken"
    assert len(first) == 3
    assert first[:2] != second[:2]


def test_one_worker_streams_what_none_does_and_each_of_four_draws_numbers_of_its_own(batches):
    none, one, four = (batches(workers)[0]["iterable"] for workers in (0, 1, 4))
    assert none == one
    assert len(four[0]) == 4 * len(none[0])
    assert len({*four[0], *four[1]}) == 2 * len(four[0])


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_workers_that_start_in_other_ways_give_the_same(batches, context):
    assert batches(1, context, ("persistent",))[0]["persistent"][:2] == batches(0)[0]["persistent"][:2]


def test_a_dataset_that_asks_for_it_is_loaded_as_torch_does_and_the_user_is_told(batches):
    none, said = batches(0, "", ("opted out", "plain"))
    two, _ = batches(2, "", ("opted out", "plain"))
    assert none["plain"][:2] == two["plain"][:2]
    assert none["opted out"][:2] != two["opted out"][:2]
    assert said.count("harness: strict: Opted.harness_own_randomness is set: its items depend on") == 1


def test_without_strict_the_number_of_workers_shows_and_numpys_numbers_still_differ_by_worker_and_epoch(batches):
    none, two = (batches(workers, "", ("plain",), mode="best_effort")[0]["plain"] for workers in (0, 2))
    assert none[:2] != two[:2]
    assert len({digest for epoch in two[:2] for digest in epoch}) == 12


def test_what_has_no_effect_is_said_once(batches):
    said = batches(4)[1]
    assert said.count("what seeding seeds in workers has no effect: each item is drawn under its own seed") == 1
    assert said.count("DataLoader's in_order stays True, not False") == 1
    assert "harness" not in batches(0)[1]
