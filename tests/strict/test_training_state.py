import random
import signal
from pathlib import Path

import pytest

from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.strict.sampler import ResumableSampler
from harness.strict.training_state import IDENTITY_FILE, TrainingState


class Counter:
    """A part with a state."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.delenv("HARNESS_CHECKPOINTS", raising=False)
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.fixture
def run_folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / IDENTITY_FILE).write_text("code: 1\n")
    monkeypatch.setenv("HARNESS_CHECKPOINTS", str(folder))
    return folder


def test_parts_position_extra_and_random_states_come_back(run_folder) -> None:
    part = Counter()
    state = TrainingState(part=part)
    assert state.resume() == (0, 0, {})
    part.count = 7
    state.save(3, epoch=2, extra={"best": 0.5})
    drawn = random.random()
    other = Counter()
    assert TrainingState(part=other).resume() == (3, 2, {"best": 0.5})
    assert other.count == 7
    assert random.random() == drawn


def test_outside_a_run_folder_and_identity_are_both_needed(tmp_path) -> None:
    with pytest.raises(UsageError, match="HARNESS_CHECKPOINTS is not set"):
        TrainingState()
    with pytest.raises(UsageError, match="not both"):
        TrainingState(folder=tmp_path)
    TrainingState(folder=tmp_path, identity="mine").save(1)
    assert TrainingState(folder=tmp_path, identity="mine").resume().step == 1


def test_a_run_without_an_identity_is_refused(run_folder) -> None:
    (run_folder / IDENTITY_FILE).unlink()
    with pytest.raises(PrerequisiteError, match=r"identity\.txt cannot be read"):
        TrainingState()


def test_what_has_no_state_is_no_part(tmp_path) -> None:
    with pytest.raises(UsageError, match="lr is a float"):
        TrainingState(folder=tmp_path, identity="mine", lr=0.1)


def test_other_parts_than_those_of_then_are_refused(tmp_path) -> None:
    TrainingState(folder=tmp_path, identity="mine", a=Counter()).save(1)
    with pytest.raises(UsageError, match="a, b is on one side alone"):
        TrainingState(folder=tmp_path, identity="mine", b=Counter()).resume()


@pytest.mark.parametrize(("identity", "code"), [("code: 1\n", 4), ("code: 2\n", 3)])
def test_a_refusal_ends_a_run_with_its_code(run_folder, capsys, identity: str, code: int) -> None:
    path = TrainingState().save(1)
    if code == 4:
        path.write_bytes(path.read_bytes()[:-1])
    (run_folder / IDENTITY_FILE).write_text(identity)
    with pytest.raises(SystemExit) as ended:
        TrainingState().resume()
    assert ended.value.code == code
    assert str(path) in capsys.readouterr().err


def test_outside_a_run_a_refusal_is_raised(tmp_path) -> None:
    path = TrainingState(folder=tmp_path, identity="mine").save(1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        TrainingState(folder=tmp_path, identity="mine").resume()


def test_a_samplers_order_follows_from_seed_and_epoch() -> None:
    one, same, other = (ResumableSampler(50, seed=seed) for seed in (1, 1, 2))
    assert list(one) == list(same) != list(other)
    assert sorted(one) == list(range(50))
    assert list(ResumableSampler(5, seed=1, shuffle=False)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_a_loader_goes_on_within_an_epoch(workers: int, stop: int) -> None:
    torch = pytest.importorskip("torch")

    def batches(sampler: ResumableSampler):
        loader = torch.utils.data.DataLoader(range(20), batch_size=6, sampler=sampler, num_workers=workers)
        while True:
            for batch in sampler.batches(loader):
                yield batch.tolist(), torch.rand(1).item()

    torch.manual_seed(1)
    sampler = ResumableSampler(20, seed=3)
    whole = batches(sampler)
    for _ in range(stop):
        next(whole)
    state, generator = sampler.state_dict(), torch.get_rng_state()
    rest = [next(whole) for _ in range(5)]
    torch.manual_seed(99)
    resumed = ResumableSampler(20, seed=3)
    resumed.load_state_dict(state)
    torch.set_rng_state(generator)
    going_on = batches(resumed)
    assert [next(going_on) for _ in range(5)] == rest


def test_a_loader_that_was_iterated_by_itself_has_no_known_position() -> None:
    torch = pytest.importorskip("torch")
    sampler = ResumableSampler(20, seed=3)
    loader = torch.utils.data.DataLoader(range(20), sampler=sampler)
    next(iter(loader))
    with pytest.raises(UsageError, match="iterated over by itself"):
        sampler.state_dict()


def test_another_sampler_is_refused() -> None:
    torch = pytest.importorskip("torch")
    sampler = ResumableSampler(20, seed=3)
    with pytest.raises(UsageError, match="has seed 3, this one 4"):
        ResumableSampler(20, seed=4).load_state_dict(sampler.state_dict())
    with pytest.raises(UsageError, match="does not draw from this sampler"):
        next(sampler.batches(torch.utils.data.DataLoader(range(20))))


def test_items_drawn_by_a_strict_loader_are_the_same_after_resuming(script) -> None:
    pytest.importorskip("torch")
    source = """
import random, torch
from harness.strict.sampler import ResumableSampler

class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 20
    def __getitem__(self, index):
        return index, torch.rand(()).item(), random.random()

def epoch(sampler, loader):
    return [[part.tolist() for part in batch] for batch in sampler.batches(loader)]

sampler = ResumableSampler(20, seed=3)
loader = torch.utils.data.DataLoader(Noisy(), batch_size=6, sampler=sampler)
running = sampler.batches(loader)
next(running)
state, generator = sampler.state_dict(), torch.get_rng_state()
rest = [[part.tolist() for part in batch] for batch in running]
again = ResumableSampler(20, seed=3)
again.load_state_dict(state)
torch.set_rng_state(generator)
assert epoch(again, torch.utils.data.DataLoader(Noisy(), batch_size=6, sampler=again, num_workers=1)) == rest
print("done")
"""
    completed = script(source)
    assert (completed.returncode, completed.stdout) == (0, "done\n"), completed.stderr


UNSEEDED = """
import os, random, signal, sys
import numpy as np
from harness.strict import generators
from harness.strict.training_state import TrainingState

hooks = sys.modules["random"].Random.seed.entropy
assert not isinstance(hooks, generators.Entropy), "a program has a copy of the package of its own"
state = TrainingState()
resumed = state.resume() if "resume" in sys.argv else None
for step in range(resumed.step if resumed else 0, 4):
    drawn = random.Random().random(), np.random.default_rng().random(), np.random.SeedSequence().entropy
    print(step, *drawn, flush=True)
    state.save(step + 1)
    if "kill" in sys.argv and step == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_generators_without_a_seed_go_on_where_a_killed_run_stopped(tmp_path, variables, start) -> None:
    pytest.importorskip("numpy")
    (tmp_path / "train.py").write_text(UNSEEDED)

    def run(folder: str, *arguments: str):
        checkpoints = tmp_path / folder
        checkpoints.mkdir(exist_ok=True)
        (checkpoints / IDENTITY_FILE).write_text("code: 1\n")
        return start(["train.py", *arguments], variables(HARNESS_CHECKPOINTS=str(checkpoints)), tmp_path)

    whole, cut = run("whole"), run("cut", "kill")
    assert (whole.returncode, cut.returncode) == (0, -signal.SIGKILL), whole.stderr
    resumed, anew = run("cut", "resume"), run("anew")
    assert cut.stdout + resumed.stdout == whole.stdout == anew.stdout
    drawn = [line.split()[1:] for line in whole.stdout.splitlines()]
    assert len({number for numbers in drawn for number in numbers}) == 12


def test_the_places_of_generators_without_a_seed_can_be_set_back_by_a_program(script) -> None:
    ended = script(
        "import random\n"
        "from harness.strict import random_states, states\n"
        "random.Random()\n"
        "for take, put in ((random_states.capture_random_states, random_states.restore_random_states),"
        " (states.take, states.put)):\n"
        "    taken = take()\n"
        "    drawn = [random.Random().random() for _ in range(2)]\n"
        "    following = random.Random().random()\n"
        "    put(taken)\n"
        "    print([random.Random().random() for _ in range(2)] == drawn, following not in drawn)\n"
    )
    assert ended.stdout == "True True\n" * 2, ended.stderr
