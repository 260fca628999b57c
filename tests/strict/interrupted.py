"""A training that is killed twenty times and resumed after each: `interrupted.py KIND FOLDER SEED [forgetful]`.

The libraries are imported once; each attempt is a forked process that a real SIGKILL ends, sent from outside after a
random time, or by itself after a random number of steps or around the writing of a checkpoint. Prints as JSON how
often it was killed, how, and the digests of what it came to and of what an uninterrupted training came to. The
forgetful one resumes without the random states, the one of a boosting library without the trees so far.
"""

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np

from harness.record.hashing import digest_of
from harness.strict import training_state
from harness.strict.checkpoints import Checkpoints
from harness.strict.models.segments import Segments
from harness.strict.sampler import ResumableSampler
from harness.strict.seeds import seed_all
from harness.strict.training_state import TrainingState

KILLS = 20


def main() -> None:
    kind, folder, seed, *mode = sys.argv[1:]
    train = TRAININGS[kind]()
    output, chance = Path(folder), random.Random(seed)
    whole = _resumed(train, output / "whole", [])
    if mode == ["forgetful"]:
        _forget()
    plans = [_plan(chance) for _ in range(KILLS)]
    resumed = _resumed(train, output / "killed", plans)
    sys.stdout.write(json.dumps({"kills": [how for how, _ in plans], "resumed": resumed, "whole": whole}) + "\n")


def _forget() -> None:
    """Resume with all that was saved but one thing."""
    training_state.restore_random_states = lambda *_: None
    resume = Segments.resume
    Segments.resume = lambda self: (resume(self)[0], None)


def _resumed(train, folder: Path, plans: list[tuple[str, float]]) -> str:
    """Train, be killed once a plan, and go on; the digest of what it came to."""
    folder.mkdir()
    for plan in plans:
        assert _killed(train, folder, plan), f"the training ended before it could be killed: {plan}"
    assert not _killed(train, folder, None)
    return (folder / "result").read_text()


def _killed(train, folder: Path, plan: tuple[str, float] | None) -> bool:
    """Whether the attempt ended by SIGKILL."""
    pid = os.fork()
    if pid == 0:
        _attempt(train, folder, plan)
    if plan is not None and plan[0] == "time":
        threading.Thread(target=_kill_later, args=(pid, plan[1]), daemon=True).start()
    _, status = os.waitpid(pid, 0)
    # Nobody tells an executor's workers that what started them is gone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if not os.WIFSIGNALED(status):
        assert status == 0, f"an attempt failed: {status}"
        return False
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True


def _plan(chance: random.Random) -> tuple[str, float]:
    """How the next attempt ends: after some steps, some time, or at one of the calls that write a checkpoint."""
    how = chance.choice(["steps", "time", "writing"])
    return how, chance.randint(1, 8) if how != "time" else chance.uniform(0.001, 0.2)


def _attempt(train, output: Path, plan: tuple[str, float] | None) -> None:
    os.setpgid(0, 0)
    try:
        if plan is not None:
            _kill_after(*plan)
        result = train(output / "checkpoints")
        (output / "result").write_text(digest_of(result))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _kill_after(how: str, number: float) -> None:
    """Have this process kill itself at the `number`th save, or the `number`th call that a save makes."""
    calls = 0

    def counted(original):
        def call(*arguments, **keywords):
            nonlocal calls
            calls += 1
            if calls >= number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call

    if how == "writing":
        os.fsync, os.fchmod, Path.replace = counted(os.fsync), counted(os.fchmod), counted(Path.replace)
    else:
        # Also where the time is not up yet: an attempt must not come to the end.
        number = number if how == "steps" else 8
        Checkpoints.save = counted(Checkpoints.save)


def _kill_later(pid: int, seconds: float) -> None:
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def torch_loop():
    """Dropout, noise from four generators, AdamW, a schedule, a sampler, two epochs and a half."""
    import torch

    torch.set_num_threads(1)
    # What torch imports at its first step is imported before the first fork.
    warm = torch.nn.Linear(1, 1)
    warm(torch.ones(1)).backward()
    torch.optim.AdamW(warm.parameters()).step()

    def train(folder: Path) -> bytes:
        seed_all(7)
        own = np.random.Generator(np.random.SFC64(5))
        data = torch.randn(64, 6, generator=torch.Generator().manual_seed(3))
        net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Dropout(0.3), torch.nn.Linear(16, 1))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60], gamma=0.5)
        sampler = ResumableSampler(len(data), seed=11)
        loader = torch.utils.data.DataLoader(data, batch_size=2, sampler=sampler)
        state = TrainingState(
            folder=folder,
            identity="test",
            generators={"own": own},
            model=net,
            optimizer=optimizer,
            scheduler=scheduler,
            sampler=sampler,
        )
        step, epoch, extra = state.resume()
        losses = list(extra.get("losses", []))
        for now in range(epoch, 4):
            for batch in sampler.batches(loader):
                noise = random.random() + np.random.random() + own.random()
                loss = ((net(batch + torch.randn_like(batch) * 0.01) - noise) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                step += 1
                losses.append(loss.item())
                state.save(step, epoch=now, extra={"losses": losses})
        return np.array(losses).tobytes() + b"".join(part.detach().numpy().tobytes() for part in net.parameters())

    return train


def _boosting(library: str, parameters: dict[str, object]):
    from harness.strict.estimators import create_estimator

    __import__(library)

    def train(folder: Path) -> bytes:
        rows = np.random.default_rng(1).normal(size=(400, 5))
        target = rows[:, 0] * rows[:, 1] + np.random.default_rng(2).normal(size=400)
        checkpoints = Checkpoints(folder, identity="test")
        estimator = create_estimator(
            library, parameters, 42, "regression", strict=True, checkpoints=checkpoints, checkpoint_every=1
        )
        estimator.fit(rows, target)
        return estimator.canonical() + estimator.predict(rows).tobytes()

    return train


def lightgbm():
    """Bagging and feature sampling, a checkpoint a round."""
    return _boosting(
        "lightgbm",
        {"n_estimators": 130, "num_leaves": 7, "bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.6},
    )


def xgboost():
    """Row and column sampling, a checkpoint a round."""
    return _boosting("xgboost", {"n_estimators": 130, "max_depth": 3, "subsample": 0.7, "colsample_bytree": 0.6})


def _drawn_by_processes(start, every=1):
    """Noise that other processes draw, a checkpoint a step; `start(stack)` gives what every so many steps draw with."""

    def train(folder: Path) -> bytes:
        with contextlib.ExitStack() as stack:
            draw = start(stack)
            state = TrainingState(folder=folder, identity="test")
            step, _, extra = state.resume()
            noise = list(extra.get("noise", []))
            while step < 165:
                if step % every == 0:
                    noise += draw(_noise, range(2))
                step += 1
                state.save(step, epoch=0, extra={"noise": noise})
        return np.array(noise).tobytes()

    return train


def _noise(number: int) -> float:
    return number + random.random() + np.random.random()


def pool():
    """One pool, whose tasks are seeded by the number of their job."""
    return _drawn_by_processes(lambda stack: stack.enter_context(multiprocessing.Pool(2)).map)


def futures():
    """A new executor every fifth step, whose worker is seeded by its place among all processes."""

    def draw(task, numbers) -> list[float]:
        with concurrent.futures.ProcessPoolExecutor(1) as executor:
            return list(executor.map(task, numbers))

    return _drawn_by_processes(lambda _: draw, every=5)


TRAININGS = {"torch": torch_loop, "lightgbm": lightgbm, "xgboost": xgboost, "pool": pool, "futures": futures}

if __name__ == "__main__":
    main()
