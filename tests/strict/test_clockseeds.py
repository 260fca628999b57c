"""Seeds that come from the clock, and those that only look big."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.strict.clockseeds import is_from_clock

NOW = 1_772_704_803.25
CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "seed",
    [
        NOW, int(NOW), int(NOW * 1000), int(NOW * 1e6), int(NOW * 1e9), int(NOW) - 30, int(NOW * 1000) % 2**32,
        int(NOW * 1000) % (2**32 - 1), int(NOW * 1000) & 0x7FFFFFFF,
    ],
)  # fmt: skip
def test_a_time_is_known_in_every_unit_and_cut_to_32_bits(seed: float) -> None:
    assert is_from_clock(seed, NOW)


@pytest.mark.parametrize(
    "seed",
    [
        0,
        42,
        1234,
        20260305,
        2**31 - 1,
        int(NOW) - 3600,
        NOW + 3600,
        float("nan"),
        float("inf"),
        "1772704803",
        None,
        b"x",
    ],
)
def test_another_seed_is_none(seed: object) -> None:
    assert not is_from_clock(seed, NOW)


def test_a_thousand_drawn_seeds_are_none() -> None:
    draw = random.Random(1)
    assert not [seed for seed in (draw.randrange(2**32) for _ in range(1000)) if is_from_clock(seed, NOW)]


RUN = """
import sys, random, time
sys.path.insert(0, {checkout!r})
from harness.strict import clockseeds, touched
clockseeds.watch(touched.Recorder({log!r}))
import numpy as np
{code}
"""


@pytest.fixture
def noted(tmp_path: Path) -> Callable[[str], list[str]]:
    def run(code: str) -> list[str]:
        log = tmp_path / "log"
        script = tmp_path / "train.py"
        script.write_text(RUN.format(checkout=str(CHECKOUT), log=str(log), code=code))
        subprocess.run([sys.executable, script], check=True)
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.split("\t")[1] for line in lines]

    return run


def test_each_way_to_seed_is_noted_and_seeds_as_before(noted: Callable[[str], list[str]]) -> None:
    code = (
        "t = int(time.time())\n"
        "random.seed(t); a = random.random(); b = random.Random(t).random(); assert a == b\n"
        "np.random.seed(t); c = np.random.rand(); assert c == np.random.RandomState(t).rand()\n"
        "np.random.default_rng(seed=t)\n"
        "import pickle; assert pickle.loads(pickle.dumps(np.random.default_rng)) is np.random.default_rng\n"
    )
    assert noted(code) == [
        "random.seed(the time)", "random.seed(the time)", "numpy.random.seed(the time)",
        "numpy.random.default_rng(the time)",
    ]  # fmt: skip


def test_a_fixed_seed_and_none_at_all_are_not_noted(noted: Callable[[str], list[str]]) -> None:
    assert noted("random.seed(42); random.seed(); np.random.seed(7); np.random.default_rng(); random.Random('a')") == []


def test_the_clock_moves_meanwhile() -> None:
    assert is_from_clock(time.time(), time.time())
