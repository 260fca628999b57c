"""Seeds that a program sets, those that come from the clock, and those that only look big."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.strict import ownseeds
from harness.strict.ownseeds import is_from_clock

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
from harness.strict import ownseeds, touched
ownseeds.watch(touched.Recorder({log!r}))
import numpy as np
{code}
"""


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[str], list[list[str]]]:
    """What a script's lines leave in the log, each line's fields."""

    def run(code: str) -> list[list[str]]:
        log = tmp_path / "log"
        script = tmp_path / "train.py"
        script.write_text(RUN.format(checkout=str(CHECKOUT), log=str(log), code=code))
        subprocess.run([sys.executable, script], check=True)
        text = log.read_bytes().decode("unicode_escape") if log.exists() else ""
        return [line.split("\t") for line in text.splitlines()]

    return run


@pytest.fixture
def noted(lines: Callable[[str], list[list[str]]]) -> Callable[[str], list[str]]:
    """What came from the clock."""
    return lambda code: [what for kind, what, *_ in lines(code) if kind == "clock"]


@pytest.fixture
def seeds(lines: Callable[[str], list[list[str]]]) -> Callable[[str], list[tuple[str, str]]]:
    """Which function was given which seed."""
    return lambda code: [(what, note) for kind, what, _, note, *_ in lines(code) if kind == "seed"]


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
        "numpy.random.RandomState(the time)", "numpy.random.default_rng(the time)",
    ]  # fmt: skip


def test_a_fixed_seed_and_none_at_all_are_not_noted(noted: Callable[[str], list[str]]) -> None:
    assert noted("random.seed(42); random.seed(); np.random.seed(7); np.random.default_rng(); random.Random('a')") == []


def test_the_clock_moves_meanwhile() -> None:
    assert is_from_clock(time.time(), time.time())


@pytest.mark.parametrize(
    ("code", "what", "note"),
    [
        ("random.seed(7)", "random.seed", "7"),
        ("random.Random(7.5)", "random.seed", "7.5"),
        ("random.seed('monday')", "random.seed", "text d618fb15"),
        ("random.seed(2**100)", "random.seed", "number "),
        ("np.random.seed(7)", "numpy.random.seed", "7"),
        ("np.random.seed([7])", "numpy.random.seed", "7"),
        ("np.random.RandomState(7)", "numpy.random.RandomState", "7"),
        ("np.random.RandomState(seed=np.int64(7))", "numpy.random.RandomState", "7"),
        ("np.random.MT19937(7)", "numpy.random.SeedSequence", "7"),
        ("np.random.default_rng(7)", "numpy.random.default_rng", "7"),
        ("np.random.Generator(np.random.PCG64(7))", "numpy.random.SeedSequence", "7"),
        ("np.random.SeedSequence(7)", "numpy.random.SeedSequence", "7"),
    ],
)
def test_a_seed_is_noted_once_with_its_value(
    seeds: Callable[[str], list[tuple[str, str]]], code: str, what: str, note: str
) -> None:
    ((found, value),) = seeds(f"for _ in range(3): {code}")
    assert found == what
    assert value.startswith(note)


def test_no_seed_is_noted_where_none_was_set(seeds: Callable[[str], list[tuple[str, str]]]) -> None:
    code = (
        "random.seed(); random.Random(); np.random.seed(); np.random.default_rng(); np.random.RandomState()\n"
        "np.random.SeedSequence(); np.random.PCG64(); np.random.rand(3); random.random()\n"
    )
    assert seeds(code) == []


def test_numpys_classes_and_errors_stay_what_they_are(seeds: Callable[[str], list[tuple[str, str]]]) -> None:
    code = (
        "import pickle\n"
        "state = np.random.RandomState(7); again = pickle.loads(pickle.dumps(state))\n"
        "assert type(again) is np.random.RandomState and again.rand() == state.rand()\n"
        "assert isinstance(np.random.mtrand._rand, np.random.RandomState)\n"
        "for wrong in (-1, 2**40, 'x', 1.5):\n"
        "    try: np.random.RandomState(wrong)\n"
        "    except (ValueError, TypeError): pass\n"
        "    else: raise SystemExit(1)\n"
        "a, b = np.random.SeedSequence(5).spawn(2)\n"
        "assert np.random.default_rng(a).random() != np.random.default_rng(b).random()\n"
    )
    assert ("numpy.random.RandomState", "7") in seeds(code)


def test_of_very_many_seeds_of_a_line_it_is_said_that_there_were_more(
    seeds: Callable[[str], list[tuple[str, str]]],
) -> None:
    found = seeds("for number in range(2 * ownseeds.MOST): random.seed(number)")
    assert found == [*(("random.seed", str(number)) for number in range(ownseeds.MOST)), ("random.seed", "…")]


def test_a_library_that_hands_a_seed_on_is_told_by_the_programs_line(lines: Callable[[str], list[list[str]]]) -> None:
    pytest.importorskip("sklearn")
    code = "from sklearn.model_selection import train_test_split\ntrain_test_split(np.arange(9), random_state=123)\n"
    found = [(what, where.rpartition("/")[2], note) for kind, what, where, note, *_ in lines(code) if kind == "seed"]
    assert ("numpy.random.RandomState", "train.py:8", "123") in found


def test_seeds_among_parameters_of_boosting_libraries_are_noted(seeds: Callable[[str], list[tuple[str, str]]]) -> None:
    pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    code = (
        "import lightgbm, xgboost\n"
        "x, y = np.arange(40.0).reshape(20, 2), np.arange(20.0)\n"
        "lightgbm.train({'verbose': -1, 'bagging_seed': 31}, lightgbm.Dataset(x, y), 1)\n"
        "lightgbm.LGBMRegressor(n_estimators=1, verbose=-1, random_state=32).fit(x, y)\n"
        "xgboost.train({'seed': 33, 'max_depth': 1}, xgboost.DMatrix(x, y), 1)\n"
        "xgboost.XGBRegressor(n_estimators=1, random_state=34).fit(x, y)\n"
    )
    found = seeds(code)
    assert {("lightgbm", "31"), ("lightgbm", "32"), ("xgboost", "33"), ("xgboost", "34")} <= {*found}
    assert ("xgboost", "1") not in found


def test_seeds_of_torch_and_its_generators_are_noted(seeds: Callable[[str], list[tuple[str, str]]]) -> None:
    pytest.importorskip("torch")
    code = (
        "import torch\n"
        "torch.manual_seed(5)\n"
        "a = torch.Generator().manual_seed(6); b = torch.Generator(); b.manual_seed(6)\n"
        "assert torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b)) and a.initial_seed() == 6\n"
        "list(torch.utils.data.DataLoader(range(9), shuffle=True))\n"
    )
    assert seeds(code) == [("torch.manual_seed", "5"), ("torch.Generator.manual_seed", "6")]


DRAWN_GENERATOR = """
import torch
one, other = torch.Generator(), torch.Generator()
assert one.seed() == one.initial_seed() != other.seed()
print(torch.rand(2, generator=one).tolist(), torch.rand(2, generator=other).tolist())
"""


def test_a_generator_of_torchs_that_seeds_itself_repeats_in_a_strict_run_alone(script) -> None:
    pytest.importorskip("torch")
    first, second, another, free, again = (
        script(DRAWN_GENERATOR), script(DRAWN_GENERATOR), script(DRAWN_GENERATOR, REPRO_SEED="43"),
        *(script(DRAWN_GENERATOR, REPRO_MODE="best_effort") for _ in range(2)),
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout != another.stdout
    assert free.returncode == 0, free.stderr
    assert free.stdout != again.stdout
