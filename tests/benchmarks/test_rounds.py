from benchmarks.rounds import rounds


def test_every_round_does_each_thing_once_and_begins_with_another_one() -> None:
    order: list[str] = []
    arms = {name: lambda name=name: order.append(name) for name in "abc"}
    rounds(3, arms, lambda _: None)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]


def test_values_keep_the_order_of_rounds_so_that_they_pair() -> None:
    clock = iter(range(100))
    taken = rounds(2, {"a": lambda: next(clock), "b": lambda: next(clock)}, lambda _: None)
    assert taken == {"a": [0, 3], "b": [1, 2]}
