import itertools
import multiprocessing.pool
import random

import pytest

from harness.errors import UsageError
from harness.strict.checkpoints import Checkpoints
from harness.strict.random_states import capture_random_states, restore_random_states

np = pytest.importorskip("numpy")


def through_a_file(states, tmp_path):
    """As a resumed process gets them."""
    checkpoints = Checkpoints(tmp_path / "c", identity="a")
    checkpoints.save(1, {"states": states})
    return checkpoints.load().state["states"]


@pytest.fixture(autouse=True)
def as_before():
    state, legacy = random.getstate(), np.random.get_state(legacy=False)
    yield
    random.setstate(state)
    np.random.set_state(legacy)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_generator_with_any_bit_generator_goes_on_where_it_was(kind: str, tmp_path) -> None:
    own = np.random.Generator(getattr(np.random, kind)(5))
    own.integers(10, dtype="u2")  # leaves half of a word behind, which is part of the state
    states = through_a_file(capture_random_states({"own": own}), tmp_path)
    drawn = [own.random(), own.integers(10, dtype="u2"), own.standard_normal()]
    other = np.random.Generator(getattr(np.random, kind)(6))
    assert other.random() != drawn[0]
    restore_random_states(states, {"own": other})
    assert [other.random(), other.integers(10, dtype="u2"), other.standard_normal()] == drawn


def test_global_generators_go_on_where_they_were(tmp_path) -> None:
    random.gauss(0, 1), np.random.standard_normal()  # both keep a second number for the next call
    states = through_a_file(capture_random_states(), tmp_path)

    def draw() -> list[float]:
        return [random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.random()]

    drawn = draw()
    assert draw() != drawn
    restore_random_states(states)
    assert draw() == drawn


def test_torch_goes_on_where_it_was(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    own = torch.Generator().manual_seed(3)
    states = through_a_file(capture_random_states({"own": own}), tmp_path)
    drawn = [torch.rand(3), torch.randn(5), torch.rand(3, generator=own)]
    restore_random_states(states, {"own": own})
    assert all(map(torch.equal, drawn, [torch.rand(3), torch.randn(5), torch.rand(3, generator=own)]))


def test_cuda_devices_go_on_where_they_were(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.rand(1, device="cuda")
    states = through_a_file(capture_random_states(), tmp_path)
    drawn = torch.rand(5, device="cuda")
    restore_random_states(states)
    assert torch.equal(drawn, torch.rand(5, device="cuda"))


def test_pythons_and_numpys_older_generators_may_be_ones_own(tmp_path) -> None:
    own = {"python": random.Random(1), "numpy": np.random.RandomState(2)}
    states = through_a_file(capture_random_states(own), tmp_path)
    drawn = own["python"].random(), own["numpy"].random_sample()
    restore_random_states(states, own)
    assert (own["python"].random(), own["numpy"].random_sample()) == drawn


@pytest.mark.parametrize("generator", [random.SystemRandom(), itertools.count(), 5])
def test_what_has_no_state_to_keep_is_refused_by_name(generator) -> None:
    with pytest.raises(UsageError, match="generator 'mine' is a"):
        capture_random_states({"mine": generator})


def test_other_generators_than_those_of_then_are_refused() -> None:
    states = capture_random_states({"a": random.Random(1)})
    with pytest.raises(UsageError, match="a, b is on one side alone"):
        restore_random_states(states, {"b": random.Random(1)})


def test_unseeded_generators_of_a_strict_process_go_on_where_they_were(script) -> None:
    source = """
import json, random, multiprocessing
import numpy as np
from harness.strict.random_states import capture_random_states, restore_random_states

def draw():
    return [random.Random().random(), np.random.default_rng().random()]

draw()
multiprocessing.Process(target=int).start()
states = capture_random_states()
assert sorted(states["entropy"]) == ["numpy.random", "random"], states["entropy"]
first, following = draw(), multiprocessing.Process(target=int)._identity
assert draw() != first
restore_random_states(states)
assert draw() == first
assert multiprocessing.Process(target=int)._identity == following
print("done")
"""
    completed = script(source)
    assert (completed.returncode, completed.stdout) == (0, "done\n"), completed.stderr


def test_jobs_of_pools_are_numbered_on_from_where_they_were(tmp_path) -> None:
    with multiprocessing.pool.ThreadPool(1) as pool:
        pool.map(abs, [1])
        states = through_a_file(capture_random_states(), tmp_path)
        following = pool.apply_async(abs, [1])._job
        assert pool.apply_async(abs, [1])._job == following + 1
    restore_random_states(states)
    with multiprocessing.pool.ThreadPool(1) as pool:
        assert pool.apply_async(abs, [1])._job == following


def test_a_checkpoint_of_before_jobs_were_counted_is_still_read() -> None:
    states = capture_random_states()
    del states["multiprocessing.pool"]
    following = next(multiprocessing.pool.job_counter) + 1
    restore_random_states(states)
    assert next(multiprocessing.pool.job_counter) == following


def test_a_strict_processs_states_are_refused_where_nothing_seeds_the_unseeded() -> None:
    states = capture_random_states() | {"entropy": {"elsewhere": ("42|elsewhere", 3)}}
    with pytest.raises(UsageError, match="a strict run"):
        restore_random_states(states)
